"""Virtual time: a heap of things to come. Equal times run in the order they were planned, so a seed replays exactly."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from peers.invariants import require

EVENTS_AT_ONE_TIME_MAX = 20_000
"""More without time passing is a loop: a hundred members starting at once make a tenth of it."""


class VirtualTime:
    def __init__(self) -> None:
        self.now = 0.0
        self.events = 0
        self._at_this_time = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._planned = 0

    def at(self, when: float, do: Callable[[], None]) -> None:
        self._planned += 1
        heapq.heappush(self._heap, (max(when, self.now), self._planned, do))

    def after(self, delay_s: float, do: Callable[[], None]) -> None:
        self.at(self.now + delay_s, do)

    def run(self, until: Callable[[], bool], limit_s: float) -> bool:
        """Run until the condition holds; False when the time limit came first or nothing is left to happen."""
        while not until():
            if not self._heap or self._heap[0][0] > limit_s:
                return False
            when, _, do = heapq.heappop(self._heap)
            self._at_this_time = self._at_this_time + 1 if when == self.now else 0
            require(self._at_this_time < EVENTS_AT_ONE_TIME_MAX, "time goes on", now=when)
            self.now = when
            do()
            self.events += 1
        return True
