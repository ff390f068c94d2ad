"""Whether an answer is one that `openapi.json` describes: every refusal that a test sees is looked up here."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from distd.api.openapi import ROUTES, refusals_of

_PATTERNS = [
    (re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(name))), name)
    for name in sorted(ROUTES, key=lambda name: name.count("{"))
]
UNREADABLE = 400
"""What is not HTTP is refused before any route, in plain text."""


def route_of(method: str, url: str) -> str | None:
    """The route that serves it, as in `ROUTES`; None when there is none."""
    asked = f"{'GET' if method == 'HEAD' else method} {unquote(urlsplit(url).path)}"
    return next((name for pattern, name in _PATTERNS if pattern.fullmatch(asked)), None)


def is_described(method: str, url: str, status: int, code: str | None = None) -> bool:
    """Of a refusal: whether its route is said to give it. `code` None: any code."""
    name = route_of(method, url)
    if name is None or status == UNREADABLE or status in ROUTES[name].also:
        return True
    return any(status == known and code in (None, named) for known, named in refusals_of(name))
