"""The life of a pull, as a table of what may happen in each state.

queued -> resolving -> downloading -> verifying -> publishing -> complete, with failed, cancelled and
paused aside. The machine holds what has to survive a restart in `PullRecord`; a daemon that starts
puts every unfinished record into a new machine and sends it `DaemonStarted`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from distd.core.manifest import Manifest
from distd.errors import Problem

PullState = Literal[
    "queued",
    "resolving",
    "downloading",
    "verifying",
    "publishing",
    "complete",
    "paused",
    "failed",
    "cancelled",
]
FINISHED: frozenset[PullState] = frozenset({"complete", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class BlobNeed:
    """A blob this pull lacks, with the path that names it to people.

    `reused_bytes` were already journalled when the pull was planned: they are not this pull's fetching.
    """

    etag: str
    size_bytes: int
    path: str
    reused_bytes: int


@dataclass(frozen=True, slots=True)
class PullRecord:
    """What of a pull survives a restart. Times are seconds since the epoch, for people only."""

    id: str
    number: int
    state: PullState
    created_at: float
    commit: str | None = None
    complete_repo: bool = False
    bytes_total: int | None = None
    reused_bytes: int = 0
    """Bytes of files that were held, or repeat another file, when the pull was planned."""
    needs: tuple[BlobNeed, ...] = ()
    got: dict[str, dict[str, int]] = field(default_factory=dict)
    """Etag -> source -> accepted bytes of this pull (`own_share`), for the needs that are verified."""
    start_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    snapshot_path: str | None = None
    problem: Problem | None = None
    paused_from: PullState | None = None


SERVED_BYTES_MAX = 16 << 20
"""Blobs below are ordered whole from each other by members (`distd/sharing/small_wire.py`)."""


def own_share(need: BlobNeed, by_source: dict[str, int]) -> dict[str, int]:
    """A blob's journalled bytes by source, as this pull counts them: what was there before it is `reused`."""
    sources = dict(by_source)
    earlier = need.reused_bytes
    for source in ("hub", "peers"):
        taken = min(earlier, sources.get(source, 0))
        if taken:
            sources[source] -= taken
            sources["reused"] = sources.get("reused", 0) + taken
            earlier -= taken
    return sources


def given_up(records: Iterable[PullRecord], left: Mapping[str, int]) -> set[str]:
    """Which of the blobs that were `left` unfinished (with their sizes) nobody goes on with.

    Those of a cancelled pull that no later and no unfinished one asked for: a kill may have come before what was stored of
    them was freed. And small ones that no pull waits for, nor may once it is planned: they were fetched for other members.
    Larger ones are a pull's, whose record may be lost.
    """
    last: dict[str, PullState] = {}
    wanted: set[str] = set()
    is_planned = True
    for record in sorted(records, key=lambda record: record.number):
        last |= {need.etag: record.state for need in record.needs}
        if record.state not in FINISHED:
            wanted |= {need.etag for need in record.needs}
            is_planned = is_planned and bool(record.needs)
    return {
        etag
        for etag, size_bytes in left.items()
        if etag not in wanted
        and (
            last.get(etag) == "cancelled"
            or (is_planned and size_bytes < SERVED_BYTES_MAX and last.get(etag) in (None, "complete"))
        )
    }


# What happened.


@dataclass(frozen=True, slots=True)
class DaemonStarted:
    """The pull was unfinished when the daemon stopped, or is new."""


@dataclass(frozen=True, slots=True)
class StartTimeReached:
    """The moment of `--at` has come."""


@dataclass(frozen=True, slots=True)
class Planned:
    """The ref is resolved, the files selected, and what is missing fits on the disk."""

    manifest: Manifest
    complete_repo: bool
    bytes_total: int
    reused_bytes: int
    needs: tuple[BlobNeed, ...]


@dataclass(frozen=True, slots=True)
class BlobArrived:
    """All pieces of a blob are stored; only its hash is still being computed."""

    etag: str


@dataclass(frozen=True, slots=True)
class BlobVerified:
    """A blob is among the verified ones. `by_source` are its journalled bytes."""

    etag: str
    by_source: dict[str, int]


@dataclass(frozen=True, slots=True)
class BlobReturned:
    """A blob that had arrived misses pieces again (a repair)."""

    etag: str


@dataclass(frozen=True, slots=True)
class Published:
    snapshot_path: str


@dataclass(frozen=True, slots=True)
class ContentVanished:
    """A blob that was held when the pull was planned is gone: removed by hand, or with another model."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Resolving, a blob, or publishing failed for good."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class PauseAsked:
    pass


@dataclass(frozen=True, slots=True)
class ResumeAsked:
    pass


@dataclass(frozen=True, slots=True)
class CancelAsked:
    pass


Event = (
    DaemonStarted
    | StartTimeReached
    | Planned
    | BlobArrived
    | BlobVerified
    | BlobReturned
    | Published
    | ContentVanished
    | Failed
    | PauseAsked
    | ResumeAsked
    | CancelAsked
)


# What to do.


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Answer with StartTimeReached at this time (seconds since the epoch)."""

    at: float


@dataclass(frozen=True, slots=True)
class MakePlan:
    """Resolve, select and look what is held; answer with Planned or Failed."""


@dataclass(frozen=True, slots=True)
class WantBlobs:
    """Have these blobs fetched; answer with BlobArrived, BlobVerified or Failed."""

    needs: tuple[BlobNeed, ...]


@dataclass(frozen=True, slots=True)
class DropBlobs:
    """Stop wanting these. `discard`: also free what is stored of them, unless another pull wants it."""

    etags: tuple[str, ...]
    discard: bool


@dataclass(frozen=True, slots=True)
class Publish:
    """Make the snapshot visible; answer with Published or Failed."""


@dataclass(frozen=True, slots=True)
class Save:
    """Write the record to the database before anything else is done for this pull."""


@dataclass(frozen=True, slots=True)
class Tell:
    """A line for the pull's story."""

    event: str
    text: str


Action = WaitUntil | MakePlan | WantBlobs | DropBlobs | Publish | Save | Tell


class PullMachine:
    """`handle(event, now)` is the only door; `now` is seconds since the epoch, kept for people to read.

    Events that come too late for the state (an answer after a cancel) change nothing.
    """

    def __init__(self, record: PullRecord) -> None:
        self.record = record
        self.arrived: set[str] = set()

    @property
    def missing(self) -> tuple[BlobNeed, ...]:
        """What is not verified yet."""
        return tuple(need for need in self.record.needs if need.etag not in self.record.got)

    def handle(self, event: Event, now: float) -> list[Action]:
        state = self.record.state
        if state in FINISHED:
            return []
        match event:
            case DaemonStarted() if state != "paused":
                return self._start(now)
            case StartTimeReached() if state == "queued":
                return self._resolve(now)
            case Planned() if state == "resolving":
                return self._planned(event)
            case BlobArrived(etag) if state in ("downloading", "verifying") and self._needs(etag):
                self.arrived.add(etag)
                return self._advance()
            case BlobReturned(etag) if state in ("downloading", "verifying"):
                self.arrived.discard(etag)
                return self._advance()
            case BlobVerified(etag, by_source) if state in ("downloading", "verifying"):
                return self._verified(etag, by_source)
            case ContentVanished() if state == "publishing":
                return [
                    Tell("vanished", "held content is gone; the pull is planned again"),
                    *self._resolve(now),
                ]
            case Published(path) if state == "publishing":
                self._set(state="complete", snapshot_path=path, finished_at=now)
                return [Save(), Tell("complete", f"published at {path}")]
            case Failed(problem) if state != "paused":
                return [
                    *self._end("failed", now, problem),
                    Tell("failed", f"{problem.title}: {problem.detail}"),
                ]
            case CancelAsked():
                return [
                    *self._end("cancelled", now, None, discard=True),
                    Tell("cancelled", "cancelled on request"),
                ]
            case PauseAsked() if state != "paused":
                self._set(state="paused", paused_from=state)
                return [self._drop(), Save(), Tell("paused", "paused on request; what is stored stays")]
            case ResumeAsked() if state == "paused":
                self._set(state="queued", paused_from=None)
                return [Tell("resumed", "resumed on request"), *self._start(now)]
        return []

    def check(self) -> None:
        """Raises AssertionError where the record contradicts itself."""
        record = self.record
        assert set(record.got) <= {need.etag for need in record.needs}, "a blob that was not needed counts"
        if record.state in ("publishing", "complete"):
            assert not self.missing, "publishing with blobs missing"
        assert (record.state == "complete") == (record.snapshot_path is not None), (
            "a snapshot path without completion, or none with it"
        )
        assert (record.state == "failed") == (record.problem is not None), (
            "a problem without failure, or none with it"
        )
        assert (record.state in FINISHED) == (record.finished_at is not None), (
            "an end without a time, or a time without an end"
        )
        assert (record.state == "paused") == (record.paused_from is not None), (
            "a pause from nowhere, or none from somewhere"
        )
        assert self.arrived <= {need.etag for need in record.needs}, "a blob that was not needed arrived"
        for need in record.needs:
            if need.etag in record.got:
                sources = record.got[need.etag]
                assert sum(sources.values()) == need.size_bytes, "sources do not add up to a blob"
                assert min(sources.values(), default=0) >= 0, "a source gave less than nothing"
        if record.bytes_total is not None:
            needed = sum(need.size_bytes for need in record.needs)
            assert record.reused_bytes + needed == record.bytes_total, "the plan does not add up"

    def __repr__(self) -> str:
        done = len(self.record.got)
        return f"<Pull {self.record.id} {self.record.state} {done}/{len(self.record.needs)} blobs>"

    def _start(self, now: float) -> list[Action]:
        record = self.record
        if record.start_at is not None and record.start_at > now:
            self._set(state="queued")
            return [Save(), WaitUntil(record.start_at), Tell("waiting", "waits for its start time")]
        return self._resolve(now)

    def _resolve(self, now: float) -> list[Action]:
        # A restarted pull is planned anew: the disk, not the record, says what is held.
        self.arrived.clear()
        self._set(state="resolving", started_at=self.record.started_at or now)
        return [Save(), MakePlan()]

    def _planned(self, event: Planned) -> list[Action]:
        before = {need.etag: need for need in self.record.needs}
        same_commit = self.record.commit == event.manifest.commit
        if same_commit and before:
            needs, got, reused = self._merge_plan(event)
        else:
            needs, got, reused = event.needs, {}, event.reused_bytes
        self._set(
            state="downloading",
            commit=event.manifest.commit,
            complete_repo=event.complete_repo,
            bytes_total=event.bytes_total,
            reused_bytes=reused,
            needs=needs,
            got=got,
        )
        missing = self.missing
        text = f"commit {event.manifest.commit}: {len(missing)} of its blobs are missing"
        # Saved first: what comes after it is this pull's own fetching, also after a crash.
        actions: list[Action] = [Tell("planned", text), *self._advance(always_save=True)]
        return [*actions, WantBlobs(missing)] if missing else actions

    def _merge_plan(self, event: Planned) -> tuple[tuple[BlobNeed, ...], dict[str, dict[str, int]], int]:
        """Keeps what the first plan said was this pull's own fetching, so that sources add up over restarts.

        A blob that the record needed and that is held now was finished by this pull while nobody
        wrote it down: it counts as fetched, less what had been there before.
        """
        lacking = {need.etag: need for need in event.needs}
        planned = {need.etag: need for need in self.record.needs}
        got = {etag: sources for etag, sources in self.record.got.items() if etag not in lacking}
        for etag, need in planned.items():
            if etag not in lacking and etag not in got:
                got[etag] = {"hub": need.size_bytes - need.reused_bytes, "reused": need.reused_bytes}
        new = tuple(need for etag, need in lacking.items() if etag not in planned)
        reused = event.bytes_total - sum(need.size_bytes for need in (*self.record.needs, *new))
        return (*self.record.needs, *new), got, reused

    def _needs(self, etag: str) -> bool:
        return any(need.etag == etag for need in self.record.needs)

    def _verified(self, etag: str, by_source: dict[str, int]) -> list[Action]:
        need = next((need for need in self.missing if need.etag == etag), None)
        if need is None:
            return []
        self._set(got=self.record.got | {etag: own_share(need, by_source)})
        return self._advance(always_save=True)

    def _advance(self, *, always_save: bool = False) -> list[Action]:
        """Moves between downloading, verifying and publishing as the blobs say."""
        missing = {need.etag for need in self.missing}
        state: PullState = (
            "downloading" if missing - self.arrived else "verifying" if missing else "publishing"
        )
        if state == self.record.state:
            return [Save()] if always_save else []
        self._set(state=state)
        return [Save(), Publish()] if state == "publishing" else [Save()]

    def _end(
        self, state: PullState, now: float, problem: Problem | None, *, discard: bool = False
    ) -> list[Action]:
        drop = self._drop(discard=discard)
        self._set(state=state, problem=problem, finished_at=now, paused_from=None)
        return [drop, Save()]

    def _drop(self, *, discard: bool = False) -> DropBlobs:
        return DropBlobs(tuple(need.etag for need in self.missing), discard)

    def _set(self, **changes: object) -> None:
        self.record = replace(self.record, **changes)  # type: ignore[arg-type]  # the fields are PullRecord's
