"""Which stored file is hashed again next, and how fast: all of them once an interval, without hurry. Times are epoch seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

RATE_MIN_BYTES_PER_S = 10_000_000
"""So that a small store's file is not open for hours."""
RATE_MAX_BYTES_PER_S = 200_000_000
"""A tenth of one core's SHA-256, and what a disk hardly notices. A store too large for its interval takes longer."""
MARGIN = 2
"""Twice as fast as the interval demands: servers are off and busy at times."""


@dataclass(frozen=True, slots=True)
class Due:
    """`etag` None: nothing is due before `at`."""

    etag: str | None
    at: float


def next_due(checked_at: Mapping[str, float], interval_s: float, now: float) -> Due:
    """The file that was checked longest ago, if that is an interval ago. A clock that was set back does not delay it for more."""
    if not checked_at:
        return Due(None, now + interval_s)
    etag, at = min(checked_at.items(), key=lambda item: (item[1], item[0]))
    due_at = min(at, now) + interval_s
    return Due(etag, due_at) if due_at <= now else Due(None, due_at)


def rate_bytes_per_s(stored_bytes: int, interval_s: float) -> float:
    """At which to read, so that all is read within the interval."""
    demanded = MARGIN * stored_bytes / interval_s
    return min(max(demanded, RATE_MIN_BYTES_PER_S), RATE_MAX_BYTES_PER_S)
