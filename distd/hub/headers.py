"""Header values in and out, as data. Offsets and lengths are bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from distd.errors import InvalidRequest

_TOKEN = re.compile(r"[!-~]{1,4096}")
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ContentRange:
    """Bytes [start, end) of a whole of `total` (None: not told)."""

    start: int
    end: int
    total: int | None


def bearer(token: str | None) -> dict[str, str]:
    """The header that carries `token`, nothing for None.

    Raises InvalidRequest for a token no header can carry, here and without naming it, because an HTTP library's
    own error would quote it.
    """
    if not token:
        return {}
    if not _TOKEN.fullmatch(token):
        raise InvalidRequest("the Hub token contains characters that no token has: check hub.token_file")
    return {"Authorization": f"Bearer {token}"}


def parse_content_range(value: str) -> ContentRange | None:
    """`bytes 0-99/1000` -> (0, 100, 1000); None for anything else, `bytes */1000` of a refusal included."""
    match = _CONTENT_RANGE.fullmatch(value.strip())
    if match is None or int(match[2]) < int(match[1]):
        return None
    return ContentRange(int(match[1]), int(match[2]) + 1, None if match[3] == "*" else int(match[3]))


def parse_length(value: str) -> int | None:
    """A Content-Length or X-Linked-Size; None when absent or malformed."""
    return int(value) if _LENGTH.fullmatch(value.strip()) else None


def bare_etag(value: str) -> str:
    """`W/"abc"` and `"abc"` -> `abc`."""
    return value.strip().removeprefix("W/").strip('"')
