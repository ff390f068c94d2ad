"""How fast this node hashes what has arrived.

While hashing lags, its rate is what it does now; while it waits for bytes, what it did when it had some. Others may want the
processor since a moment ago, so what it hashed long before says nothing; nor does what it did while bytes still arrived say
what it does afterwards: receiving and writing shared its processors and the disk (20 to 30 MB/s, then 55, on a busy host).

Pure. Times are monotonic seconds, rates bytes per second.
"""

from __future__ import annotations

from collections import deque

from distd.core.estimate import BACKLOG_S, Speed
from distd.core.pace import Pace, speed_of

HASHING_S = 3.0
"""So much hashing tells how fast it goes; at 1.7 GB/s it is most of a pull, on a busy processor some blocks."""
STRETCH_S = 0.25
"""What is remembered, and forgotten, at once."""
USUAL_SPREAD = 0.15
"""What it did while it had something to hash says so much about what it does when it lags."""


class HashPace:
    """Call `look` about twice a second, with what the node's threads have hashed so far and the time that took them."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._before = (0, 0.0)
        self._recent: deque[tuple[int, float]] = deque([(0, 0.0)])
        self._arrives = False

    def look(
        self,
        total_bytes: int,
        busy_s: float,
        *,
        backlog_bytes: int,
        arrives: bool,
        past: float | None,
        now: float,
    ) -> None:
        """`backlog_bytes` have arrived and are not hashed; `arrives`: more is to come. `past`: the rate of earlier pulls."""
        self._remember(total_bytes, busy_s)
        usual = self.usual(past)
        ended, self._arrives = self._arrives and not arrives, arrives
        if ended or usual is None or backlog_bytes <= BACKLOG_S * usual:
            self._pace.restart()
        if usual is not None and backlog_bytes > BACKLOG_S * usual:
            self._pace.observe(total_bytes, now)

    def usual(self, past: float | None) -> float | None:
        """What one thread hashes while it has something to hash."""
        size_bytes = sum(size for size, _ in self._recent)
        took_s = sum(took for _, took in self._recent)
        return size_bytes / took_s if size_bytes and took_s else past

    def speed(self, past: float | None) -> Speed | None:
        """None where nothing is known: nothing was hashed yet, now or before."""
        usual = self.usual(past)
        return speed_of(self._pace) or (Speed(usual, USUAL_SPREAD) if usual else None)

    def _remember(self, total_bytes: int, busy_s: float) -> None:
        """The newest stretches that add up to `HASHING_S`, of `STRETCH_S` each: a dozen."""
        before, self._before = self._before, (total_bytes, busy_s)
        newest = (total_bytes - before[0], busy_s - before[1])
        if self._recent[-1][1] < STRETCH_S:
            size_bytes, took_s = self._recent.pop()
            newest = (newest[0] + size_bytes, newest[1] + took_s)
        self._recent.append(newest)
        while sum(took for _, took in self._recent) - self._recent[0][1] >= HASHING_S:
            self._recent.popleft()
