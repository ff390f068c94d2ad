"""The spans this member is fetching from the Hub, and how they follow the leases that its lead states.

An answer states all leases; a fetch without one stops, a lease without a fetch starts at the first piece still missing.
A new lead names the same span anew: then the running fetch keeps its connection and takes the new name. A fetch has its
own number, never reused, so that events of a stopped one are recognised and dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from peers.hub_link import HubLink
from peers.messages import Lease, LeaseKey, Progress
from peers.piece_set import PieceSet, Span


@dataclass(slots=True)
class Fetch:
    """One request to the Hub for ``span``; ``remaining`` begins at the piece that arrives next."""

    number: int
    key: LeaseKey
    span: Span
    remaining: Span
    whole_bytes: int = 0
    done_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Reconciled:
    started: tuple[Fetch, ...]
    stopped: tuple[int, ...]


class Fetches:
    """All spans in this member's hands for one blob; what they bring is measured at ``link``."""

    def __init__(self, link: HubLink) -> None:
        self.active: dict[int, Fetch] = {}
        self.closed: dict[LeaseKey, Span] = {}
        self._link = link
        self._next_number = 1

    @property
    def pieces(self) -> PieceSet:
        """What is still to come from the Hub."""
        pieces: PieceSet = 0
        for fetch in self.active.values():
            pieces |= fetch.remaining.pieces
        return pieces

    @property
    def busy(self) -> int:
        """Spans that are not at their last piece: while that one arrives the next span may begin."""
        return sum(len(fetch.remaining) > 1 for fetch in self.active.values())

    def progress(self) -> tuple[Progress, ...]:
        """For the report to the lead."""
        return tuple(Progress(f.key, f.remaining, f.done_bytes) for f in self.active.values())

    def reconcile(self, leases: Sequence[Lease], may_start: bool, now: float) -> Reconciled:
        """Follow the leases stated by the lead; ``may_start`` says whether the Hub may be asked now."""
        stated = {lease.key: lease for lease in leases}
        known = {fetch.key for fetch in self.active.values()}
        started = []
        for lease in leases:
            if lease.key in known or lease.key in self.closed or self._rename(lease, stated):
                continue
            if may_start:
                started.append(self._start(lease))
        self.closed = {key: span for key, span in self.closed.items() if key in stated}
        stopped = tuple(number for number, fetch in self.active.items() if fetch.key not in stated)
        for number in stopped:
            del self.active[number]
        return Reconciled(tuple(started), stopped)

    def progressed(self, number: int, done_bytes: int, now: float) -> None:
        fetch = self.active.get(number)
        if fetch is not None:
            self._count(fetch, done_bytes, now)

    def piece_arrived(self, number: int, piece: int, size_bytes: int, now: float) -> bool:
        """Whether the piece belongs to a span still in hand; counts it and ends the span after its last piece."""
        fetch = self.active.get(number)
        if fetch is None or not fetch.remaining.start <= piece < fetch.remaining.stop:
            return False
        fetch.whole_bytes += size_bytes
        self._count(fetch, fetch.whole_bytes, now)
        fetch.remaining = Span(piece + 1, fetch.remaining.stop)
        if not len(fetch.remaining):
            self._close(fetch)
        return True

    def failed(self, number: int) -> bool:
        """Give the span back; False when it was not in hand any longer."""
        fetch = self.active.get(number)
        if fetch is not None:
            self._close(fetch)
        return fetch is not None

    def stop_all(self) -> tuple[int, ...]:
        """Give every span back; the numbers to stop."""
        numbers = tuple(self.active)
        for fetch in list(self.active.values()):
            self._close(fetch)
        return numbers

    def _rename(self, lease: Lease, stated: dict[LeaseKey, Lease]) -> bool:
        """Whether the lease is a span in hand, or one just ended, under the name that a new lead gave it."""
        for fetch in self.active.values():
            if fetch.key not in stated and _continues(fetch.remaining, lease.span):
                fetch.key = lease.key
                return True
        for key, span in self.closed.items():
            of_another_lead = (key.lead, key.term) != (lease.key.lead, lease.key.term)
            if of_another_lead and span.stop == lease.span.stop and span.start <= lease.span.start:
                self.closed[lease.key] = lease.span
                return True
        return False

    def _start(self, lease: Lease) -> Fetch:
        fetch = Fetch(self._next_number, lease.key, lease.span, lease.span)
        self._next_number += 1
        self.active[fetch.number] = fetch
        return fetch

    def _close(self, fetch: Fetch) -> None:
        del self.active[fetch.number]
        self.closed[fetch.key] = fetch.span

    def _count(self, fetch: Fetch, done_bytes: int, now: float) -> None:
        if done_bytes > fetch.done_bytes:
            self._link.arrived(done_bytes - fetch.done_bytes, now)
            fetch.done_bytes = done_bytes


def _continues(remaining: Span, leased: Span) -> bool:
    return leased.start <= remaining.start and remaining.stop == leased.stop
