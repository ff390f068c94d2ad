"""What this run of the daemon counted: plain numbers that the rest of the program adds to, and monitoring reads.

Everything here begins at 0 with each start, as monitoring expects of counters. Only the event loop adds; threads hand
their numbers over to it first. What a pull got is counted anew in its record, which outlives a restart.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

RejectedFrom = str
"""Where a piece was from whose bytes were wrong: `hub`, `peers` or `disk` (it was right, and not the same when it was read
again); `member:NAME` once there is evidence against one, then besides."""
Finished = Literal["complete", "failed", "cancelled"]

UNANSWERED = 0
"""Stands for the status of a request that got no answer."""
DURATION_BOUNDS_S = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0, 43_200.0)
"""From what is held already to 700 GB over 100 Mbit/s, in steps that people speak of."""
ERROR_BOUNDS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.35, 0.5, 1.0, 2.0)
"""Around what is promised of estimates: 5 % and 10 % off, within 35 %."""


class Histogram:
    """Counts of values up to each bound, and above all of them."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def cumulative(self) -> list[tuple[float, int]]:
        """How many values were at most each bound; the last bound is infinity."""
        total, found = 0, []
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            total += count
            found.append((bound, total))
        return found


@dataclass
class Tally:
    """One for the whole daemon. Sizes are bytes, times seconds."""

    hub_received_bytes: int = 0
    """File data from the Hub as it crossed the link, repeats included; answers about metadata are not."""
    hub_duplicate_bytes: int = 0
    """Of these, what this node got although a member of the cluster had fetched it before."""
    hub_requests: dict[int, int] = field(default_factory=dict)
    """By HTTP status, or UNANSWERED: requests for metadata and for data, data servers included."""
    reused_bytes: int = 0
    """Of finished pulls: what was held already."""
    pieces_rejected: dict[RejectedFrom, int] = field(
        default_factory=lambda: {"hub": 0, "peers": 0, "disk": 0}
    )
    files_rejected: int = 0
    """Whole files whose hash was wrong, as often as that was found."""
    pulls_finished: dict[Finished, int] = field(
        default_factory=lambda: {"complete": 0, "failed": 0, "cancelled": 0}
    )
    pull_duration_s: Histogram = field(default_factory=lambda: Histogram(DURATION_BOUNDS_S))
    """From start to published, of complete pulls."""
    eta_error: Histogram = field(default_factory=lambda: Histogram(ERROR_BOUNDS))
    snapshots_evicted: int = 0
    evicted_bytes: int = 0
    """What came free on the disk when room was made."""
    scrubbed_bytes: int = 0
    """Read again in the background; what was read a second time to make sure counts again."""
    files_rotten: int = 0
    """Stored files that lost their hash on the disk, as scrubbing found them."""
    reload_succeeded: bool = True
    """Of the configuration, the last time it was read; it was when the daemon started."""

    def hub_received(self, size_bytes: int) -> None:
        self.hub_received_bytes += size_bytes

    def hub_repeated(self, size_bytes: int) -> None:
        """So much came from the Hub a second time, or was dropped and has to come once more."""
        self.hub_duplicate_bytes += size_bytes

    def hub_answered(self, status: int) -> None:
        """One request ended with this HTTP status, or UNANSWERED."""
        self.hub_requests[status] = self.hub_requests.get(status, 0) + 1

    def piece_rejected(self, source: RejectedFrom, pieces: int = 1) -> None:
        self.pieces_rejected[source] = self.pieces_rejected.get(source, 0) + pieces

    def file_rejected(self) -> None:
        self.files_rejected += 1

    def pull_finished(self, state: Finished, duration_s: float | None, reused_bytes: int) -> None:
        """`duration_s` is None for a pull that never began."""
        self.pulls_finished[state] += 1
        self.reused_bytes += reused_bytes
        if state == "complete" and duration_s is not None:
            self.pull_duration_s.observe(max(0.0, duration_s))

    def snapshot_evicted(self) -> None:
        self.snapshots_evicted += 1

    def evicted(self, freed_bytes: int) -> None:
        self.evicted_bytes += freed_bytes

    def scrubbed(self, size_bytes: int) -> None:
        self.scrubbed_bytes += size_bytes

    def file_rotted(self) -> None:
        self.files_rotten += 1

    def reload_ended(self, succeeded: bool) -> None:
        self.reload_succeeded = succeeded

    def observe_eta_error(self, ratio: float) -> None:
        """A pull is complete: how far off its estimates were, as |error| over the time that was left."""
        self.eta_error.observe(ratio)
