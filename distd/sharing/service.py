"""Blobs shared with the cluster: a blob driver for each, the leads this node hosts, and the words between members.

Implements the same port as `pulls.transfers.Transfers`, so that a pull does not know whether its blobs
come through a swarm.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from functools import partial

import msgspec

from distd.core.desk_events import Order
from distd.core.rates import Meter
from distd.errors import DistdError, StorageFailed
from distd.hub.fetcher import Fetcher, RemoteFile
from distd.pulls.supply import BlobListener
from distd.sharing.driver import BlobDriver, Means
from distd.sharing.lead_host import LeadHost
from distd.sharing.ledgers import LedgerStore
from distd.store.blobs import BlobStore
from peers import lead_events as led
from peers import member_events as event
from peers import swarm as swarm_events
from peers.addresses import split
from peers.blob import Blob
from peers.cluster import Cluster
from peers.cluster_errors import CallRefused, ClusterError
from peers.engine import Engine
from peers.messages import LeadAnswer, LeadRefusal, LeadRequest, Report
from peers.metainfo import Kind
from peers.swarm import Endpoint
from peers.swarm_choice import Stage

log = logging.getLogger(__name__)

FILLING_BLOBS_MAX = 3
"""Blobs filled at once: one arriving, one being sealed, one beginning. All members go in the same order,
so more would only spread the same bytes thinner and leave SHA-256 behind."""
IDLE_S = 30.0
"""A published blob's swarm without a peer for so long is closed."""
WATCH_EVERY_S = 5.0
ANSWER_GRACE_S = 3.0
"""What an answer may take beyond the time the lead was allowed to hold it back."""
PROBE_TIMEOUT_S = 1.5
"""A new lead grants nothing for 2 s while it hears what members have; later answers are of no use."""


class BlobName(msgspec.Struct, frozen=True):
    """Names a blob between members."""

    name: str
    size_bytes: int


class LeadQuestion(msgspec.Struct, frozen=True):
    blob: BlobName
    request: LeadRequest


class LeadWord(msgspec.Struct, frozen=True):
    """One of the two is set."""

    answer: LeadAnswer | None = None
    refusal: LeadRefusal | None = None


class ReportWord(msgspec.Struct, frozen=True):
    report: Report | None


@dataclass
class _Want:
    listener: BlobListener
    meter: Meter


@dataclass
class _Wanted:
    remote: RemoteFile
    order: Order
    wants: list[_Want] = field(default_factory=list)
    arrived_told: bool = False


class Sharing:
    """Open after the cluster and the engine are; close before them."""

    def __init__(
        self,
        cluster: Cluster,
        engine: Engine,
        *,
        blobs: BlobStore,
        fetcher: Fetcher,
        secret: bytes,
        may_fetch: bool,
        hub_meter: Meter,
        peers_meter: Meter,
    ) -> None:
        self._cluster = cluster
        self._engine = engine
        self._blobs = blobs
        self._ledgers = LedgerStore(blobs.store_dir)
        self._means = Means(
            blobs=blobs,
            ledgers=self._ledgers,
            fetcher=fetcher,
            swarm=engine,
            neighbours=self,
            secret=secret,
            may_fetch=may_fetch,
            hub_meter=hub_meter,
            peers_meter=peers_meter,
        )
        self._leads = LeadHost(cluster.me, probe=self._probe, last_term=self._last_term)
        self._wanted: dict[str, _Wanted] = {}
        self._drivers: dict[str, BlobDriver] = {}
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._closing: dict[str, asyncio.Task[None]] = {}
        self._watch: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._ledgers.open()
        self._cluster.register("lead", self._on_lead)
        self._cluster.register("report", self._on_report)
        self._cluster.register("wanted", self._on_wanted)
        self._cluster.on_change(self._members_changed)
        self._members_changed()
        self._watch = asyncio.create_task(self._watch_idle())

    async def close(self) -> None:
        if self._watch:
            self._watch.cancel()
        for task in self._opening.values():
            task.cancel()
        await asyncio.gather(*self._opening.values(), return_exceptions=True)
        self._leads.close()
        await asyncio.gather(*(driver.close() for driver in self._drivers.values()), return_exceptions=True)
        await asyncio.gather(*self._closing.values(), return_exceptions=True)

    # The pulls' side: BlobSupply.

    def want(self, remote: RemoteFile, order: Order, listener: BlobListener, meter: Meter) -> None:
        etag = remote.file.etag
        wanted = self._wanted.setdefault(etag, _Wanted(remote, order))
        wanted.order = min(wanted.order, order)
        wanted.wants.append(_Want(listener, meter))
        if driver := self._drivers.get(etag):
            driver.meters.append(meter)
        if wanted.arrived_told:
            listener.blob_arrived(etag)
        self._fill()

    def drop(self, etag: str, listener: BlobListener, *, discard: bool) -> None:
        wanted = self._wanted.get(etag)
        if wanted is None:
            return
        wanted.wants = [want for want in wanted.wants if want.listener is not listener]
        if wanted.wants:
            return
        del self._wanted[etag]
        self._close_driver(etag, discard=discard)
        self._fill()

    def progress(self, etag: str) -> dict[str, int] | None:
        driver = self._drivers.get(etag)
        return driver.progress() if driver else None

    def is_open(self, etag: str) -> bool:
        return self.progress(etag) is not None

    @property
    def has_company(self) -> bool:
        """Whether there is anybody to share with."""
        return len(self._cluster.live) > 1

    def knows(self, etag: str) -> bool:
        return etag in self._wanted

    def stalled_reason(self, etag: str) -> str | None:
        return None

    # The engine's side.

    def swarm_event(self, happened: swarm_events.SwarmEvent) -> None:
        """Given to the engine as its sink."""
        if isinstance(happened, swarm_events.ListenFailed):
            log.error(
                "%s swarm: listening on %s failed: %s", happened.kind.value, happened.address, happened.reason
            )
            return
        driver = self._drivers.get(happened.blob)
        if driver is None or driver.swarm_kind is not happened.kind:
            return
        match happened:
            case swarm_events.PieceArrived() | swarm_events.PieceAdded():
                driver.feed(event.PieceHeld(happened.index))
            case swarm_events.StorageFailed():
                driver.feed(event.DiskFailed(happened.no_space, happened.detail))
            case swarm_events.TorrentBroken():
                driver.feed(event.DiskFailed(no_space=False, detail=happened.reason))
            case swarm_events.PeerConnected():
                driver.idle_since = float("inf")

    # The machines' side: Neighbours.

    @property
    def me(self) -> str:
        return self._cluster.me

    def live(self) -> frozenset[str]:
        return self._cluster.live

    def swarm_endpoint(self, member: str, kind: Kind) -> Endpoint | None:
        for known in self._cluster.members():
            if known.name == member:
                address = known.facts.hot_address if kind is Kind.HOT else known.facts.sealed_address
                return Endpoint(*split(address)) if address else None
        return None

    async def ask_lead(self, lead: str, blob: Blob, request: LeadRequest) -> LeadAnswer | LeadRefusal | None:
        timeout_s = request.wait_s + ANSWER_GRACE_S
        try:
            if lead == self.me:
                async with asyncio.timeout(timeout_s):
                    return await self._leads.ask(blob, request)
            question = LeadQuestion(BlobName(blob.name, blob.size_bytes), request)
            body = await self._cluster.call(lead, "lead", msgspec.msgpack.encode(question), timeout_s)
            word = msgspec.msgpack.decode(body, type=LeadWord)
        except (TimeoutError, ClusterError, msgspec.MsgspecError):
            return None
        return word.answer or word.refusal

    async def wake(self, member: str, blob: Blob) -> None:
        body = msgspec.msgpack.encode(BlobName(blob.name, blob.size_bytes))
        try:
            await self._cluster.call(member, "wanted", body, PROBE_TIMEOUT_S)
        except ClusterError as error:
            log.debug("waking %s for %s failed: %s", member, blob.name, error)

    async def _probe(self, member: str, blob: Blob) -> Report | None:
        if member == self.me:
            driver = self._drivers.get(blob.name)
            return driver.report() if driver else None
        body = msgspec.msgpack.encode(BlobName(blob.name, blob.size_bytes))
        try:
            answer = await self._cluster.call(member, "report", body, PROBE_TIMEOUT_S)
            return msgspec.msgpack.decode(answer, type=ReportWord).report
        except (ClusterError, msgspec.MsgspecError):
            return None

    def _last_term(self, name: str) -> int:
        driver = self._drivers.get(name)
        return driver.last_term if driver else 0

    def _members_changed(self) -> None:
        view = self._cluster.view
        self._leads.members_changed(led.LiveMembersChanged(view.live, view.hub_down_cluster, view.hub_busy))
        for driver in self._drivers.values():
            driver.feed(event.MembersChanged(view.live))

    # Other members' side.

    async def _on_lead(self, sender: str, body: bytes) -> bytes:
        question = msgspec.msgpack.decode(body, type=LeadQuestion)
        if question.request.report.member != sender:
            raise CallRefused("invalid_request", "a member speaks for itself only")
        word = await self._leads.ask(Blob.of(question.blob.name, question.blob.size_bytes), question.request)
        told = LeadWord(answer=word) if isinstance(word, LeadAnswer) else LeadWord(refusal=word)
        return msgspec.msgpack.encode(told)

    async def _on_report(self, sender: str, body: bytes) -> bytes:
        named = msgspec.msgpack.decode(body, type=BlobName)
        driver = await self._holder(named)
        return msgspec.msgpack.encode(ReportWord(driver.report() if driver else None))

    async def _on_wanted(self, sender: str, body: bytes) -> bytes:
        driver = await self._holder(msgspec.msgpack.decode(body, type=BlobName))
        if driver:
            driver.feed(event.BlobWanted())
        return b""

    async def _holder(self, named: BlobName) -> BlobDriver | None:
        """The driver of a blob that is in work here, or that the store holds."""
        if named.name not in self._drivers and self._blobs.has(named.name, named.size_bytes):
            await self._open_driver(Blob.of(named.name, named.size_bytes), None)
        return self._drivers.get(named.name)

    # Drivers.

    def _fill(self) -> None:
        """Opens drivers for the first of what is wanted."""
        filling = sum(driver.stage in (Stage.STARTING, Stage.FILLING) for driver in self._drivers.values())
        waiting = sorted(
            (wanted.order, etag)
            for etag, wanted in self._wanted.items()
            if etag not in self._drivers and etag not in self._opening
        )
        room = FILLING_BLOBS_MAX - filling - len(self._opening)
        for _, etag in waiting[: max(0, room)]:
            remote = self._wanted[etag].remote
            blob = Blob.of(etag, remote.file.size_bytes)
            task = asyncio.create_task(self._open_driver(blob, remote))
            self._opening[etag] = task
            task.add_done_callback(partial(self._opened, etag))

    def _opened(self, etag: str, task: asyncio.Task[None]) -> None:
        self._opening.pop(etag, None)
        if not task.cancelled() and (error := task.exception()):
            log.error("opening blob %s failed", etag, exc_info=error)
            self._finish(etag, {}, StorageFailed(etag, f"{type(error).__name__}: {error}"))

    async def _open_driver(self, blob: Blob, remote: RemoteFile | None) -> None:
        if closing := self._closing.get(blob.name):
            await asyncio.wait([closing])
        if blob.name in self._drivers:
            return
        driver = BlobDriver(
            blob,
            remote,
            self._means,
            changed=self._driver_changed,
            tell=lambda event_, text: self._tell(blob.name, event_, text),
        )
        wanted = self._wanted.get(blob.name)
        driver.meters = [want.meter for want in wanted.wants] if wanted else []
        self._drivers[blob.name] = driver
        try:
            await driver.open()
        except DistdError as error:
            self._drivers.pop(blob.name, None)
            await driver.close()
            self._finish(blob.name, {}, error)

    def _driver_changed(self, driver: BlobDriver) -> None:
        name = driver.blob.name
        wanted = self._wanted.get(name)
        if driver.arrived and wanted and not wanted.arrived_told:
            wanted.arrived_told = True
            for want in wanted.wants:
                want.listener.blob_arrived(name)
        if driver.outcome is None:
            return
        if driver.outcome.error is not None:
            self._close_driver(name, discard=False)
        else:
            driver.idle_since = time.monotonic()
        self._finish(name, driver.outcome.by_source, driver.outcome.error)

    def _finish(self, name: str, by_source: dict[str, int], error: DistdError | None) -> None:
        wanted = self._wanted.pop(name, None)
        for want in wanted.wants if wanted else ():
            if error is None:
                want.listener.blob_verified(name, by_source)
            else:
                want.listener.blob_failed(name, error)
        self._fill()

    def _tell(self, name: str, event_: str, text: str) -> None:
        wanted = self._wanted.get(name)
        for want in wanted.wants if wanted else ():
            want.listener.tell(event_, f"{wanted.remote.file.path if wanted else name}: {text}")

    def _close_driver(self, name: str, *, discard: bool) -> None:
        driver = self._drivers.pop(name, None)
        if driver is None:
            return
        task = asyncio.create_task(self._close(driver, discard=discard))
        self._closing[name] = task
        task.add_done_callback(lambda _: self._closing.pop(name, None))

    async def _close(self, driver: BlobDriver, *, discard: bool) -> None:
        await driver.close()
        if discard:
            self._blobs.discard(driver.blob.name)
            self._ledgers.remove(driver.blob.name)

    async def _watch_idle(self) -> None:
        """Closes the swarms of published blobs that nobody is connected to, and forgets their drivers."""
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            stats = await self._engine.stats()
            connected = {peer.blob for peer in stats.peers}
            now = time.monotonic()
            for name, driver in list(self._drivers.items()):
                if driver.stage is not Stage.PUBLISHED:
                    continue
                if name in connected:
                    driver.idle_since = now
                elif now - driver.idle_since > IDLE_S:
                    if driver.swarm_kind is not None:
                        driver.feed(event.SwarmIdled())
                        driver.idle_since = now
                    else:
                        self._close_driver(name, discard=False)
