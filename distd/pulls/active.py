"""One pull in work: its machine, and the task that does what the machine decides, in order."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from distd.api.schema import PullRequest
from distd.core import pull as core
from distd.core.manifest import Manifest, ManifestFile
from distd.core.rates import SourceMeter
from distd.core.refs import Ref, parse_repo
from distd.core.stalls import StallStory
from distd.errors import DistdError, HashMismatch, Problem
from distd.hub.fetcher import RemoteFile
from distd.pulls.planner import Plan, Planner
from distd.pulls.supply import BlobSupply
from distd.state.pulls import PullTable
from distd.units import format_size

log = logging.getLogger(__name__)


class ActivePull:
    """Drives one unfinished pull. `start`, then `post` events; `finished` is called once at its end.

    Actions run one after another, so that a record is saved before what follows from it is done.
    Planning and publishing are tasks of their own: a pause or a cancel does not wait for them.
    """

    def __init__(
        self,
        request: PullRequest,
        record: core.PullRecord,
        *,
        planner: Planner,
        transfers: BlobSupply,
        table: PullTable,
        publish: Callable[[ActivePull], Awaitable[str]],
        is_held: Callable[[ManifestFile], bool],
        others_need: Callable[[ActivePull, str], bool],
        progress: Callable[[str], dict[str, int] | None],
        finished: Callable[[ActivePull], None],
        changed: Callable[[str], None],
    ) -> None:
        self.request = request
        self.ref = Ref(parse_repo(request.repo, request.type), request.revision)
        self.machine = core.PullMachine(record)
        self.meter = SourceMeter()
        self.manifest: Manifest | None = None
        self.files: tuple[ManifestFile, ...] | None = None
        self._planner = planner
        self._transfers = transfers
        self._table = table
        self._publish = publish
        self._is_held = is_held
        self._others_need = others_need
        self._progress = progress
        self._finished = finished
        self._changed = changed
        self._stalls = StallStory()
        self._actions: asyncio.Queue[core.Action | asyncio.Future[None]] = asyncio.Queue()
        self._work: asyncio.Task[None] | None = None
        self._worker: asyncio.Task[None] | None = None

    @property
    def record(self) -> core.PullRecord:
        return self.machine.record

    @property
    def commit(self) -> str | None:
        """None until it is known."""
        return self.manifest.commit if self.manifest else self.record.commit

    @property
    def _fields(self) -> dict[str, str]:
        """What names this pull in a log line."""
        return {"pull": self.record.id, "repo": self.ref.repo.id}

    def start(self) -> None:
        """Begins, or goes on after a restart."""
        self._worker = asyncio.create_task(self._do_in_order())
        self.post(core.DaemonStarted())

    def post(self, event: core.Event) -> None:
        """Something happened; what the machine decides is done later, in order."""
        if isinstance(event, core.PauseAsked | core.CancelAsked):
            self._stop_work()
        before = self.record.state
        for action in self.machine.handle(event, time.time()):
            self._actions.put_nowait(action)
        if self.record.state != before:
            self._changed(self.record.id)

    async def settled(self) -> None:
        """Returns when what was decided so far is done and saved, or the pull stopped."""
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._actions.put_nowait(reached)
        await asyncio.wait(
            [reached, *([self._worker] if self._worker else [])], return_when=asyncio.FIRST_COMPLETED
        )

    async def stop(self) -> None:
        """Leaves the pull as it is; the next start goes on with it."""
        tasks = [task for task in (self._worker, self._work) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # What the transfers say.

    def blob_arrived(self, etag: str) -> None:
        self.post(core.BlobArrived(etag))

    def blob_returned(self, etag: str) -> None:
        self.post(core.BlobReturned(etag))

    def blob_verified(self, etag: str, by_source: dict[str, int]) -> None:
        self.post(core.BlobVerified(etag, by_source))

    def blob_failed(self, etag: str, error: DistdError) -> None:
        if isinstance(error, HashMismatch):
            error = replace(error, path=self._path_of(etag))
        self.post(core.Failed(error.problem()))

    def tell(self, event: str, text: str) -> None:
        self._actions.put_nowait(core.Tell(event, text))

    def tell_last(self, event: str, text: str) -> None:
        """A line of the story after the pull's end, which nobody waits for."""
        log.info("%s: %s", self.ref, text, extra={"pull": self.record.id, "event": event})
        self._worker = asyncio.create_task(self._table.tell(self.record.id, event, text))

    def stalled_reason(self) -> str | None:
        """Why nothing arrives, when all that is missing waits for the same kind of thing."""
        if self.record.state != "downloading" or self.meter.rate(3.0, time.monotonic()) > 0:
            return None
        missing = [need.etag for need in self.machine.missing if need.etag not in self.machine.arrived]
        reasons = (self._transfers.stalled_reason(etag) for etag in missing)
        return next((reason for reason in reasons if reason), None)

    def look_for_stalls(self, now: float) -> None:
        """The story tells when the pull has stood still for a while, and when it goes on. `now` is monotonic seconds."""
        if self.record.state == "downloading" and (told := self._stalls.look(self.stalled_reason(), now)):
            self.tell(*told)

    # What the machine decides.

    async def _do_in_order(self) -> None:
        while True:
            action = await self._actions.get()
            try:
                if isinstance(action, asyncio.Future):
                    action.set_result(None)
                else:
                    await self._do(action)
            except DistdError as error:
                log.error("%s: %s", self.ref, error, extra=self._fields)
                self.post(core.Failed(error.problem()))
            except Exception as error:  # a pull that nobody works on any more would wait for ever
                log.exception("pull %s failed", self.record.id, extra=self._fields)
                detail = f"{type(error).__name__}: {error}; the daemon's log has more"
                self.post(core.Failed(Problem("internal", "Internal error", detail, True)))
            if self.record.state in core.FINISHED and self._actions.empty():
                self._finished(self)
                return

    async def _do(self, action: core.Action) -> None:
        match action:
            case core.Save():
                await self._table.save(self.request, self.record)
            case core.Tell(event, text):
                level = logging.ERROR if event == "failed" else logging.INFO
                log.log(level, "%s: %s", self.ref, text, extra=self._fields | {"event": event})
                await self._table.tell(self.record.id, event, text)
            case core.WaitUntil(at):
                self._work = asyncio.create_task(self._wait_until(at))
            case core.MakePlan():
                self._work = asyncio.create_task(self._plan())
            case core.WantBlobs(needs):
                self._want(needs)
            case core.DropBlobs(etags, discard):
                self._keep_progress(etags)
                for etag in etags:
                    self._transfers.drop(etag, self, discard=discard and not self._others_need(self, etag))
            case core.Publish():
                self._work = asyncio.create_task(self._publish_snapshot())

    def _keep_progress(self, etags: tuple[str, ...]) -> None:
        """What an ended pull had got of unfinished blobs, for its record: others may go on with them."""
        if self.record.state not in core.FINISHED:
            return
        got = dict(self.record.got)
        for need in self.record.needs:
            progress = self._progress(need.etag) if need.etag in etags else None
            if progress:
                got[need.etag] = core.own_share(need, progress)
        self.machine.record = replace(self.record, got=got)

    def _stop_work(self) -> None:
        if self._work:
            self._work.cancel()

    async def _wait_until(self, at: float) -> None:
        while (left_s := at - time.time()) > 0:  # noqa: ASYNC110  # the wall clock may be set meanwhile
            await asyncio.sleep(min(left_s, 30.0))
        self.post(core.StartTimeReached())

    async def _plan(self) -> None:
        try:
            plan = await self._make_plan()
        except DistdError as error:
            self.post(core.Failed(error.problem()))
        except Exception as error:
            log.exception("planning %s failed", self.ref)
            self.post(core.Failed(Problem("internal", "Internal error", f"planning failed: {error}", True)))
        else:
            if plan.selection.left_out:
                size = format_size(sum(item.file.size_bytes for item in plan.selection.left_out))
                self.tell(
                    "left_out", f"{len(plan.selection.left_out)} files of {size} left out (see distctl plan)"
                )
            for event, text in plan.remarks:
                self.tell(event, text)
            self.post(
                core.Planned(
                    plan.manifest, plan.selection.complete, plan.bytes_total, plan.reused_bytes, plan.needs
                )
            )

    async def _make_plan(self) -> Plan:
        """The plan, with everything adoptable adopted. A pull once resolved stays with its commit."""
        ref = Ref(self.ref.repo, self.record.commit or self.ref.revision)
        request = self.request
        plan = await self._planner.plan(ref, request.include, request.exclude, request.weights, adopt=True)
        self.manifest, self.files = plan.manifest, plan.selection.files  # known before room is made for them
        plan = await self._planner.with_room(plan)
        plan.space.check()
        return plan

    def _want(self, needs: tuple[core.BlobNeed, ...]) -> None:
        assert self.manifest is not None
        by_etag = {file.etag: (index, file) for index, file in reversed(list(enumerate(self.manifest.files)))}
        for need in needs:
            index, file = by_etag[need.etag]
            remote = RemoteFile(self.manifest.repo, self.manifest.commit, file)
            order = (-self.request.priority, self.record.number, index)
            self._transfers.want(remote, order, self, self.meter)

    async def _publish_snapshot(self) -> None:
        if not all(self._is_held(file) for file in self.files or ()):
            self.post(core.ContentVanished())
            return
        try:
            path = await self._publish(self)
        except DistdError as error:
            self.post(core.Failed(error.problem()))
        except Exception as error:
            log.exception("publishing %s failed", self.ref)
            self.post(core.Failed(Problem("internal", "Internal error", f"publishing failed: {error}", True)))
        else:
            self.post(core.Published(path))

    def _path_of(self, etag: str) -> str:
        return next((need.path for need in self.record.needs if need.etag == etag), etag)
