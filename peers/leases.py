"""The table of leases one lead has granted: who fetches which span, and until when progress is expected.

A lease lives while its member reports progress and lapses otherwise; what it had left is then free again, from its
first missing piece on. At any time a piece is in at most one lease (`LeaseTable.check`). Times are monotonic seconds of
the lead.
"""

from __future__ import annotations

from dataclasses import dataclass

from peers import piece_set
from peers.invariants import require
from peers.messages import Lease, LeaseKey, Progress
from peers.piece_set import PieceSet, Span

LEASE_S = 1.5
"""Intended duration of one lease: long enough that asking costs nothing, short enough that little is lost with it."""

PROGRESS_EXPECTED_S = 5.0
"""A lease without a byte of progress this long has lapsed; reports come at least every second or two."""

OVERDUE_S = 10.0
"""A lease that creeps this long is taken from its member as soon as another member has nothing left to fetch."""

LEASES_PER_MEMBER_MAX = 4
"""Spans in one member's hands: enough for several connections, few enough to lose little with the member."""

LEASE_PIECES_MAX = 256
"""Bounds what one death costs, whatever rate a member claims to have."""

FIRST_LEASE_BYTES = 16 << 20
"""For a member whose rate is unknown: about a second at 128 MB/s, one piece of the largest size."""

LAPSE_GRACE_S = 1.0
"""How late a lead may notice a lapse before `check` calls it forgotten."""


@dataclass(slots=True)
class LeaseRecord:
    """A lease and how far it has come: ``remaining`` begins at the first piece not yet fetched."""

    lease: Lease
    remaining: Span
    done_bytes: int
    granted_at: float
    deadline: float


def lease_pieces(rate_bytes_per_s: float, piece_len_bytes: int, free_pieces: int, fetchers: int) -> int:
    """How many pieces to lease: `LEASE_S` at the asker's rate, and near the end half of an equal share.

    The second bound is guided self-scheduling (Polychronopoulos and Kuck 1987): shrinking spans let all fetchers end
    at about the same time.
    """
    intended = rate_bytes_per_s * LEASE_S if rate_bytes_per_s > 0 else FIRST_LEASE_BYTES
    by_rate = round(intended / piece_len_bytes)
    at_the_end = free_pieces // (2 * max(fetchers, 1))
    return max(1, min(by_rate, at_the_end, LEASE_PIECES_MAX))


class LeaseTable:
    """All live leases of one lead in one term."""

    def __init__(self, lead: str, term: int) -> None:
        self.lead = lead
        self.term = term
        self._records: dict[int, LeaseRecord] = {}
        self._lapsed: dict[LeaseKey, int] = {}
        self._next_number = 1
        self.taken: PieceSet = 0

    def __repr__(self) -> str:
        return f"<LeaseTable {self.lead} term {self.term}: {len(self._records)} leases>"

    @property
    def records(self) -> tuple[LeaseRecord, ...]:
        return tuple(self._records.values())

    @property
    def holders(self) -> frozenset[str]:
        return frozenset(record.lease.member for record in self._records.values())

    def of(self, member: str) -> tuple[Lease, ...]:
        """This member's leases, each with the span it has left, oldest first."""
        return tuple(
            Lease(record.lease.key, record.remaining, member)
            for record in self._records.values()
            if record.lease.member == member
        )

    def deadline(self) -> float:
        return min((record.deadline for record in self._records.values()), default=float("inf"))

    def grant(self, member: str, span: Span, now: float) -> Lease:
        """Lease ``span``, none of whose pieces may be leased already."""
        require(not self.taken & span.pieces, "a piece is leased once", span=span, member=member)
        lease = Lease(LeaseKey(self.lead, self.term, self._next_number), span, member)
        self._records[self._next_number] = LeaseRecord(lease, span, 0, now, now + PROGRESS_EXPECTED_S)
        self._next_number += 1
        self._count_taken()
        return lease

    def note(self, member: str, progress: Progress, now: float) -> None:
        """Count a report about a span: renew its lease, or adopt a span granted by an earlier lead or lapsed since.

        A span that lapsed is taken back only if it moved in the meantime, else a dead connection would keep it for ever;
        a span that others hold by now, or that this lead no longer knows, stays gone, and the next answer says so.
        """
        record = self._records.get(progress.key.number) if self._is_mine(progress.key) else None
        if record is not None and record.lease.member == member:
            self._renew(record, progress, now)
        elif not self._is_mine(progress.key) or progress.done_bytes > self._lapsed.get(progress.key, 1 << 63):
            self._adopt(member, progress, now)

    def release(self, key: LeaseKey, member: str) -> None:
        """The member gave this lease up, or finished it: what is left of it is free."""
        record = self._records.get(key.number) if self._is_mine(key) else None
        if record is not None and record.lease.member == member:
            del self._records[key.number]
            self._count_taken()

    def settle(self, member: str, held: PieceSet) -> None:
        """Pieces that the member holds by now are done; a lease with none left ends."""
        for number, record in list(self._records.items()):
            if record.lease.member != member:
                continue
            left = record.remaining.pieces & ~held
            if not left:
                del self._records[number]
            else:
                record.remaining = Span(piece_set.first(left), record.remaining.stop)
        self._count_taken()

    def lapse(self, now: float) -> tuple[Lease, ...]:
        """End every lease without progress since its deadline; what they had left is free."""
        late = [record for record in self._records.values() if record.deadline <= now]
        for record in late:
            self._end(record)
        return tuple(record.lease for record in late)

    def drop_member(self, member: str) -> None:
        """A member is gone: its leases end at once."""
        for record in [each for each in self._records.values() if each.lease.member == member]:
            self._end(record)

    def take_overdue(self, asker: str, now: float) -> Lease | None:
        """End the oldest lease of another member that creeps, so that ``asker``, who has nothing to do, can have it."""
        overdue = [
            record
            for record in self._records.values()
            if record.lease.member != asker and now - record.granted_at > OVERDUE_S
        ]
        if not overdue:
            return None
        oldest = min(overdue, key=lambda record: record.granted_at)
        self._end(oldest)
        return oldest.lease

    def extend_all(self, until: float) -> None:
        """Nobody may be blamed for waiting: while the Hub is paused, deadlines move with it."""
        for record in self._records.values():
            record.deadline = max(record.deadline, until + PROGRESS_EXPECTED_S)

    def check(self, now: float) -> None:
        """Raise `InvariantViolated` if a piece is leased twice or a lapse went unnoticed."""
        seen: PieceSet = 0
        for record in self._records.values():
            pieces = record.remaining.pieces
            require(not seen & pieces, "a piece is leased once", lease=record.lease)
            seen |= pieces
            require(
                record.deadline >= now - LAPSE_GRACE_S,
                "a lease without progress lapses",
                lease=record.lease,
                deadline=record.deadline,
                now=now,
            )
        require(seen == self.taken, "taken pieces are those leased", taken=self.taken, leased=seen)

    def _is_mine(self, key: LeaseKey) -> bool:
        return (key.lead, key.term) == (self.lead, self.term)

    def _renew(self, record: LeaseRecord, progress: Progress, now: float) -> None:
        if progress.done_bytes > record.done_bytes:
            record.done_bytes = progress.done_bytes
            record.deadline = now + PROGRESS_EXPECTED_S
        start = min(max(record.remaining.start, progress.remaining.start), record.remaining.stop)
        record.remaining = Span(start, record.remaining.stop)
        self._count_taken()

    def _adopt(self, member: str, progress: Progress, now: float) -> None:
        mine = len(self.of(member))
        free = not self.taken & progress.remaining.pieces
        if free and len(progress.remaining) > 0 and mine < LEASES_PER_MEMBER_MAX:
            lease = self.grant(member, progress.remaining, now)
            self._records[lease.key.number].done_bytes = progress.done_bytes

    def _end(self, record: LeaseRecord) -> None:
        key = record.lease.key
        self._records.pop(key.number)
        if len(self._lapsed) >= LAPSED_REMEMBERED_MAX:
            self._lapsed.pop(next(iter(self._lapsed)))
        self._lapsed[key] = record.done_bytes
        self._count_taken()

    def _count_taken(self) -> None:
        self.taken = 0
        for record in self._records.values():
            self.taken |= record.remaining.pieces


LAPSED_REMEMBERED_MAX = 256
"""Only a member that still reports a lapsed span needs it remembered; older ones count as refused."""
