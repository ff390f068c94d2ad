"""Connections to the Hub that are left behind by their neighbours, and are better opened anew.

Several connections share a narrow link by what their congestion control makes of it: one of them can be starved for as long
as the others have something to fetch (measured with TCP BBR: 45 kB/s of 3 MB/s). A new connection begins with a fair
share, at the byte that comes next, so that nothing is fetched again but what was on its way.

Pure. Times are monotonic seconds, rates bytes per second.
"""

from __future__ import annotations

import math

LAGS_FACTOR = 4.0
"""A connection lags when it brings so many times less than connections of this node usually do."""

WATCHED_S = 2.0
"""Looked at over so long: longer than the pauses in which a sender probes the link."""

MEMORY_S = 5.0
"""What is usual follows the link within so long: when all become slow, none of them lags."""

REOPENED_MAX = 3
"""Times per span. When that did not help, the cause is another, and the lead gives the span to somebody else."""


class UsualPace:
    """What one connection of this node usually brings; 0 while nothing is known."""

    def __init__(self) -> None:
        self.bytes_per_s = 0.0

    def learn(self, size_bytes: int, elapsed_s: float) -> None:
        if elapsed_s > 0:
            weight = 1 - math.exp(-elapsed_s / MEMORY_S) if self.bytes_per_s else 1.0
            self.bytes_per_s += weight * (size_bytes / elapsed_s - self.bytes_per_s)


class ConnectionPace:
    """Of one span's connections, one after the other."""

    def __init__(self, usual: UsualPace) -> None:
        self._usual = usual
        self._since: float | None = None
        self._size_bytes = 0
        self._reopened = 0

    def arrived(self, size_bytes: int, now: float) -> bool:
        """Bytes came; True when the connection lags and is to be opened anew behind them."""
        if self._since is None:  # the way to the first byte is no part of the pace
            self._since = now
            return False
        self._size_bytes += size_bytes
        if now - self._since < WATCHED_S:
            return False
        lags = self._size_bytes * LAGS_FACTOR < self._usual.bytes_per_s * (now - self._since)
        self.ended(now)
        if not lags or self._reopened >= REOPENED_MAX:
            self._since = now
            return False
        self._reopened += 1
        return True

    def excuse(self, waited_s: float) -> None:
        """The connection was not read from for so long, by no fault of its own."""
        if self._since is not None:
            self._since += waited_s

    def ended(self, now: float) -> None:
        """The connection is closed, or looked at anew: what it brought becomes part of what is usual. Idempotent."""
        if self._since is not None:
            self._usual.learn(self._size_bytes, now - self._since)
        self._since = None
        self._size_bytes = 0
