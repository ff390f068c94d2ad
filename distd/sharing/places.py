"""How many blobs are in work at once on a node, and what is urgent among them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

FILLING_BLOBS_MAX = 3
"""Blobs filled at once: one arriving, one being sealed, one beginning. All members go in the same order,
so more would only spread the same bytes thinner and leave SHA-256 behind."""
WORKED_BLOBS_MAX = 6
"""With those that have arrived here: they are being sealed, or stay in the hot swarm for others that still fill."""
URGENT_BLOBS_MAX = 3
"""Beyond those, of higher priority than what is in work, which lets them go first at the Hub: an urgent pull does not wait for
a blob of many gigabytes to be whole."""


class Places:
    """`taken` are the blobs in work: their priority (smaller goes first) and whether they are still being filled."""

    def __init__(self, taken: Iterable[tuple[int, bool]]) -> None:
        self._taken = list(taken)

    def take(self, priority: int) -> bool:
        """Whether a blob of this priority may be opened now; it then has its place. Less urgent ones don't count."""
        rivals = [fills for other, fills in self._taken if other <= priority]
        free = (
            rivals.count(True) < FILLING_BLOBS_MAX
            and len(rivals) < WORKED_BLOBS_MAX
            and len(self._taken) < WORKED_BLOBS_MAX + URGENT_BLOBS_MAX
        )
        if free:
            self._taken.append((priority, True))
        return free
