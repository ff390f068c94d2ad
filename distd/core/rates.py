"""Rates from observations: a meter holds one count a second for a minute, for the windows that are shown."""

from __future__ import annotations

import math
from collections import deque

WINDOW_MAX_S = 60
"""The longest window asked for, and so the memory of a meter: one number a second."""
PAUSE_MIN_S = 2.0
"""A silence longer than this is a pause, which says nothing about how fast the source is."""


class Meter:
    """Bytes over time. `add` as they come, `rate` when asked; `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, int]] = deque(maxlen=WINDOW_MAX_S + 1)
        self._started: float | None = None
        self._last: float | None = None
        self.total_bytes = 0
        self.busy_s = 0.0
        """For how long bytes came, without the pauses: bytes over this is what the source gives while it is used."""

    def add(self, size_bytes: int, now: float) -> None:
        if self._started is None or (self._seconds and now - self._seconds[-1][0] > WINDOW_MAX_S):
            self._started = now  # after a pause of a whole window the past says nothing
            self._seconds.clear()
        self.total_bytes += size_bytes
        if self._last is not None and 0 <= now - self._last <= PAUSE_MIN_S:
            self.busy_s += now - self._last
        self._last = now
        second = math.floor(now)
        if self._seconds and self._seconds[-1][0] == second:
            size_bytes += self._seconds.pop()[1]
        self._seconds.append((second, size_bytes))

    def rate(self, window_s: float, now: float) -> float:
        """Bytes per second over the last `window_s` seconds, or over the time since the start if shorter."""
        if self._started is None:
            return 0.0
        since = now - window_s
        # Of the second in which the window begins only the part inside it counts.
        seen = sum(
            size * min(1.0, second + 1 - since) for second, size in self._seconds if second + 1 > since
        )
        return seen / max(1.0, min(window_s, now - self._started))


class SourceMeter(Meter):
    """Bytes over time, all together and those of each source."""

    def __init__(self) -> None:
        super().__init__()
        self.hub = Meter()
        self.peers = Meter()

    def add_from_hub(self, size_bytes: int, now: float) -> None:
        self.add(size_bytes, now)
        self.hub.add(size_bytes, now)

    def add_from_peers(self, size_bytes: int, now: float) -> None:
        self.add(size_bytes, now)
        self.peers.add(size_bytes, now)
