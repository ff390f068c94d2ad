"""Takes this node out of service and back: others are told, pulls end or pause, what only it has is given away.

Kept in the database: who drains a node means it until they say otherwise, and most of them restart it in between.
"""

from __future__ import annotations

import asyncio
import glob
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn, Protocol

import msgspec

from distd.api.node_schema import NodeStatusView
from distd.api.peer_schema import DrainView, SoleView
from distd.api.schema import PATTERNS_MAX, PullRequest, PullView
from distd.core.draining import Drain, HandOver, Snapshot, listed
from distd.core.manifest import ManifestFile
from distd.core.pull import FINISHED, PullState
from distd.errors import Conflict, DistdError
from distd.pulls.views import rfc3339
from distd.state.snapshots import SnapshotRecord

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
WHEREABOUTS_EVERY_S = 20.0
"""Who holds what is a question to all members."""
AT_WORK: frozenset[PullState] = frozenset({"queued", "resolving", "downloading", "verifying", "publishing"})
PAUSABLE: frozenset[PullState] = frozenset({"queued", "resolving", "downloading"})
"""What is being hashed or published is done in a moment."""


class DrainRecord(msgspec.Struct, frozen=True):
    """`since` in seconds since the epoch; `paused`: pulls that go on when the node is back in service."""

    by: str
    since: float
    paused: tuple[str, ...] = ()


class DrainTable(Protocol):
    async def load(self) -> DrainRecord | None: ...

    async def save(self, record: DrainRecord | None) -> None:
        """None: in service. Raises StorageFailed."""


class Surroundings(Protocol):
    """The cluster, as far as a drain concerns it."""

    me: str

    def drain(self, wanted: bool) -> None:
        """Tell everybody, lead nothing, and take no leases."""

    def in_service(self) -> Collection[str]:
        """Other live members that are not being drained themselves."""

    def is_shared(self, etags: Iterable[str]) -> bool:
        """Whether other members in service work on one of these blobs."""

    def serves(self) -> bool:
        """Whether anything went to another member in the last seconds."""


class Pulls(Protocol):
    """This node's own."""

    refused_because: str

    def at_work(self) -> Mapping[str, tuple[PullState, Collection[str]]]:
        """Unfinished ones: state and missing blobs."""

    async def control(self, pull_id: str, verb: str) -> PullView: ...


class FleetPulls(Protocol):
    async def submit(self, request: PullRequest) -> PullView: ...

    def get(self, pull_id: str) -> PullView: ...


class Models(Protocol):
    async def contents(self) -> list[tuple[SnapshotRecord, Sequence[ManifestFile]]]:
        """All published snapshots, with their files."""


Holders = Callable[[Iterable[tuple[str, int]]], Awaitable[Mapping[str, frozenset[str]]]]
"""`Holdings.holders`."""
Rooms = Callable[[Collection[str], str | None], Awaitable[Sequence[NodeStatusView]]]
"""`NodeOperations.status`."""


@dataclass(frozen=True, slots=True)
class DrainPorts:
    surroundings: Surroundings
    pulls: Pulls
    fleet: FleetPulls
    models: Models
    holders: Holders
    rooms: Rooms


class DrainService:
    """`open` before pulls are; give it `ports` when they exist, and run `watch` as a task."""

    def __init__(self, table: DrainTable, wall: Callable[[], float] = time.time) -> None:
        self._table = table
        self._wall = wall
        self._record: DrainRecord | None = None
        self._drain = Drain()
        self._looked_at: float | None = None
        self._handing: dict[Snapshot, str] = {}
        self._ports: DrainPorts | None = None
        self._wake = asyncio.Event()

    @property
    def is_draining(self) -> bool:
        return self._record is not None

    async def open(self, surroundings: Surroundings | None, pulls: Pulls) -> None:
        """Out of service as before, if it was; without a cluster nothing is."""
        self._record = await self._table.load() if surroundings else None
        if surroundings and self._record:
            surroundings.drain(True)
            pulls.refused_because = _refusal(self._record)
            log.warning(
                "this node is out of service since %s: distctl peers undrain", rfc3339(self._record.since)
            )

    def connect(self, ports: DrainPorts) -> None:
        self._ports = ports

    def view(self) -> DrainView:
        record, ports = self._record, self._ports
        if record is None or ports is None:
            return DrainView(ports.surroundings.me if ports else "", "in_service")
        at_work = self._at_work(ports)
        return DrainView(
            ports.surroundings.me,
            self._drain.state(at_work, ports.surroundings.serves(), self._looked_at is not None),
            rfc3339(record.since),
            record.by,
            tuple(sorted(at_work)),
            record.paused,
            tuple(
                SoleView(
                    each.snapshot.type,
                    each.snapshot.repo,
                    each.snapshot.commit,
                    each.snapshot.size_bytes,
                    each.to or None,
                    each.trouble or None,
                )
                for each in listed(self._drain.sole)
            ),
        )

    async def drain(self, by: str) -> DrainView:
        """Idempotent. Raises Conflict where nobody is there to take over, StorageFailed; then nothing is changed."""
        ports = self._ports
        if ports is None:
            raise Conflict("this node has no cluster that could do without it: stop its daemon instead")
        if self._record is None:
            if not ports.surroundings.in_service():
                raise Conflict("no other member is in service: nobody could take over what this node has")
            record = DrainRecord(by, self._wall())
            await self._table.save(record)
            self._record, self._drain, self._looked_at = record, Drain(), None
            ports.surroundings.drain(True)
            ports.pulls.refused_because = _refusal(record)
            self._wake.set()
            log.warning("taken out of service by %s", by, extra={"event": "draining"})
        return self.view()

    async def undrain(self, by: str) -> DrainView:
        """Idempotent. Raises StorageFailed; then nothing is changed."""
        record, ports = self._record, self._ports
        if record is not None and ports is not None:
            await self._table.save(None)
            self._record = None
            ports.surroundings.drain(False)
            ports.pulls.refused_because = ""
            for pull_id in record.paused:
                with suppress(DistdError):  # cancelled or forgotten meanwhile
                    await ports.pulls.control(pull_id, "resume")
            log.warning("back in service, by %s", by, extra={"event": "undrained"})
        return self.view()

    async def watch(self) -> NoReturn:
        while True:
            if self._record is None:
                self._wake.clear()
                await self._wake.wait()
            try:
                await self._look()
            except DistdError as error:
                log.warning("draining goes on later: %s", error)
            except Exception:
                log.exception("draining goes on later")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self) -> None:
        ports = self._ports
        if ports is None or self._record is None:
            return
        now = time.monotonic()
        for pull_id in self._drain.to_pause(self._at_work(ports, PAUSABLE), now):
            await self._pause(ports, pull_id)
        self._follow(ports)
        if self._looked_at is None or now - self._looked_at >= WHEREABOUTS_EVERY_S:
            self._drain.looked(await _only_here(ports))
            self._looked_at = now
            if self._drain.sole:
                for order in self._drain.hand_over(await _free(ports)):
                    await self._begin(ports, order)

    def _at_work(self, ports: DrainPorts, states: frozenset[PullState] = AT_WORK) -> dict[str, bool]:
        """Pulls in these states, with whether others work on the same blobs."""
        return {
            pull_id: ports.surroundings.is_shared(etags)
            for pull_id, (state, etags) in ports.pulls.at_work().items()
            if state in states
        }

    async def _pause(self, ports: DrainPorts, pull_id: str) -> None:
        if self._record is None:
            return
        record = msgspec.structs.replace(self._record, paused=(*self._record.paused, pull_id))
        await self._table.save(record)
        if self._record is not None:
            self._record = record
            await ports.pulls.control(pull_id, "pause")

    async def _begin(self, ports: DrainPorts, order: HandOver) -> None:
        snapshot = order.snapshot
        request = PullRequest(
            repo=snapshot.repo,
            type=snapshot.type,
            revision=snapshot.commit,
            include=tuple(map(glob.escape, snapshot.paths)),
            weights="all",
            nodes=(order.to,),
            pin=snapshot.pinned,
        )
        try:
            self._handing[snapshot] = (await ports.fleet.submit(request)).id
        except DistdError as error:
            self._drain.handed(snapshot, str(error))
        else:
            log.info("%s@%s is given to %s", snapshot.repo, snapshot.commit[:12], order.to)

    def _follow(self, ports: DrainPorts) -> None:
        for snapshot, pull_id in list(self._handing.items()):
            try:
                view = ports.fleet.get(pull_id)
            except DistdError as error:
                trouble = str(error)
            else:
                if view.state not in FINISHED:
                    continue
                failed = [node.error.detail for node in view.nodes if node.error]
                trouble = "" if view.state == "complete" else (failed or [view.state])[0]
            del self._handing[snapshot]
            self._drain.handed(snapshot, trouble)
            self._looked_at = None  # what comes next has room now


def _refusal(record: DrainRecord) -> str:
    return (
        f"this node is being taken out of service (by {record.by}, since {rfc3339(record.since)}):"
        " pull on another, or distctl peers undrain"
    )


async def _only_here(ports: DrainPorts) -> list[Snapshot]:
    """Snapshots with a file that no other member in service holds."""
    contents = await ports.models.contents()
    blobs = {file.etag: file.size_bytes for _, files in contents for file in files}
    holders, there = await ports.holders(blobs.items()), frozenset(ports.surroundings.in_service())
    return [
        _snapshot(record)
        for record, files in contents
        if any(not holders.get(file.etag, frozenset()) & there for file in files)
    ]


def _snapshot(record: SnapshotRecord) -> Snapshot:
    """A selection of more files than a request may name is asked for whole."""
    paths = record.paths if record.paths and len(record.paths) <= PATTERNS_MAX else ()
    return Snapshot(record.type, record.repo, record.commit, record.size_bytes, record.pinned, paths)


async def _free(ports: DrainPorts) -> dict[str, int]:
    """What each member in service can take, by its own word: the rest of its disk, or of what its cache may have."""
    there, free = ports.surroundings.in_service(), {}
    for row in await ports.rooms(("all",), None):
        if row.name in there and row.status is not None:
            cache = row.status.cache
            quota = cache.max_bytes - cache.bytes if cache.max_bytes else cache.free_bytes
            free[row.name] = min(cache.free_bytes, quota)
    return free
