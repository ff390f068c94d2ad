"""Lists in pages: `limit` and `cursor` in, `{items, next}` out.

A cursor is opaque to clients: base64url of the list's name and the port's own key. The name keeps a
cursor of one list from being used, and misread, in another.
"""

from __future__ import annotations

import base64
import binascii

import msgspec
from aiohttp import web

from distd.api.bodies import query_value
from distd.errors import InvalidRequest

LIMIT_DEFAULT = 100
LIMIT_MAX = 1000
"""Items in one answer: a page of pulls stays below a megabyte."""
CURSOR_LENGTH_MAX = 1000
"""Longest cursor read. Ours hold an id or a repo name of at most 96 characters."""


def page_limit(request: web.Request) -> int:
    """The `limit` parameter. Raises InvalidRequest outside 1..1000."""
    text = query_value(request, "limit")
    if text is None:
        return LIMIT_DEFAULT
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= LIMIT_MAX):
        raise InvalidRequest(f"limit is {text!r}: a whole number from 1 to {LIMIT_MAX}")
    return int(text)


def page_after(request: web.Request, name: str) -> str | None:
    """The port's key inside the `cursor` parameter. Raises InvalidRequest for one that `name` never gave."""
    text = query_value(request, "cursor")
    if text is None:
        return None
    try:
        if len(text) > CURSOR_LENGTH_MAX:
            raise ValueError("too long")
        of, after = msgspec.json.decode(
            base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True), type=tuple[str, str]
        )
    except (ValueError, binascii.Error, msgspec.DecodeError):
        of, after = "", ""
    if of != name:
        raise InvalidRequest("cursor is not one that this list gave: pass `next` of the page before")
    return after


def page_cursor(name: str, after: str | None) -> str | None:
    """The `next` member for the port's key; None on the last page."""
    if after is None:
        return None
    return base64.urlsafe_b64encode(msgspec.json.encode((name, after))).decode("ascii")
