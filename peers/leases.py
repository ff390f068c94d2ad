"""The table of leases one lead has granted: who fetches which span, and until when progress is expected.

A lease lives while its member reports progress and lapses otherwise; what it had left is then free again, from its
first missing piece on. At any time a piece is in at most one lease (`LeaseTable.check`). Times are monotonic seconds of
the lead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from peers import piece_set
from peers.invariants import require
from peers.messages import Lease, LeaseKey, Progress
from peers.piece_set import PieceSet, Span

LEASE_S = 1.0
"""Intended duration of one lease: long enough that asking costs nothing, short enough that little is lost with it."""

PROGRESS_EXPECTED_S = 5.0
PROGRESS_EXPECTED_REPORTS = 3.0
PROGRESS_EXPECTED_S_MAX = 20.0
"""A lease without a byte of progress this long, and for so many times as seldom as holders report lately, has lapsed. Reports come every
second or two, and seldom where processors are short: what nobody could tell in time is not fetched a second time for it."""

HELD_UP_S = 0.5
"""A lead that comes so much later than it had to was held up, and what members told it meanwhile waits unread: they are not
late."""

GAP_FADES = 0.95
"""The longest time between two reports of a holder counts for the next dozens of reports, ever less."""

OVERDUE_S = 3.0
OVERDUE_FACTOR = 4.0
NEARLY_DONE_S = 3.0
SLOWER_MIN = 3.0
"""A lease that creeps this long, plus so many times its expected duration, is taken from its member as soon as another
member has nothing left to fetch, unless at its present pace it is nearly done, or that other one would hardly be faster: what
arrived of a piece that is taken away was fetched in vain."""

QUIET_S = 1.0
"""Only when no other lease of the blob has ended for so long: a connection that was starved has the link to itself first."""

ENDING_S = 1.0
"""A lease with so much to go at its pace is followed by the next one, so that its connection is never without work. Not as soon as it is at its
last piece: over a slow link each lease is one piece, and every member would have one under way, of which none gets whole (64 real daemons had
32 of 32 under way; 24 simulated ones had 14 after 200 s)."""

SHORT_S = 0.25
"""A lease of one piece that is expected to take no longer is ending from the start: it is over before its member can tell how far it is."""

PACE_MEMORY_S = 2.0
"""A lease's pace is that of the last seconds: while others have nothing to fetch, its own connection gets faster."""

RATE_MEMORY_S = 3.0
"""How fast the measured rate of all leases together follows."""

LEASES_PER_MEMBER_MAX = 9
"""Spans in one member's hands: `hub_link.SPANS_MAX` connections, and the next span while one of them ends."""

LEASE_PIECES_MAX = 256
"""Bounds what one death costs, whatever rate a member claims to have."""

FIRST_LEASE_BYTES = 1 << 20
"""For a member whose rate is unknown: little is lost if it turns out to be slow, and if not it is back at once."""

LAPSE_GRACE_S = 1.0
"""How late a lead may notice a lapse before `check` calls it forgotten."""


@dataclass(slots=True)
class LeaseRecord:
    """A lease and how far it has come: ``remaining`` begins at the first piece not yet fetched.

    ``again``: its member holds pieces of it already and fetches them to compare; holding them ends nothing then. ``adopted``:
    it was granted by an earlier lead, or lapsed since.
    """

    lease: Lease
    remaining: Span
    done_bytes: int
    granted_at: float
    overdue_at: float
    deadline: float
    again: bool
    expected_s: float = 0.0
    pace_bytes_per_s: float = 0.0
    progressed_at: float = 0.0
    adopted: bool = False


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
    """All live leases of one lead in one term; pieces are ``piece_len_bytes`` long."""

    def __init__(self, lead: str, term: int, piece_len_bytes: int) -> None:
        self.lead = lead
        self.term = term
        self._piece_len_bytes = piece_len_bytes
        self._records: dict[int, LeaseRecord] = {}
        self._by_member: dict[str, dict[int, LeaseRecord]] = {}
        self._rate_bytes_per_s = 0.0
        self._rate_at = float("-inf")
        self._first_granted_at: float | None = None
        self.expected_bytes_per_s = 0.0
        self._moved_at = float("-inf")
        self._gap_s = 0.0
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
        return frozenset(self._by_member)

    def of(self, member: str) -> tuple[Lease, ...]:
        """This member's leases, each with the span it has left, oldest first."""
        return tuple(
            Lease(record.lease.key, record.remaining, member)
            for record in self._by_member.get(member, {}).values()
        )

    def busy(self, now: float, member: str | None = None) -> int:
        """Leases of this member, or of all, that will not end in a moment."""
        records = self._records if member is None else self._by_member.get(member, {})
        return sum(not self._is_ending(record, now) for record in records.values())

    def _is_ending(self, record: LeaseRecord, now: float) -> bool:
        if len(record.remaining) > 1:
            return False
        if not record.done_bytes:
            short = len(record.lease.span) == 1 and 0 < record.expected_s <= SHORT_S
            return short and not record.again  # what is compared is compared a little at a time
        left_bytes = len(record.lease.span) * self._piece_len_bytes - record.done_bytes
        return left_bytes <= record.pace_bytes_per_s * (now - record.progressed_at + ENDING_S)

    def rate_bytes_per_s(self, now: float) -> float:
        """What all leases together bring from the Hub, by the reports on them. Before there were enough of these, what was to be
        expected: a blob of a fast link is through before it was measured."""
        since_s = 0.0 if self._first_granted_at is None else now - self._first_granted_at
        expected = self.expected_bytes_per_s * math.exp(-since_s / RATE_MEMORY_S)
        return self._measured_bytes_per_s(now) + expected

    def _measured_bytes_per_s(self, now: float) -> float:
        return self._rate_bytes_per_s * math.exp(-(now - self._rate_at) / RATE_MEMORY_S)

    def deadline(self) -> float:
        return min((record.deadline for record in self._records.values()), default=float("inf"))

    def grant(
        self, member: str, span: Span, now: float, *, expected_s: float = 0.0, again: bool = False
    ) -> Lease:
        """Lease ``span``, none of whose pieces may be leased already; ``expected_s`` at the member's rate."""
        require(not self.taken & span.pieces, "a piece is leased once", span=span, member=member)
        lease = Lease(LeaseKey(self.lead, self.term, self._next_number), span, member)
        overdue_at = now + OVERDUE_S + OVERDUE_FACTOR * expected_s
        record = LeaseRecord(lease, span, 0, now, overdue_at, now + self._patience_s, again, expected_s)
        if self._first_granted_at is None:
            self._first_granted_at = now
        self._records[self._next_number] = record
        self._by_member.setdefault(member, {})[self._next_number] = record
        self._next_number += 1
        self._count_taken()
        return lease

    def note(self, member: str, progress: Progress, now: float, held: PieceSet = 0) -> None:
        """Count a report about a span: renew its lease, or adopt a span granted by an earlier lead or lapsed since. ``held`` by
        the member.

        A span that lapsed is taken back only if it moved in the meantime, else a dead connection would keep it for ever;
        a span that others hold by now, or that this lead no longer knows, stays gone, and the next answer says so.
        """
        record = self._records.get(progress.key.number) if self._is_mine(progress.key) else None
        if record is not None and record.lease.member == member:
            self._renew(record, progress, now)
        elif not self._is_mine(progress.key) or progress.done_bytes > self._lapsed.get(progress.key, 1 << 63):
            self._adopt(member, progress, now, held)

    def release(self, key: LeaseKey, member: str) -> None:
        """The member gave this lease up, or finished it: what is left of it is free."""
        record = self._records.get(key.number) if self._is_mine(key) else None
        if record is not None and record.lease.member == member:
            self._remove(record)

    def settle(self, member: str, held: PieceSet, now: float) -> None:
        """Pieces that the member holds by now are done; a lease with none left ends."""
        for record in list(self._by_member.get(member, {}).values()):
            left = record.remaining.pieces & ~held
            if record.again and len(record.remaining):
                continue
            if not left:
                self._measure(len(record.lease.span) * self._piece_len_bytes - record.done_bytes, now)
                self._moved_at = now
                self._remove(record)
            else:
                record.remaining = Span(piece_set.first(left), record.remaining.stop)
        self._count_taken()

    def lapse(self, now: float) -> tuple[Lease, ...]:
        """End every lease without progress since its deadline; what they had left is free."""
        late = [record for record in self._records.values() if record.deadline <= now]
        for record in late:
            self._end(record)
        return tuple(record.lease for record in late)

    def reported(self, member: str, after_s: float) -> None:
        """A report came, so long after the member's one before."""
        if member in self._by_member:
            before_s = self._patience_s
            self._gap_s = max(after_s, GAP_FADES * self._gap_s)
            if self._patience_s > before_s:
                self.put_off(self._patience_s - before_s)

    def put_off(self, seconds: float) -> None:
        """Nobody was heard for so long, since nobody was listened to."""
        for record in self._records.values():
            record.deadline += seconds

    def drop_member(self, member: str) -> None:
        """A member is gone: its leases end at once."""
        for record in list(self._by_member.get(member, {}).values()):
            self._end(record)

    def take_overdue(self, asker: str, rate_bytes_per_s: float, now: float) -> Lease | None:
        """End the oldest lease of another member that creeps, so that ``asker``, who has nothing to do, can have it."""
        if now < self._moved_at + QUIET_S:
            return None
        overdue = [
            record
            for record in self._records.values()
            if record.lease.member != asker
            and now > record.overdue_at
            and self._creeps(record, rate_bytes_per_s, now)
        ]
        if not overdue:
            return None
        oldest = min(overdue, key=lambda record: record.overdue_at)
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

    @property
    def _patience_s(self) -> float:
        by_reports = PROGRESS_EXPECTED_REPORTS * self._gap_s
        return min(max(PROGRESS_EXPECTED_S, by_reports), PROGRESS_EXPECTED_S_MAX)

    def _is_mine(self, key: LeaseKey) -> bool:
        return (key.lead, key.term) == (self.lead, self.term)

    def _renew(self, record: LeaseRecord, progress: Progress, now: float) -> None:
        if progress.done_bytes > record.done_bytes:
            done_bytes = progress.done_bytes - record.done_bytes
            self._measure(done_bytes, now)
            since = record.progressed_at or record.granted_at
            pace = done_bytes / max(now - since, 0.05)
            weight = 1 - math.exp(-max(now - since, 0.05) / PACE_MEMORY_S) if record.progressed_at else 1.0
            record.pace_bytes_per_s += weight * (pace - record.pace_bytes_per_s)
            record.progressed_at = now
            record.done_bytes = progress.done_bytes
            record.deadline = now + self._patience_s
        start = min(max(record.remaining.start, progress.remaining.start), record.remaining.stop)
        record.remaining = Span(start, record.remaining.stop)
        self._count_taken()

    def _adopt(self, member: str, progress: Progress, now: float, held: PieceSet) -> None:
        mine = len(self.of(member))
        free = not self.taken & progress.remaining.pieces
        if free and len(progress.remaining) > 0 and mine < LEASES_PER_MEMBER_MAX:
            # Else it would outlive its last piece, and be fetched once more by the member that heard nothing of it meanwhile.
            again = bool(progress.remaining.pieces & held)
            record = self._records[self.grant(member, progress.remaining, now, again=again).key.number]
            record.done_bytes, record.adopted = progress.done_bytes, True

    def _end(self, record: LeaseRecord) -> None:
        key = record.lease.key
        self._remove(record)
        if len(self._lapsed) >= LAPSED_REMEMBERED_MAX:
            self._lapsed.pop(next(iter(self._lapsed)))
        self._lapsed[key] = record.done_bytes

    def _remove(self, record: LeaseRecord) -> None:
        number, member = record.lease.key.number, record.lease.member
        self._moved_at = max(self._moved_at, record.progressed_at, record.granted_at)
        del self._records[number]
        del self._by_member[member][number]
        if not self._by_member[member]:
            del self._by_member[member]
        self._count_taken()

    def _creeps(self, record: LeaseRecord, rate_bytes_per_s: float, now: float) -> bool:
        """Whether somebody with this rate would be through with the lease much sooner."""
        left_bytes = len(record.lease.span) * self._piece_len_bytes - record.done_bytes
        silent_s = now - (record.progressed_at or record.granted_at)
        pace = record.pace_bytes_per_s * math.exp(-silent_s / PACE_MEMORY_S)
        anew_bytes = len(record.remaining) * self._piece_len_bytes
        return left_bytes > NEARLY_DONE_S * pace and (
            left_bytes * rate_bytes_per_s > SLOWER_MIN * anew_bytes * pace
        )

    def _measure(self, size_bytes: int, now: float) -> None:
        """A leaky sum: bytes spread over the memory they fade in."""
        self._rate_bytes_per_s = self._measured_bytes_per_s(now) + max(0, size_bytes) / RATE_MEMORY_S
        self._rate_at = now

    def _count_taken(self) -> None:
        self.taken = 0
        for record in self._records.values():
            self.taken |= record.remaining.pieces


LAPSED_REMEMBERED_MAX = 256
"""Only a member that still reports a lapsed span needs it remembered; older ones count as refused."""
