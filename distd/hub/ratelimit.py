"""How long a server asks us to stay away, from the headers of its answer. Times are seconds.

Three headers say it: `Retry-After` (RFC 9110 10.2.3: seconds, or a date), and `RateLimit` with `RateLimit-Policy`
(draft-ietf-httpapi-ratelimit-headers: `"api";r=0;t=55` is nothing remaining for 55 s, `"fixed window";"api";q=500;w=300`
500 requests in 300 s). The Hub sends the latter two with every answer, so they count only when nothing remains.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

WAIT_S_MAX = 3600.0
"""Longest wait believed. The Hub's longest window has 300 s; a server that asks for days is broken, and asking again
after an hour costs it nothing."""

WAIT_S_UNTOLD = 30.0
"""What to assume when a 429 names no time: a tenth of the Hub's window."""

HEADER_LENGTH_MAX = 1000
"""Longer values are not looked at: a real one has some tens of characters."""

_REMAINING = re.compile(r";\s*r\s*=\s*(\d{1,12})(?!\d)")
_RESET_S = re.compile(r";\s*t\s*=\s*(\d{1,12})(?!\d)")
_WINDOW_S = re.compile(r";\s*w\s*=\s*(\d{1,12})(?!\d)")
_SECONDS = re.compile(r"\d{1,12}", re.ASCII)


def wait_s(headers: Mapping[str, str], now_unix: float) -> float | None:
    """Seconds until the next request is welcome, the largest of what the headers name; None if they name none.

    `headers` must look names up regardless of case. The result lies in 0 to `WAIT_S_MAX`.
    """
    told = [
        seconds
        for seconds in (
            parse_retry_after(headers.get("Retry-After", ""), now_unix),
            parse_rate_limit(headers.get("RateLimit", ""), headers.get("RateLimit-Policy", "")),
        )
        if seconds is not None
    ]
    return max(told, default=None)


def parse_retry_after(value: str, now_unix: float) -> float | None:
    """`"120"` or `"Wed, 21 Oct 2026 07:28:00 GMT"` -> seconds; None for anything else, 0 for a date gone by."""
    value = value[:HEADER_LENGTH_MAX].strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), WAIT_S_MAX)
    try:
        at_unix = parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError, IndexError, TypeError):
        return None  # parsedate_to_datetime has no other way to say that it is no date
    return min(max(at_unix - now_unix, 0.0), WAIT_S_MAX)


def parse_rate_limit(limit: str, policy: str = "") -> float | None:
    """`'"api";r=0;t=55'` -> 55.0. The longest reset among the quotas with nothing remaining, else None.

    A used-up quota that names no reset waits for its policy's whole window, if `policy` names one.
    """
    waits = []
    for quota in limit[:HEADER_LENGTH_MAX].split(","):
        remaining = _REMAINING.search(quota)
        if remaining is None or int(remaining[1]) > 0:
            continue
        reset = _RESET_S.search(quota) or _WINDOW_S.search(policy[:HEADER_LENGTH_MAX])
        if reset is not None:
            waits.append(min(float(reset[1]), WAIT_S_MAX))
    return max(waits, default=None)
