"""Rates from observations, and how long the rest will take.

A meter holds one count a second for a minute. Time left is remaining bytes over the recent rate; its
range comes from how much the rate varied in that minute. With too little seen it is unknown (None).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

WINDOW_MAX_S = 60
"""The longest window asked for, and so the memory of a meter: one number a second."""
SEEN_MIN_S = 3.0
"""A rate seen for less than this says more about TCP's slow start than about the link."""
SLICES = 6
"""The minute is cut into this many slices to see how the rate varies."""


class Meter:
    """Bytes over time. `add` as they come, `rate` when asked; `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, int]] = deque(maxlen=WINDOW_MAX_S + 1)
        self._started: float | None = None
        self.total_bytes = 0

    def add(self, size_bytes: int, now: float) -> None:
        if self._started is None or (self._seconds and now - self._seconds[-1][0] > WINDOW_MAX_S):
            self._started = now  # after a pause of a whole window the past says nothing
            self._seconds.clear()
        self.total_bytes += size_bytes
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

    def seen_s(self, now: float) -> float:
        """For how long there has been anything to measure."""
        return 0.0 if self._started is None else min(now - self._started, WINDOW_MAX_S)

    def slices(self, now: float) -> list[float]:
        """The rates of the slices of the minute that lie wholly in what was seen."""
        length_s = WINDOW_MAX_S / SLICES
        count = int(self.seen_s(now) // length_s)
        rates = []
        for index in range(count):
            end = now - index * length_s
            seen = sum(size for second, size in self._seconds if end - length_s < second + 1 <= end)
            rates.append(seen / length_s)
        return rates


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


@dataclass(frozen=True, slots=True)
class TimeLeft:
    eta_s: float
    low_s: float
    high_s: float


def time_left(remaining_bytes: int, meter: Meter, now: float) -> TimeLeft | None:
    """None when nothing has been seen for long enough or nothing is arriving: unknown, not infinite."""
    if remaining_bytes <= 0:
        return TimeLeft(0.0, 0.0, 0.0)
    rate = meter.rate(10.0, now)
    if rate <= 0 or meter.seen_s(now) < SEEN_MIN_S:
        return None
    varied = [slice_rate for slice_rate in meter.slices(now) if slice_rate > 0]
    fastest = max([rate * 1.1, *varied])
    slowest = min([rate * 0.9, *varied])
    return TimeLeft(remaining_bytes / rate, remaining_bytes / fastest, remaining_bytes / slowest)
