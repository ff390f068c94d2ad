"""The parameter `since`: a duration before now, or a moment."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from aiohttp import web

from distd.api.bodies import query_value
from distd.errors import InvalidRequest
from distd.units import parse_duration


def since(request: web.Request, default: str) -> float:
    """`?since=24h` before now, or a moment in RFC 3339, as epoch seconds. Raises InvalidRequest."""
    text = query_value(request, "since") or default
    try:
        return time.time() - parse_duration(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise InvalidRequest(
            f'since={text!r} is neither a duration ("24h", "7d") nor a time ("2026-01-31T22:00:00Z")'
        ) from None
