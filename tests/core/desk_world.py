"""A Hub and a store in memory that do what a fetch desk decides, one seeded random step at a time.

The world keeps its own books (what is wanted, opened, fetched, stored) and holds the desk to its rules
after every event, besides the desk's own `check`. `now` is a number that the steps move.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from distd.core import desk_events as ev
from distd.core.desk import OPEN_BLOBS_PER_CONNECTION, TINY_BYTES, TINY_PER_CONNECTION, FetchDesk, Phase
from distd.core.faults import FaultKind, FetchFault
from distd.errors import DistdError, HubUnreachable

PIECE_BYTES = 1 << 20
PASSING = (FaultKind.UNREACHABLE, FaultKind.CUT, FaultKind.STALLED, FaultKind.SERVER_ERROR)


def fault(kind: FaultKind, retry_after_s: float | None = None) -> FetchFault:
    return FetchFault(
        kind, f"the Hub: {kind.value}", HubUnreachable("https://hub", kind.value), retry_after_s
    )


@dataclass
class Blob:
    """One blob of the world. What the Hub does with it never changes; what is stored of it does."""

    etag: str
    size_bytes: int
    order: ev.Order
    ignores_ranges: bool = False
    always_wrong: bool = False
    stored: set[int] = field(default_factory=set)
    wrong: set[int] = field(default_factory=set)
    """Stored pieces whose bytes are not the right ones."""
    deliveries: list[int] = field(default_factory=list)
    opened: bool = False
    single_stream: bool = False

    @property
    def is_tiny(self) -> bool:
        return self.size_bytes <= TINY_BYTES

    @property
    def pieces(self) -> int:
        return -(-self.size_bytes // PIECE_BYTES)


@dataclass
class Fetch:
    etag: str
    next: int
    end: int


@dataclass(frozen=True)
class Chances:
    """Of each fault, per step of a fetch."""

    passing: float = 0.0
    rate_limited: float = 0.0
    odd: float = 0.0
    final: float = 0.0
    wrong_bytes: float = 0.0
    lost: float = 0.0
    dropped: float = 0.0


class World:
    def __init__(
        self,
        desk: FetchDesk,
        *,
        connections: int,
        rng: Random,
        chances: Chances = Chances(),  # frozen
        step_s: float = 0.05,
    ) -> None:
        self.desk = desk
        self.connections = connections
        self.rng = rng
        self.chances = chances
        self.step_s = step_s
        self.now = 100.0
        self.blobs: dict[str, Blob] = {}
        self.fetches: dict[int, Fetch] = {}
        self.stopped: list[int] = []
        self.answers: list[ev.Event] = []
        self.accepted: list[str] = []
        self.failed: dict[str, DistdError] = {}
        self.dropped: list[str] = []
        self.paused_until = 0.0
        self.fetches_most = 0
        self.log: list[str] = []

    @property
    def unfinished(self) -> set[str]:
        return set(self.blobs) - {*self.accepted, *self.failed, *self.dropped}

    def want(self, blob: Blob) -> None:
        self.blobs[blob.etag] = blob
        self.tell(ev.BlobWanted(blob.etag, blob.size_bytes, blob.order))

    def run(self, steps: int) -> None:
        """At most `steps` steps; ends early when every blob ended."""
        for _ in range(steps):
            if not self.unfinished:
                return
            self.step()

    def step(self) -> None:
        """The next thing happens: an answer of the store, a piece or a fault of a fetch, or a deadline."""
        self.now += self.rng.expovariate(1 / self.step_s)
        deadline = self.desk.next_deadline()
        if deadline is not None and deadline <= self.now:
            self.tell(ev.DeadlineReached())
        elif self.stopped and self.rng.random() < 0.5:
            self._late_word(self.stopped.pop())
        elif self._happens(self.chances.dropped):
            self._drop(self.rng.choice(sorted(self.unfinished)))
        elif self._happens(self.chances.lost):
            self._lose(self.blobs[self.rng.choice(sorted(self.unfinished))])
        elif self.answers and (not self.fetches or self.rng.random() < 0.4):
            self.tell(self.answers.pop(self.rng.randrange(len(self.answers))))
        elif self.fetches:
            self._progress(self.rng.choice(sorted(self.fetches)))
        else:
            assert deadline is not None, f"nothing will ever happen again to {self.unfinished}: {self.desk!r}"
            self.now = deadline
            self.tell(ev.DeadlineReached())

    def tell(self, event: ev.Event) -> None:
        self.log.append(f"{self.now:.2f} {event}")
        actions = self.desk.handle(event, self.now)
        self.log += [f"    {action}" for action in actions]
        self.desk.check()
        for action in actions:
            self._do(action)
        self._check(actions)

    # What the desk wants done.

    def _do(self, action: ev.Action) -> None:
        match action:
            case ev.OpenBlob(etag, size_bytes):
                blob = self.blobs[etag]
                assert size_bytes == blob.size_bytes
                assert not blob.opened, "opened twice"
                blob.opened = True
                self.answers.append(ev.BlobOpened(etag, PIECE_BYTES, frozenset(blob.stored)))
            case ev.StartFetch(fetch_id, etag, start, end):
                blob = self.blobs[etag]
                assert start % PIECE_BYTES == 0, "a span begins within a piece"
                assert end % PIECE_BYTES == 0 or end == blob.size_bytes, "a span ends within a piece"
                assert start < end <= blob.size_bytes
                assert self.now >= self.paused_until, "fetched within the Hub's pause"
                assert start == 0 or not blob.single_stream, "a single stream begins at the beginning"
                self.fetches[fetch_id] = Fetch(etag, start // PIECE_BYTES, -(-end // PIECE_BYTES))
                if not blob.is_tiny:
                    self.fetches_most = max(self.fetches_most, len(self._fetches_of(tiny=False)))
            case ev.StopFetch(fetch_id):
                del self.fetches[fetch_id]
                self.stopped.append(fetch_id)
            case ev.HashBlob(etag):
                blob = self.blobs[etag]
                assert blob.stored == set(range(blob.pieces)), "hashed with pieces missing"
                self.answers.append(ev.BlobHashed(etag, "actual", matches=not blob.wrong))
            case ev.AcceptBlob(etag):
                assert etag in self.unfinished
                self.accepted.append(etag)
            case ev.FailBlob(etag, error):
                assert etag in self.unfinished
                self.failed[etag] = error

    def _check(self, actions: list[ev.Action]) -> None:
        assert len(self._fetches_of(tiny=False)) <= self.connections
        assert len(self._fetches_of(tiny=True)) <= self.connections * TINY_PER_CONNECTION
        by_blob: dict[str, int] = {}
        for running in self.fetches.values():
            assert running.etag in self.unfinished, "a fetch outlives its blob"
            by_blob[running.etag] = by_blob.get(running.etag, 0) + 1
        assert all(count == 1 for etag, count in by_blob.items() if self.blobs[etag].single_stream)
        self._check_order(actions)

    def _fetches_of(self, *, tiny: bool) -> list[Fetch]:
        return [fetch for fetch in self.fetches.values() if self.blobs[fetch.etag].is_tiny is tiny]

    def _check_order(self, actions: list[ev.Action]) -> None:
        """No connection idles while a blob could use it, and none is given past a blob of its kind that comes first."""
        if max(self.paused_until, self.desk._hub_paused_until) > self.now:
            return
        for tiny, connections in (False, self.connections), (True, self.connections * TINY_PER_CONNECTION):
            known = sorted(
                (blob for blob in self.desk._blobs.values() if self.blobs[blob.etag].is_tiny is tiny),
                key=lambda blob: (blob.order, blob.etag),
            )
            served = [
                (self.blobs[action.etag].order, action.etag)
                for action in actions
                if isinstance(action, ev.StartFetch | ev.OpenBlob) and self.blobs[action.etag].is_tiny is tiny
            ]
            opening = sum(blob.phase is Phase.OPENING for blob in known)
            idle = connections - len(self._fetches_of(tiny=tiny)) - opening
            for place, blob in enumerate(known):
                waits = blob.phase is Phase.WAITING and place < connections * OPEN_BLOBS_PER_CONNECTION
                starves = (
                    blob.phase is Phase.FETCHING
                    and bool(blob.missing)
                    and self.now >= blob.not_before
                    and not (blob.single_stream and blob.in_flight)
                )
                if waits or starves:
                    assert idle == 0, f"{blob.etag} waits while a connection idles"
                    assert all(key <= (blob.order, blob.etag) for key in served), (
                        f"{blob.etag} was passed over"
                    )

    # What happens.

    def _happens(self, chance: float) -> bool:
        return chance > 0 and self.rng.random() < chance

    def _progress(self, fetch_id: int) -> None:
        running = self.fetches[fetch_id]
        blob = self.blobs[running.etag]
        if blob.ignores_ranges and running.next > 0 and not blob.single_stream:
            blob.single_stream = True
            self._fault(fetch_id, fault(FaultKind.RANGE_IGNORED))
        elif self._happens(self.chances.final):
            self._fault(fetch_id, fault(self.rng.choice([FaultKind.DENIED, FaultKind.GONE])))
            assert blob.etag in self.failed, "a final fault did not fail its blob at once"
        elif self._happens(self.chances.rate_limited):
            wait_s = self.rng.choice([None, 0.3, 3.0])
            self.paused_until = max(self.paused_until, self.now + (wait_s or 0.0))
            self._fault(fetch_id, fault(FaultKind.RATE_LIMITED, wait_s))
        elif self._happens(self.chances.odd):
            self._fault(fetch_id, fault(self.rng.choice([FaultKind.WRONG_LENGTH, FaultKind.WRONG_ETAG])))
        elif self._happens(self.chances.passing):
            self._fault(fetch_id, fault(self.rng.choice(PASSING)))
        elif running.next == running.end:
            del self.fetches[fetch_id]
            self.tell(ev.FetchEnded(fetch_id))
        else:
            self._deliver(fetch_id, blob, running)

    def _deliver(self, fetch_id: int, blob: Blob, running: Fetch) -> None:
        index, running.next = running.next, running.next + 1
        again = index in blob.stored
        was_wrong = index in blob.wrong
        is_wrong = blob.always_wrong or (not again and self._happens(self.chances.wrong_bytes))
        blob.stored.add(index)
        blob.deliveries.append(index)
        if is_wrong:
            blob.wrong.add(index)
        else:
            blob.wrong.discard(index)
        self.tell(ev.PieceStored(fetch_id, blob.etag, index, changed=again and was_wrong != is_wrong))

    def _fault(self, fetch_id: int, what: FetchFault) -> None:
        del self.fetches[fetch_id]
        self.tell(ev.FetchFaulted(fetch_id, what))

    def _late_word(self, fetch_id: int) -> None:
        late: list[ev.Event] = [
            ev.FetchEnded(fetch_id),
            ev.FetchFaulted(fetch_id, fault(FaultKind.DENIED)),
            ev.PieceStored(fetch_id, "any", 0, changed=True),
        ]
        self.tell(self.rng.choice(late))

    def _drop(self, etag: str) -> None:
        self.dropped.append(etag)
        self.answers = [answer for answer in self.answers if getattr(answer, "etag", None) != etag]
        self.tell(ev.BlobDropped(etag))

    def _lose(self, blob: Blob) -> None:
        """A piece that only an earlier journal vouches for turns out to be wrong."""
        unvouched = sorted(blob.stored - set(blob.deliveries))
        opening = any(
            isinstance(answer, ev.BlobOpened) and answer.etag == blob.etag for answer in self.answers
        )
        if blob.opened and not opening and unvouched:
            index = self.rng.choice(unvouched)
            blob.stored.discard(index)
            self.answers = [
                answer
                for answer in self.answers
                if not (isinstance(answer, ev.BlobHashed) and answer.etag == blob.etag)
            ]
            self.tell(ev.PieceLost(blob.etag, index))
