"""A fetch desk told what happens, line by line."""

from __future__ import annotations

from random import Random

from distd.core import desk_events as ev
from distd.core.desk import FetchDesk
from distd.core.faults import FaultKind
from tests.core.desk_world import fault

MIB = 1 << 20
NOTHING_STORED: frozenset[int] = frozenset()


class Script:
    """A desk and the clock of a script; checks the desk after each event."""

    def __init__(self, connections: int = 2, give_up_after_s: float = 60.0) -> None:
        self.desk = FetchDesk(connections=connections, give_up_after_s=give_up_after_s, rng=Random(1))
        self.now = 0.0

    def at(self, now: float) -> Script:
        self.now = now
        return self

    def tell(self, *events: ev.Event) -> list[ev.Action]:
        actions: list[ev.Action] = []
        for event in events:
            actions += self.desk.handle(event, self.now)
            self.desk.check()
        return actions

    def open(
        self, etag: str, pieces: int, number: int = 0, stored: frozenset[int] = NOTHING_STORED
    ) -> list[ev.Action]:
        """Wants and opens a blob of whole pieces of 1 MiB."""
        wanted = ev.BlobWanted(etag, pieces * MIB, (0, 1, number))
        return self.tell(wanted, ev.BlobOpened(etag, MIB, stored))

    def fault(self, fetch_id: int, kind: FaultKind, retry_after_s: float | None = None) -> list[ev.Action]:
        return self.tell(ev.FetchFaulted(fetch_id, fault(kind, retry_after_s)))

    def fetch(self, fetch_id: int, etag: str, *pieces: int, changed: bool = False) -> list[ev.Action]:
        """The pieces arrive one by one, and the fetch ends."""
        stored = [ev.PieceStored(fetch_id, etag, piece, changed) for piece in pieces]
        return self.tell(*stored, ev.FetchEnded(fetch_id))
