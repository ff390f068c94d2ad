"""The fetch desk: decides what is fetched from the Hub next, over which of the few connections.

One desk serves all pulls. A blob passes through waiting -> opening -> fetching -> hashing and ends
accepted or failed. Spans go out in file order, so that the hash can follow the arriving bytes.

Things to consider when changing what is fetched next; do not forget to re-check these:
* order: a higher priority first, then the older pull, then the file's place in it;
* tiny blobs have connections of their own: they wait for answers, large ones for bytes, and neither for the other;
* a blob waits out its back-off, and everything waits out the Hub's rate limit;
* a server that ignores ranges gets one stream per file, from the beginning;
* a repair fetches every piece once more and compares, because the Hub hashes only whole files;
* the last spans are small, so that all connections end together.
"""

from __future__ import annotations

import bisect
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from random import Random

from distd.core.backoff import backoff_s
from distd.core.desk_events import (
    AcceptBlob,
    Action,
    BlobBroke,
    BlobDropped,
    BlobHashed,
    BlobOpened,
    BlobWanted,
    Event,
    FailBlob,
    FetchEnded,
    FetchFaulted,
    HashBlob,
    OpenBlob,
    Order,
    PieceLost,
    PieceStored,
    StartFetch,
    StopFetch,
    Tell,
)
from distd.core.faults import FaultKind, FetchFault
from distd.errors import DistdError, HashMismatch

SPAN_BYTES = 16 * 2**20
"""One request's worth. At 100 MB/s a connection it lasts 160 ms against some 20 ms of round trip to a
CDN; much larger and the arriving bytes are so far out of order that SHA-256 cannot follow."""
TINY_BYTES = 256 * 2**10
"""Up to here a request is mostly waiting: at 100 Mbit/s the bytes take 20 ms, the Hub's two answers several times that."""
TINY_PER_CONNECTION = 3
"""Tiny blobs fetched at once, for each connection of large ones: with those four times `connections`, and at the
default 32 requests in flight. One connection asks for 5 files a second where an answer takes 0.1 s and a file two."""
OPEN_BLOBS_PER_CONNECTION = 2
"""Blobs open at once, as a multiple of connections: one being fetched, one whose hash is ending."""
REPAIR_ROUNDS_MAX = 2
"""Fetching everything again finds a byte that went wrong once; a second time covers one that went wrong
during the repair. Who gets wrong bytes three times has a Hub that is consistently wrong."""
ODD_ANSWERS_MAX = 3
"""A wrong length or hash header may come from one bad cache of the CDN; a third is no coincidence."""
RATE_LIMIT_WAIT_MAX_S = 3600.0
"""The Hub's windows last 5 minutes. Who says an hour (the most that is believed) or more does not want us back."""


class Phase(Enum):
    WAITING = "waiting"
    OPENING = "opening"
    FETCHING = "fetching"
    HASHING = "hashing"


@dataclass(slots=True)
class _Fetch:
    etag: str
    next: int
    end: int
    progressed: bool = False


@dataclass(slots=True)
class _Blob:
    etag: str
    size_bytes: int
    order: Order
    phase: Phase = Phase.WAITING
    piece_length_bytes: int = 0
    missing: list[int] = field(default_factory=list)
    """Pieces neither stored nor being fetched, ascending."""
    in_flight: set[int] = field(default_factory=set)
    """Ids of its running fetches."""
    single_stream: bool = False
    repair_round: int = 0
    repair_changed: bool = False
    mismatch: str = ""
    faults: int = 0
    odd_answers: int = 0
    reached: int = 0
    """One past the furthest piece that a single stream brought; what an earlier one brought is no progress."""
    not_before: float = 0.0
    trouble_since: float | None = None
    last_fault: FetchFault | None = None

    def pieces(self) -> int:
        return -(-self.size_bytes // self.piece_length_bytes)


@dataclass(slots=True)
class _Lane:
    """Blobs that share so many connections. `open` are those past waiting: few, whatever the number of blobs."""

    connections: int
    queue: list[tuple[Order, str]] = field(default_factory=list)
    open: dict[str, _Blob] = field(default_factory=dict)

    def busy(self) -> int:
        """Connections that fetch, or are promised to what is being opened."""
        return sum(len(blob.in_flight) + (blob.phase is Phase.OPENING) for blob in self.open.values())

    def line(self) -> list[tuple[Order, str]]:
        """What may have a connection, in order."""
        line = [(blob.order, blob.etag) for blob in self.open.values()]
        return sorted(line + self.queue[: self.connections * OPEN_BLOBS_PER_CONNECTION])


class FetchDesk:
    """`handle(event, now)` is the only door; do the returned actions in order.

    `now` is in monotonic seconds. Call `handle(DeadlineReached(), now)` when `next_deadline` has come.
    """

    def __init__(self, *, connections: int, give_up_after_s: float, rng: Random) -> None:
        self._connections = connections
        self._lanes = (_Lane(connections), _Lane(connections * TINY_PER_CONNECTION))
        self._give_up_after_s = give_up_after_s
        self._rng = rng
        self._blobs: dict[str, _Blob] = {}
        self._fetches: dict[int, _Fetch] = {}
        self._next_fetch_id = 1
        self._hub_paused_until = 0.0
        self._rate_limits = 0
        self._handled_at = float("-inf")

    def handle(self, event: Event, now: float) -> list[Action]:
        self._handled_at = now
        actions: list[Action] = []
        match event:
            case BlobWanted():
                self._want(event)
            case BlobDropped(etag):
                actions += self._forget(etag)
            case BlobOpened(etag, piece_length_bytes, stored):
                self._opened(etag, piece_length_bytes, stored)
            case PieceStored():
                self._stored(event)
            case PieceLost(etag, index):
                actions += self._lost(etag, index)
            case FetchEnded(fetch_id):
                self._end_fetch(fetch_id)
            case FetchFaulted(fetch_id, fault):
                actions += self._faulted(fetch_id, fault, now)
            case BlobHashed(etag, actual, matches):
                actions += self._hashed(etag, actual, matches)
            case BlobBroke(etag, error):
                actions += self._fail(etag, error)
        return actions + self._assign(now)

    def next_deadline(self) -> float | None:
        """When something that waits may be tried again; None when only events can change anything."""
        waiting = [
            blob.not_before
            for lane in self._lanes
            for blob in lane.open.values()
            if blob.phase is Phase.FETCHING and blob.missing and blob.not_before > self._hub_paused_until
        ]
        if any(lane.queue or any(each.missing for each in lane.open.values()) for lane in self._lanes):
            waiting.append(self._hub_paused_until)
        # What may be tried already waits for a connection, and that comes with an event.
        return min((moment for moment in waiting if moment > self._handled_at), default=None)

    def stalled_reason(self, etag: str, now: float) -> str | None:
        """Why nothing of this blob is arriving, None when there is no particular reason."""
        blob = self._blobs.get(etag)
        if blob is None or blob.in_flight or blob.phase not in (Phase.WAITING, Phase.FETCHING):
            return None
        if self._hub_paused_until > now:
            return f"the Hub's rate limit opens in {self._hub_paused_until - now:.0f} s"
        if blob.not_before > now and blob.last_fault:
            return f"{blob.last_fault.detail}; next attempt in {blob.not_before - now:.0f} s"
        return None

    def hub_paused_s(self, now: float) -> float:
        """How long the Hub's rate limit still forbids requests."""
        return max(0.0, self._hub_paused_until - now)

    def phase(self, etag: str) -> Phase | None:
        """Where the blob is on its way, None when the desk does not know it."""
        blob = self._blobs.get(etag)
        return blob.phase if blob else None

    def check(self) -> None:
        """Raises AssertionError where the desk contradicts itself. Cheap; tests call it after each event."""
        for lane in self._lanes:
            own = [blob for blob in self._blobs.values() if self._lane(blob) is lane]
            assert lane.busy() <= lane.connections, "more fetches than connections"
            waiting = sorted((blob.order, blob.etag) for blob in own if blob.phase is Phase.WAITING)
            assert lane.queue == waiting, "the queue is not what waits"
            past = {blob.etag: blob for blob in own if blob.phase is not Phase.WAITING}
            assert lane.open == past, "what is open is not what waits no more"
        for blob in self._blobs.values():
            covered: Counter[int] = Counter(blob.missing)
            for fetch_id in blob.in_flight:
                fetch = self._fetches[fetch_id]
                assert fetch.etag == blob.etag, "a fetch belongs to another blob"
                assert fetch.next <= fetch.end, "a fetch stored more than its span"
                covered.update(range(fetch.next, fetch.end))
            doubled = [piece for piece, times in covered.items() if times > 1]
            assert not doubled, f"pieces {doubled[:5]} are in two places"
            assert blob.missing == sorted(blob.missing), "missing pieces are out of order"
            assert not blob.single_stream or len(blob.in_flight) <= 1, "two streams of a single-stream blob"
            if blob.phase is Phase.HASHING:
                assert not blob.missing, "hashing with pieces missing"
                assert not blob.in_flight, "hashing with fetches running"
        owned = {fetch_id for blob in self._blobs.values() for fetch_id in blob.in_flight}
        assert owned == set(self._fetches), "a fetch belongs to no blob"

    def __repr__(self) -> str:
        phases = Counter(blob.phase.value for blob in self._blobs.values())
        counts = ", ".join(f"{count} {phase}" for phase, count in sorted(phases.items()))
        busy = "+".join(f"{lane.busy()}/{lane.connections}" for lane in self._lanes)
        return f"<FetchDesk {counts or 'idle'}; {busy} connections>"

    def _lane(self, blob: _Blob) -> _Lane:
        large, tiny = self._lanes
        return tiny if blob.size_bytes <= TINY_BYTES else large

    # Blobs come and go.

    def _want(self, event: BlobWanted) -> None:
        blob = self._blobs.get(event.etag)
        if blob is None:
            blob = self._blobs[event.etag] = _Blob(event.etag, event.size_bytes, event.order)
            bisect.insort(self._lane(blob).queue, (event.order, event.etag))
        elif event.order < blob.order:
            if blob.phase is Phase.WAITING:
                queue = self._lane(blob).queue
                queue.remove((blob.order, blob.etag))
                bisect.insort(queue, (event.order, blob.etag))
            blob.order = event.order

    def _opened(self, etag: str, piece_length_bytes: int, stored: frozenset[int]) -> None:
        blob = self._blobs.get(etag)
        if blob is None or blob.phase is not Phase.OPENING:
            return
        blob.phase = Phase.FETCHING
        blob.piece_length_bytes = piece_length_bytes
        blob.missing = [piece for piece in range(blob.pieces()) if piece not in stored]

    def _forget(self, etag: str) -> list[Action]:
        blob = self._blobs.pop(etag, None)
        if blob is None:
            return []
        if blob.phase is Phase.WAITING:
            self._lane(blob).queue.remove((blob.order, etag))
        self._lane(blob).open.pop(etag, None)
        return self._stop_all(blob)

    def _fail(self, etag: str, error: DistdError) -> list[Action]:
        if etag not in self._blobs:
            return []
        return [*self._forget(etag), FailBlob(etag, error)]

    # Pieces and fetches.

    def _stored(self, event: PieceStored) -> None:
        blob, fetch = self._blobs.get(event.etag), self._fetches.get(event.fetch_id)
        if blob is None or fetch is None:
            return
        fetch.next = event.index + 1
        blob.repair_changed |= event.changed
        self._rate_limits = 0
        if not blob.single_stream or event.index >= blob.reached:
            blob.reached = event.index + 1
            fetch.progressed = True
            blob.faults = 0
            blob.trouble_since = None

    def _lost(self, etag: str, index: int) -> list[Action]:
        blob = self._blobs.get(etag)
        if blob is None or index in blob.missing or blob.phase not in (Phase.FETCHING, Phase.HASHING):
            return []
        if any(self._fetches[id_].next <= index < self._fetches[id_].end for id_ in blob.in_flight):
            return []  # it is being fetched again anyway
        bisect.insort(blob.missing, index)
        blob.phase = Phase.FETCHING
        return [Tell(etag, "piece_lost", f"piece {index} did not survive the last stop; it is fetched again")]

    def _end_fetch(self, fetch_id: int) -> _Fetch | None:
        fetch = self._fetches.pop(fetch_id, None)
        if fetch is not None:
            blob = self._blobs[fetch.etag]
            blob.in_flight.discard(fetch_id)
            for piece in range(fetch.next, fetch.end):
                bisect.insort(blob.missing, piece)
        return fetch

    def _stop_all(self, blob: _Blob) -> list[Action]:
        stopped = sorted(blob.in_flight)
        for fetch_id in stopped:
            del self._fetches[fetch_id]
        blob.in_flight.clear()
        return [StopFetch(fetch_id) for fetch_id in stopped]

    # What went wrong.

    def _faulted(self, fetch_id: int, fault: FetchFault, now: float) -> list[Action]:
        fetch = self._end_fetch(fetch_id)
        if fetch is None:
            return []
        blob = self._blobs[fetch.etag]
        blob.last_fault = fault
        told: list[Action] = [Tell(blob.etag, f"hub_{fault.kind.value}", fault.detail)]
        if fault.final:
            return [*told, *self._fail(blob.etag, fault.error)]
        if fault.kind is FaultKind.RATE_LIMITED:
            if now >= self._hub_paused_until:
                self._rate_limits += 1
            wait_s = fault.retry_after_s or backoff_s(max(1, self._rate_limits), self._rng)
            if wait_s >= RATE_LIMIT_WAIT_MAX_S:
                return [*told, *self._fail(blob.etag, fault.error)]
            self._hub_paused_until = max(self._hub_paused_until, now + wait_s)
            return told
        if fault.kind is FaultKind.RANGE_IGNORED and not blob.single_stream:
            return told + self._switch_to_single_stream(blob)
        is_first = now >= blob.not_before  # parallel fetches that fail together are one failure
        if fault.kind in (FaultKind.WRONG_LENGTH, FaultKind.WRONG_ETAG) and is_first:
            blob.odd_answers += 1
            if blob.odd_answers >= ODD_ANSWERS_MAX:
                return [*told, *self._fail(blob.etag, fault.error)]
        if fetch.progressed and fault.kind in (FaultKind.CUT, FaultKind.STALLED):
            return told  # the connection worked until now: go on at once
        blob.trouble_since = now if blob.trouble_since is None else blob.trouble_since
        if now - blob.trouble_since >= self._give_up_after_s:
            return [*told, *self._fail(blob.etag, fault.error)]
        if is_first:
            blob.faults += 1
            blob.not_before = now + backoff_s(blob.faults, self._rng)
        return told

    def _switch_to_single_stream(self, blob: _Blob) -> list[Action]:
        """The whole file in one request from its beginning; pieces already stored are written again."""
        blob.single_stream = True
        blob.reached = 0
        stopped = self._stop_all(blob)
        blob.missing = list(range(blob.pieces()))
        return stopped

    def _hashed(self, etag: str, actual: str, matches: bool) -> list[Action]:
        blob = self._blobs.get(etag)
        if blob is None or blob.phase is not Phase.HASHING:
            return []
        if matches:
            self._forget(etag)
            return [AcceptBlob(etag, actual)]
        blob.mismatch = actual
        if blob.repair_round >= REPAIR_ROUNDS_MAX:
            return self._fail(etag, HashMismatch(etag, etag, actual))
        blob.repair_round += 1
        blob.repair_changed = False
        blob.reached = 0
        blob.phase = Phase.FETCHING
        blob.missing = list(range(blob.pieces()))
        text = f"the content hashes to {actual} instead of {etag}; every piece is fetched again and compared"
        return [Tell(etag, "hash_mismatch", text)]

    # What comes next.

    def _assign(self, now: float) -> list[Action]:
        """Ends blobs that have all pieces, then gives free connections to blobs in order.

        A waiting blob takes a connection from the moment it is opened: opening is a promise to fetch, and
        what is urgent must not find every connection gone again to what was open before it.
        """
        actions: list[Action] = []
        for lane in self._lanes:
            for blob in [blob for blob in lane.open.values() if blob.phase is Phase.FETCHING]:
                if not blob.missing and not blob.in_flight:
                    actions += self._end_blob(blob)
        if now < self._hub_paused_until:
            return actions
        for lane in self._lanes:
            actions += self._assign_in(lane, now)
        return actions

    def _assign_in(self, lane: _Lane, now: float) -> list[Action]:
        actions: list[Action] = []
        free = lane.connections - lane.busy()
        open_max = lane.connections * OPEN_BLOBS_PER_CONNECTION
        for place, (_, etag) in enumerate(lane.line() if free else ()):
            blob = self._blobs[etag]
            if blob.phase is Phase.WAITING and free > 0 and place < open_max:
                lane.queue.pop(0)
                lane.open[etag] = blob
                blob.phase = Phase.OPENING
                actions.append(OpenBlob(blob.etag, blob.size_bytes))
                free -= 1
            elif blob.phase is Phase.FETCHING and now >= blob.not_before:
                while blob.missing and free > 0 and not (blob.single_stream and blob.in_flight):
                    actions.append(self._start_span(blob))
                    free -= 1
        return actions

    def _start_span(self, blob: _Blob) -> StartFetch:
        if blob.single_stream:
            first, end = 0, blob.missing[-1] + 1
            blob.missing.clear()
        else:
            first, most = blob.missing[0], min(self._span_pieces(blob), len(blob.missing))
            count = 1
            while count < most and blob.missing[count] == first + count:
                count += 1
            end = first + count
            del blob.missing[:count]
        fetch_id, self._next_fetch_id = self._next_fetch_id, self._next_fetch_id + 1
        self._fetches[fetch_id] = _Fetch(blob.etag, first, end)
        blob.in_flight.add(fetch_id)
        length = blob.piece_length_bytes
        return StartFetch(fetch_id, blob.etag, first * length, min(end * length, blob.size_bytes))

    def _span_pieces(self, blob: _Blob) -> int:
        full = max(1, SPAN_BYTES // blob.piece_length_bytes)
        fair = -(-len(blob.missing) // (2 * self._connections))
        return max(1, min(full, fair))

    def _end_blob(self, blob: _Blob) -> list[Action]:
        if blob.repair_round and not blob.repair_changed:
            # Fetched twice, the same bytes twice: it is the Hub that is wrong.
            return self._fail(blob.etag, HashMismatch(blob.etag, blob.etag, blob.mismatch))
        blob.phase = Phase.HASHING
        return [HashBlob(blob.etag, again=blob.repair_round > 0)]
