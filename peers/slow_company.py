"""Whether a node waits for what members have clearly longer than it would fetch it from the Hub.

A byte crosses the link to the Hub once because members pass it on. Where they reach each other over a much narrower link than
each of them reaches the Hub, waiting for the others would make a fleet slower than nodes that know nothing of each other. Then
what the others have is fetched as well, a second time, and only then:

* nothing is left that nobody has: a second copy never goes before a first one;
* this node got so much from the Hub, while all who want to fetch did, that fetching takes less than half as long as waiting.
  Where the link to the Hub is shared and narrow, each gets its part of it, and what comes from the members together is more.

Pure. Times are monotonic seconds, rates bytes per second.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW_S = 5.0
"""What members sent within this tells how fast they are: longer than a busy host stands still, and a node with members beside
it and others far away knows so soon what is left to come from the latter."""

STEP_S = 0.25
"""What came within this is one entry of the window."""

MEASURED_S = 2.0
"""For so long after others got something that this node lacks nothing is concluded: a torrent begins to exchange within this."""

IDLE_S = 0.5
"""Nothing was left to fetch for so long: the next blob may be about to begin."""

SLOWER_MIN = 2.0
SAVED_S_MIN = 3.0
"""Waiting takes so many times as long as fetching, and so much longer, before it begins. In a fleet where the members' links carry
what is fetched, pieces reach everybody within one or two seconds."""

LEFT_S = 0.5
"""Once begun it goes on until so little is saved: what members deliver within this is on its way."""


@dataclass(frozen=True, slots=True)
class Outpaced:
    """How long waiting and fetching would take."""

    wait_s: float
    fetch_s: float


class SlowCompany:
    """One node's. Tell it what members send with `took_in`, and look with all that is known."""

    def __init__(self) -> None:
        self._came: deque[tuple[float, int]] = deque()
        self._begun = False
        self._idle_since: float | None = None

    def took_in(self, size_bytes: int, now: float) -> None:
        if self._came and now < self._came[-1][0] + STEP_S:
            began_at, before_bytes = self._came.pop()
            self._came.append((began_at, before_bytes + size_bytes))
        else:
            self._came.append((now, size_bytes))
        while self._came[0][0] <= now - WINDOW_S:
            self._came.popleft()

    def first_copies(self, left: bool, now: float) -> None:
        """Whether some blob of this node has pieces left that nobody has."""
        if left:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now

    def slower(
        self, lacks_bytes: int, piece_bytes: int, since_s: float, hub_bytes_per_s: float, now: float
    ) -> Outpaced | None:
        """Whether the Hub is clearly quicker, whatever is left there; None if not or if it is not known.

        ``lacks_bytes`` is what members have and this node lacks, since ``since_s``, in pieces of at most ``piece_bytes``.
        """
        if not lacks_bytes or hub_bytes_per_s <= 0 or since_s < MEASURED_S:
            self._begun = self._begun and bool(lacks_bytes)
            return None
        came_bytes = sum(size for at, size in self._came if at > now - WINDOW_S)
        # A piece that is about to be whole counts: large ones on a slow link are further apart than the window is long.
        wait_s = lacks_bytes * min(since_s, WINDOW_S) / max(came_bytes + piece_bytes, 1)
        fetch_s = lacks_bytes / hub_bytes_per_s
        enough_s = fetch_s + LEFT_S if self._begun else SLOWER_MIN * fetch_s + SAVED_S_MIN
        self._begun = wait_s > enough_s
        return Outpaced(wait_s, fetch_s) if self._begun else None

    def is_idle(self, now: float) -> bool:
        """Whether there is nothing else to fetch."""
        return self._idle_since is not None and now >= self._idle_since + IDLE_S
