"""Takes secrets out of text: for log lines, and for what a person hands to somebody else.

Nothing of this program puts a secret into a text on purpose. This is the second line: for what an exception, a Hub or an
environment says. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "[hidden]"
SECRET_CHARS_MIN = 6
"""Shorter "secrets" are words of the text itself: hiding each `none` would hide the facts."""

_RULES = (
    # Signed URLs carry their signature in the query; nothing else of ours has a query worth reading.
    (re.compile(r"(https?://[^\s?\"'<>]+)\?(?!\[hidden\])[^\s\"'<>\])]+"), rf"\1?{HIDDEN}"),
    # Proxies and mirrors with a user and a password.
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)(?!\[hidden\])[^\s/@\"']+@"), rf"\1{HIDDEN}@"),
    (re.compile(r"\bhf_[A-Za-z0-9]{6,}"), HIDDEN),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/._~=-]{6,}"), rf"\1 {HIDDEN}"),
    (
        re.compile(
            r"(?i)\b([a-z0-9_-]*(?:token|secret|passw(?:or)?d|signature|api[_-]?key))(\"?\s*[=:]\s*\"?)"
            r"(?![\s\"]|none\b|\[hidden\])[^\s\"',;&]{6,}"
        ),
        rf"\1\2{HIDDEN}",
    ),
)


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without the `secrets` given and without what looks like one: tokens, signed URLs, passwords in URLs."""
    for secret in sorted((each for each in secrets if len(each) >= SECRET_CHARS_MIN), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text
