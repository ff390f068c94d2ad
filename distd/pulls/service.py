"""Pulls as the API's resource: submitted, looked up, steered, and resumed when the daemon starts."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime

from msgspec import structs

from distd.api.rate_schema import EstimateView
from distd.api.schema import (
    DiskView,
    LeftOutFile,
    PlannedFile,
    PlanView,
    PullRequest,
    PullView,
    StoryEntry,
)
from distd.core import pull as core
from distd.core.manifest import ManifestFile
from distd.core.pull import PullState
from distd.core.rates import SourceMeter
from distd.core.refs import Ref, parse_ref, parse_repo
from distd.core.selection import select
from distd.core.tally import Tally
from distd.errors import Conflict, DistdError, InvalidRequest, NotFound
from distd.pulls.active import ActivePull
from distd.pulls.estimating import estimate_view, with_estimate
from distd.pulls.forecasts import Forecasts, told_of
from distd.pulls.planner import Plan, Planner
from distd.pulls.supply import BlobSupply
from distd.pulls.views import pull_view, rfc3339
from distd.state.pulls import PullTable
from distd.store.blobs import BlobStore
from distd.store.manifests import ManifestStore

UNFINISHED_PULLS_MAX = 1000
"""More than anybody waits for; keeps a script in a loop from filling the memory."""

FINISHED_KEPT = 1000
"""Finished pulls in memory, as many as the database keeps."""
FINISHED_FILE_LISTS_MAX = 32
"""File lists of finished pulls kept ready; others are read from the manifest when asked for."""

_ASKED: dict[str, core.Event] = {
    "cancel": core.CancelAsked(),
    "pause": core.PauseAsked(),
    "resume": core.ResumeAsked(),
}

Selected = tuple[str, str, str, frozenset[str], frozenset[str], str | None]


class PullService:
    """Implements the API's `Pulls`. `open` resumes what was unfinished; `close` leaves it for next time."""

    def __init__(
        self,
        *,
        planner: Planner,
        transfers: BlobSupply,
        blobs: BlobStore,
        manifests: ManifestStore,
        table: PullTable,
        publish: Callable[[ActivePull], Awaitable[str]],
        forecasts: Forecasts,
        tally: Tally,
        changed: Callable[[str], None],
    ) -> None:
        self._tally = tally
        self._changed = changed
        self._forecasts = forecasts
        self._planner = planner
        self._transfers = transfers
        self._blobs = blobs
        self._manifests = manifests
        self._table = table
        self._publish = publish
        self._records: dict[str, tuple[PullRequest, core.PullRecord]] = {}
        self._active: dict[str, ActivePull] = {}
        self._finished_files: dict[str, tuple[ManifestFile, ...]] = {}
        self._last_number = 0
        self._idle_meter = SourceMeter()
        self.refused_because = ""

    async def open(self, keep: Collection[str]) -> None:
        """`keep` are blobs whose parts somebody else counts on."""
        self._last_number = await self._table.last_number()
        loaded = await self._table.load()
        left = self._blobs.left_incoming()
        for etag in core.given_up((record for _, record in loaded), left) - set(keep):
            self._blobs.discard(etag)
        for request, record in loaded:
            if record.state in core.FINISHED:
                self._records[record.id] = (request, record)
            else:
                self._activate(request, record).start()

    async def close(self) -> None:
        await asyncio.gather(*(pull.stop() for pull in self._active.values()))

    def unreserved_bytes(self) -> int:
        """Bytes that unfinished pulls need on disk and that are not preallocated yet."""
        needs = {
            need.etag: need.size_bytes
            for pull in self._active.values()
            if pull.record.state == "downloading"
            for need in pull.machine.missing
        }
        return sum(
            size
            for etag, size in needs.items()
            if not self._transfers.is_open(etag) and self._blobs.incoming_bytes(etag) is None
        )

    def needed_etags(self) -> set[str]:
        """Blobs that unfinished pulls rely on, held ones included."""
        return {
            file.etag
            for pull in self._active.values()
            for file in pull.files or self._read_files(pull.request, pull.record)
        }

    def may_publish(self, key: tuple[str, str]) -> bool:
        """Whether an unfinished pull is for this snapshot (folder and commit), or may be: it is not resolved yet."""
        return any(
            pull.ref.repo.folder == key[0] and pull.commit in (None, key[1]) for pull in self._active.values()
        )

    def is_pulling(self, type_: str, repo: str) -> bool:
        return any(pull.request.type == type_ and pull.request.repo == repo for pull in self._active.values())

    def new_id(self) -> tuple[str, int]:
        """An id for the next pull of any kind, and the number in it."""
        self._last_number += 1
        return f"{self._last_number}-{secrets.token_hex(2)}", self._last_number

    def brief(self, pull_id: str) -> PullView:
        """As `get`, without files."""
        return self._view(pull_id, with_files=False)

    def state_of(self, pull_id: str) -> PullState | None:
        """None for one that is not known (any more)."""
        pull = self._active.get(pull_id)
        if pull is None and pull_id not in self._records:
            return None
        return (pull.record if pull else self._records[pull_id][1]).state

    def active(self) -> Collection[ActivePull]:
        """Unfinished pulls."""
        return self._active.values()

    def at_work(self) -> dict[str, tuple[PullState, tuple[str, ...]]]:
        """State and missing blobs of the unfinished pulls."""
        return {
            pull_id: (pull.record.state, tuple(need.etag for need in pull.machine.missing))
            for pull_id, pull in self._active.items()
        }

    def counts(self) -> Counter[PullState]:
        """How many pulls of this node are in each state, finished ones as far as they are kept."""
        finished = (record.state for _, record in self._records.values())
        return Counter([*finished, *(pull.record.state for pull in self._active.values())])

    def stalled(self) -> int:
        """How many pulls wait for something."""
        return sum(pull.stalled_reason() is not None for pull in self._active.values())

    def etas_s(self) -> dict[str, float]:
        """Repo -> time until it is published, where that is known; of several pulls of one repo the last."""
        now = time.monotonic()
        found: dict[str, float] = {}
        for pull in self._active.values():
            if left := self._forecasts.of(pull, now):
                found[pull.request.repo] = max(left.eta_s, found.get(pull.request.repo, 0.0))
        return found

    def active_views(self) -> tuple[PullView, ...]:
        return tuple(self._view(pull_id, with_files=False) for pull_id in self._active)

    # The API's Pulls.

    async def submit(self, request: PullRequest) -> PullView:
        request = self.checked(request)
        key = selected(request)
        for pull in self._active.values():
            if selected(pull.request) == key and pull.record.state not in core.FINISHED:
                return self.get(pull.record.id)
        if self.refused_because:
            raise Conflict(self.refused_because)
        if len(self._active) >= UNFINISHED_PULLS_MAX:
            raise Conflict(
                f"{UNFINISHED_PULLS_MAX} pulls are unfinished already: wait for some, or cancel some"
            )
        id_, number = self.new_id()
        record = core.PullRecord(
            id=id_,
            number=number,
            state="queued",
            created_at=time.time(),
            start_at=start_at(request.at),
        )
        pull = self._activate(request, record)  # before the first await: an equal request meanwhile finds it
        try:
            await self._table.save(request, record)
        except DistdError:
            del self._active[record.id]
            raise
        pull.start()
        return self.get(record.id)

    def get(self, pull_id: str) -> PullView:
        return self._view(pull_id, with_files=True)

    def page(
        self, states: frozenset[PullState], after: str | None, limit: int
    ) -> tuple[list[PullView], str | None]:
        ids = sorted([*self._records, *self._active], key=number_of, reverse=True)
        chosen = [
            pull_id
            for pull_id in ids
            if (after is None or number_of(pull_id) < number_of(after))
            and (not states or self._pair(pull_id)[1].state in states)
        ]
        views = [self._view(pull_id, with_files=False) for pull_id in chosen[:limit]]
        return views, chosen[limit - 1] if len(chosen) > limit else None

    async def control(self, pull_id: str, verb: str) -> PullView:
        _, record = self._pair(pull_id)
        pull = self._active.get(pull_id)
        if pull is None:
            if verb == "cancel" and record.state == "cancelled":
                return self.get(pull_id)
            raise Conflict(
                f"pull {pull_id} is {record.state}: only an unfinished pull can be changed ({verb})"
            )
        pull.post(_ASKED[verb])
        await pull.settled()  # what was answered outlives a kill
        return self.get(pull_id)

    async def story(self, pull_id: str, after_seq: int, limit: int) -> list[StoryEntry]:
        self._pair(pull_id)
        lines = await self._table.story(pull_id, after_seq, limit)
        return [StoryEntry(line.seq, rfc3339(line.time) or "", line.event, line.text) for line in lines]

    async def plan(self, request: PullRequest) -> PlanView:
        request = self.checked(request)
        ref = Ref(parse_repo(request.repo, request.type), request.revision)
        plan = await self._planner.plan(ref, request.include, request.exclude, request.weights)
        return with_estimate(_plan_view(request, plan), plan, self._forecasts, self._active.values())

    async def estimate(self, request: PullRequest, links: Sequence[int]) -> EstimateView:
        return estimate_view(await self.plan(request), links)

    # Inside.

    def _activate(self, request: PullRequest, record: core.PullRecord) -> ActivePull:
        pull = self._active[record.id] = ActivePull(
            request,
            record,
            planner=self._planner,
            transfers=self._transfers,
            table=self._table,
            publish=self._publish,
            is_held=lambda file: self._blobs.has(file.etag, file.size_bytes),
            others_need=self._others_need,
            progress=self._progress,
            finished=self._finished,
            changed=self._changed,
        )
        return pull

    def _others_need(self, pull: ActivePull, etag: str) -> bool:
        """Whether another unfinished pull, a paused one too, counts on what is stored of the blob."""
        return any(
            need.etag == etag
            for other in self._active.values()
            if other is not pull
            for need in other.machine.missing
        )

    def _finished(self, pull: ActivePull) -> None:
        if pull.record.state == "complete" and (score := self._forecasts.finished(pull, time.monotonic())):
            pull.tell_last("estimated", told_of(score))
        self._count(pull)
        del self._active[pull.record.id]
        self._records[pull.record.id] = (pull.request, pull.record)
        if pull.files is not None:
            self._finished_files[pull.record.id] = pull.files
        while len(self._records) > FINISHED_KEPT:
            del self._records[min(self._records, key=number_of)]

    def _count(self, pull: ActivePull) -> None:
        record = pull.record
        if record.state == "complete" or record.state == "failed" or record.state == "cancelled":
            began, ended = record.started_at, record.finished_at
            took_s = ended - began if began is not None and ended is not None else None
            self._tally.pull_finished(record.state, took_s, self.brief(record.id).bytes_reused)

    def _pair(self, pull_id: str) -> tuple[PullRequest, core.PullRecord]:
        if pull := self._active.get(pull_id):
            return pull.request, pull.record
        if pair := self._records.get(pull_id):
            return pair
        raise NotFound(f"there is no pull {pull_id}: distctl pulls lists them")

    def _view(self, pull_id: str, *, with_files: bool) -> PullView:
        request, record = self._pair(pull_id)
        pull = self._active.get(pull_id)
        return pull_view(
            request,
            record,
            progress=self._progress if record.state not in core.FINISHED else lambda _: None,
            files=self._files(request, record, pull) if with_files else None,
            meter=pull.meter if pull else self._idle_meter,
            now=time.monotonic(),
            stalled_reason=pull.stalled_reason() if pull else None,
            left=self._forecasts.of(pull, time.monotonic()) if pull else None,
        )

    def _progress(self, etag: str) -> dict[str, int] | None:
        """Live while it is fetched, from the journal while the pull is paused or being planned again."""
        live = self._transfers.progress(etag)
        return live if live is not None else self._blobs.incoming_bytes(etag)

    def _files(
        self, request: PullRequest, record: core.PullRecord, pull: ActivePull | None
    ) -> tuple[ManifestFile, ...]:
        """The selected files: known while the pull is in work, read back from the manifest later."""
        if pull is not None:
            return pull.files or ()
        files = self._finished_files.pop(record.id, None)
        if files is None:
            files = self._read_files(request, record)
        self._finished_files[record.id] = files  # at the end: most recently asked for
        while len(self._finished_files) > FINISHED_FILE_LISTS_MAX:
            del self._finished_files[next(iter(self._finished_files))]
        return files

    def _read_files(self, request: PullRequest, record: core.PullRecord) -> tuple[ManifestFile, ...]:
        repo = parse_repo(request.repo, request.type)
        manifest = self._manifests.load(repo, record.commit) if record.commit else None
        try:
            selected = (
                select(manifest, request.include, request.exclude, request.weights) if manifest else None
            )
        except DistdError:
            return ()
        return selected.files if selected else ()

    def checked(self, request: PullRequest) -> PullRequest:
        """The request with its ref in normal form. Raises InvalidRequest. Nodes and zone are the fleet's business."""
        ref = parse_ref(request.repo, request.type, request.revision if request.revision != "main" else None)
        start_at(request.at)
        return structs.replace(request, repo=ref.repo.id, revision=ref.revision)


def number_of(pull_id: str) -> int:
    """Pulls are numbered in the order of their creation; an id is that number and a few random digits, which
    tell pulls of one number apart after the database was lost. Raises InvalidRequest for what is no id."""
    number = pull_id.partition("-")[0]
    if not (number.isascii() and number.isdecimal()):
        raise InvalidRequest(f"{pull_id!r} is not the id of a pull")
    return int(number)


def selected(request: PullRequest) -> Selected:
    """What makes two unfinished pulls the same one: type, repo, requested revision and selection."""
    weights = request.weights or ("all" if request.include else "auto")
    return (
        request.type,
        request.repo,
        request.revision,
        frozenset(request.include),
        frozenset(request.exclude),
        weights,
    )


def start_at(at: str | None) -> float | None:
    if at is None:
        return None
    try:
        moment = datetime.fromisoformat(at)
    except ValueError as error:
        raise InvalidRequest(
            f"{at!r} is not a time: write RFC 3339, for instance 2026-01-31T22:00:00Z"
        ) from error
    return moment.astimezone().timestamp()  # without a zone it is this server's local time


def _plan_view(request: PullRequest, plan: Plan) -> PlanView:
    needs = {need.etag: need for need in plan.needs}
    needed = sum(need.size_bytes - need.reused_bytes for need in plan.needs)
    from_peers = sum(
        need.size_bytes - need.reused_bytes for need in plan.needs if need.etag in plan.held_by_others
    )
    seen: set[str] = set()
    files = []
    for file in plan.selection.files:
        need = needs.get(file.etag) if file.etag not in seen else None
        seen.add(file.etag)
        held = need.reused_bytes if need else file.size_bytes
        files.append(PlannedFile(file.path, file.size_bytes, file.etag, held))
    space = plan.space
    return PlanView(
        repo=request.repo,
        type=request.type,
        revision=request.revision,
        commit=plan.manifest.commit,
        weights=plan.selection.weights,
        files=tuple(files),
        left_out=tuple(
            LeftOutFile(item.file.path, item.file.size_bytes, item.reason) for item in plan.selection.left_out
        ),
        bytes_total=plan.bytes_total,
        bytes_reused=plan.bytes_total - needed,
        bytes_from_peers=from_peers,
        bytes_from_hub=needed - from_peers,
        bytes_left_out=sum(item.file.size_bytes for item in plan.selection.left_out),
        disk=DiskView(
            space.path,
            space.free_bytes,
            space.free_bytes - space.needed_bytes + space.evicts_bytes,
            space.reserve_bytes,
            space.fits or space.evicts_bytes > 0,
            space.evicts_bytes,
        ),
        eta_s=None,
        eta_low_s=None,
        eta_high_s=None,
    )
