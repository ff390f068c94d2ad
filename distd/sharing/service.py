"""Blobs shared with the cluster: a blob driver for each, the leads this node hosts, and the words between members.

Implements the port of `pulls.transfers.Transfers`: a pull does not know whether its blobs come through a swarm.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from distd.core.desk_events import Order
from distd.core.estimate import Outlook
from distd.core.rates import Meter, SourceMeter
from distd.core.tally import Tally
from distd.errors import DistdError, StorageFailed
from distd.hub.fetcher import Fetcher, RemoteFile
from distd.pulls.supply import BlobListener
from distd.sharing.access import Sharers
from distd.sharing.calls import LEAD, REPORT, WANTED, Calls, asked_of_lead, probed
from distd.sharing.driver import BlobDriver
from distd.sharing.lead_host import LeadHost, NotAnswered, Word
from distd.sharing.ledgers import LedgerStore
from distd.sharing.means import Means
from distd.sharing.places import Places
from distd.sharing.suspects import Suspects
from distd.sharing.waiting import waits_for
from distd.sharing.wants import Want, Wanted
from distd.store.blobs import BlobStore
from peers import lead_events as led
from peers import lead_wire, wire
from peers import member_events as event
from peers import swarm as swarm_events
from peers.addresses import split
from peers.blob import Blob
from peers.cluster import Cluster
from peers.cluster_errors import CallRefused
from peers.engine import Engine
from peers.membership import TellLive
from peers.messages import LeadRequest, Report
from peers.metainfo import Kind
from peers.swarm import Endpoint, SwarmError
from peers.swarm_choice import Stage

log = logging.getLogger(__name__)

IDLE_S = 30.0
"""A published blob's swarm without a peer for so long is closed."""
WATCH_EVERY_S = 5.0


class Sharing:
    """Open after the cluster and the engine are; close before them."""

    def __init__(
        self,
        cluster: Cluster,
        engine: Engine,
        *,
        blobs: BlobStore,
        fetcher: Fetcher,
        sharers: Callable[[str], Awaitable[Sharers]],
        may_fetch: bool,
        hub_meter: Meter,
        peers_meter: Meter,
        tally: Tally,
        hub_share: Callable[[str, float], None],
    ) -> None:
        self._cluster = cluster
        self._engine = engine
        self._blobs = blobs
        self._ledgers = LedgerStore(blobs.ledgers_dir)
        self.suspects = Suspects(cluster, tally, holder=self._holder, working=self.working)
        self.means = Means(
            blobs=blobs,
            ledgers=self._ledgers,
            fetcher=fetcher,
            swarm=engine,
            neighbours=self,
            suspects=self.suspects,
            terms=lambda: cluster.swarm_terms,
            sharers=sharers,
            may_fetch=lambda: may_fetch and cluster.me not in cluster.view.draining,
            hub_meter=hub_meter,
            peers_meter=peers_meter,
            tally=tally,
            hub_share=hub_share,
        )
        self._calls = Calls(cluster)
        self._leads = LeadHost(cluster.me, probe=self._probe, last_term=self._last_term)
        self._wanted: dict[str, Wanted] = {}
        self._drivers: dict[str, BlobDriver] = {}
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._closing: dict[str, asyncio.Task[None]] = {}
        self._watch: asyncio.Task[None] | None = None
        self._closed = False

    async def open(self) -> None:
        self._cluster.register(LEAD, self._on_lead)
        self._cluster.register(REPORT, self._on_report)
        self._cluster.register(WANTED, self._on_wanted)
        self.suspects.open()
        self._cluster.on_change(self._members_changed)
        self._members_changed()
        self._watch = asyncio.create_task(self._watch_idle())

    async def close(self) -> None:
        """Leaves everything as it is; the cluster hears of it when this member leaves it."""
        self._closed = True
        self._leads.close()
        await self.suspects.close()
        tasks = [*self._opening.values(), *([self._watch] if self._watch else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        drivers = list(self._drivers.values())
        for ended in await asyncio.gather(*(driver.close() for driver in drivers), return_exceptions=True):
            if isinstance(ended, Exception):
                log.error("closing a blob failed", exc_info=ended)
        await asyncio.gather(*self._closing.values(), return_exceptions=True)

    # The pulls' side: BlobSupply.

    def want(self, remote: RemoteFile, order: Order, listener: BlobListener, meter: SourceMeter) -> None:
        etag = remote.file.etag
        if etag not in self._wanted:
            if self._blobs.has(etag, remote.file.size_bytes):  # it came since the pull was planned
                listener.blob_verified(etag, {"reused": remote.file.size_bytes})
                return
            self._close_driver(etag, discard=False)  # of a copy that was removed from the store
        wanted = self._wanted.setdefault(etag, Wanted(remote, order))
        wanted.order = min(wanted.order, order)
        wanted.wants.append(Want(listener, meter))
        if driver := self._drivers.get(etag):
            driver.meters.append(meter)
        if wanted.arrived_told:
            listener.blob_arrived(etag)
        self._fill()

    def drop(self, etag: str, listener: BlobListener, *, discard: bool) -> None:
        wanted = self._wanted.get(etag)
        if wanted is None:
            if discard and etag in self._closing:
                self._close_driver(etag, discard=True)
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

    def outlook(self, etag: str) -> Outlook | None:
        driver = self._drivers.get(etag)
        return driver.outlook() if driver else None

    def is_open(self, etag: str) -> bool:
        return self.progress(etag) is not None

    @property
    def has_company(self) -> bool:
        """Whether there is anybody to share with."""
        return len(self._cluster.live) > 1

    def knows(self, etag: str) -> bool:
        """Whether the blob is wanted here, or its incoming file is still being closed."""
        return etag in self._wanted or etag in self._closing

    def open_after(self, etag: str, closing: asyncio.Task[None]) -> None:
        """The blob's incoming file is somebody else's until `closing` is done."""
        self._closing[etag] = closing
        closing.add_done_callback(partial(self._is_closed, etag))

    def works_on(self, etag: str) -> bool:
        """Whether its file is being filled, or is ready to be sent to members."""
        return etag in self._drivers or self.knows(etag)

    def on_members_changed(self, callback: Callable[[], None]) -> None:
        """Calls back, on the event loop, after the cluster's members changed."""
        self._cluster.on_change(callback)

    def stalled_reason(self, etag: str) -> str | None:
        driver = self._drivers.get(etag)
        machine = driver.machine if driver else None
        return waits_for(machine, time.monotonic()) if machine else None

    def filling(self) -> frozenset[str]:
        """The blobs that are being filled here."""
        working = (Stage.STARTING, Stage.FILLING)
        return frozenset(name for name, driver in self._drivers.items() if driver.stage in working)

    @property
    def in_swarms(self) -> bool:
        return any(driver.swarm.kind is not None for driver in self._drivers.values())

    # The engine's side.

    def swarm_event(self, happened: swarm_events.SwarmEvent) -> None:
        """Given to the engine as its sink."""
        if isinstance(happened, swarm_events.ListenFailed):
            log.error("%s: listening on %s failed: %s", happened.kind, happened.address, happened.reason)
            return
        driver = self._drivers.get(happened.blob)
        if driver is None or driver.swarm.kind is not happened.kind:
            return
        match happened:
            case swarm_events.PieceArrived() | swarm_events.PieceAdded():
                driver.feed(event.PieceHeld(happened.index))
            case swarm_events.StorageFailed():
                driver.feed(event.DiskFailed(happened.no_space, happened.detail))
            case swarm_events.TorrentBroken():
                driver.feed(event.DiskFailed(no_space=False, detail=happened.reason))
            case swarm_events.HashFailed():
                driver.refused(happened.index)
            case swarm_events.PeerConnected() | swarm_events.PeerDisconnected():
                driver.idle_since = time.monotonic()

    # The machines' side: Neighbours.

    @property
    def me(self) -> str:
        return self._cluster.me

    @property
    def view(self) -> TellLive:
        return self._cluster.view

    def swarm_endpoints(self, members: Iterable[str], kind: Kind) -> list[Endpoint]:
        named = set(members) - {self.me, *self._cluster.bans}
        told = [each.facts for each in self._cluster.members() if each.name in named]
        addresses = (each.hot_address if kind is Kind.HOT else each.sealed_address for each in told)
        return [Endpoint(*split(address)) for address in addresses if address]

    async def ask_lead(self, lead: str, blob: Blob, request: LeadRequest, grace_s: float) -> Word | None:
        if lead != self.me:
            return await self._calls.ask(lead, blob, request, grace_s)
        try:
            async with asyncio.timeout(request.wait_s + grace_s):
                return await self._leads.ask(blob, request)
        except (TimeoutError, NotAnswered):
            return None

    def pass_hub_turn(self, blob: str) -> None:
        for name, driver in self._drivers.items():
            if name != blob and driver.stage in (Stage.STARTING, Stage.FILLING):
                driver.feed(event.Ticked())

    async def wake(self, member: str, blob: Blob) -> None:
        await self._calls.wake(member, blob)

    async def _probe(self, member: str, blob: Blob) -> Report | None:
        if member != self.me:
            return await self._calls.probe(member, blob)
        driver = await self._holder(
            blob
        )  # what the store holds is told whether or not somebody asked for it before
        return driver.report() if driver else None

    def _last_term(self, name: str) -> int:
        return self._drivers[name].last_term if name in self._drivers else 0

    def _members_changed(self) -> None:
        view = self._cluster.view
        limits = (view.hub_down_cluster, view.hub_busy)
        self._leads.members_changed(led.LiveMembersChanged(view.live, *limits, view.draining, view.zones))
        for driver in self._drivers.values():
            driver.members_changed(shunned=self._cluster.is_shunned)
            if driver.swarm.outdated:
                driver.feed(event.SwarmTermsChanged())

    # Other members' side.

    async def _on_lead(self, sender: str, body: bytes) -> bytes:
        blob, request = asked_of_lead(sender, body)
        try:
            word = await self._leads.ask(blob, request)
        except NotAnswered as error:
            raise CallRefused("conflict", str(error), retryable=True) from error
        return lead_wire.encode_answer(word, wire.version_of(body))

    async def _on_report(self, sender: str, body: bytes) -> bytes:
        driver = await self._holder(probed(body))
        return lead_wire.encode_report(driver.probed(sender) if driver else None, wire.version_of(body))

    async def _on_wanted(self, sender: str, body: bytes) -> bytes:
        driver = await self._holder(probed(body))
        if driver:
            driver.idle_since = time.monotonic()
            driver.feed(event.BlobWanted())
        return b""

    def working(self, name: str) -> BlobDriver | None:
        return self._drivers.get(name)

    async def _holder(self, blob: Blob) -> BlobDriver | None:
        """The driver of a blob that is in work here, or that the store holds."""
        if blob.name not in self._drivers and self._blobs.has(blob.name, blob.size_bytes):
            await self._open_driver(blob, None)
        driver = self._drivers.get(blob.name)
        return driver if driver and driver.blob == blob else None

    # Drivers.

    def _fill(self) -> None:
        """Opens drivers for the first of what is wanted."""
        places = Places(self._place(name) for name in self.filling() | self._opening.keys())
        waiting = sorted(
            (wanted.order, etag)
            for etag, wanted in self._wanted.items()
            if etag not in self._drivers and etag not in self._opening
        )
        for order, etag in waiting:
            if not places.take(order[0]):
                return
            remote = self._wanted[etag].remote
            opening = self._open_driver(Blob.of(etag, remote.file.size_bytes), remote)
            task = self._opening[etag] = asyncio.create_task(opening)
            task.add_done_callback(partial(self._opened, etag))

    def _place(self, name: str) -> tuple[int, bool]:
        wanted = self._wanted.get(name)
        fills = name in self._opening or not self._drivers[name].arrived
        return wanted.order[0] if wanted else 0, fills

    def _opened(self, etag: str, task: asyncio.Task[None]) -> None:
        self._opening.pop(etag, None)
        if not task.cancelled() and (error := task.exception()):
            log.error("opening blob %s failed", etag, exc_info=error)
            self._close_driver(etag, discard=False)
            self._finish(etag, {}, StorageFailed(etag, f"{type(error).__name__}: {error}"))
        elif not self._closed:
            self._fill()  # a want may have come back while this one was being cancelled

    async def _open_driver(self, blob: Blob, remote: RemoteFile | None) -> None:
        while closing := self._closing.get(blob.name):
            await asyncio.wait([closing])
        if blob.name in self._drivers or self._closed:
            return
        wanted = self._wanted.get(blob.name)
        driver = BlobDriver(
            blob,
            remote,
            self.means,
            order=wanted.order if wanted else (),
            changed=self._driver_changed,
            tell=lambda event_, text: self._tell(blob.name, event_, text),
        )
        driver.meters = [want.meter for want in wanted.wants] if wanted else []
        self._drivers[blob.name] = driver
        try:
            await driver.open()
        except DistdError as error:
            if self._drivers.get(blob.name) is driver:
                del self._drivers[blob.name]
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
            self._fill()
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
        opening, driver = self._opening.get(name), self._drivers.pop(name, None)
        if opening:
            opening.cancel()
        if driver is None and opening is None and not discard:
            return
        closing = self._close(name, opening, driver, self._closing.get(name), discard=discard)
        task = self._closing[name] = asyncio.create_task(closing)
        task.add_done_callback(partial(self._is_closed, name))

    def _is_closed(self, name: str, task: asyncio.Task[None]) -> None:
        if self._closing.get(name) is task:
            del self._closing[name]
        if not task.cancelled() and (error := task.exception()):
            log.error("closing blob %s failed", name, exc_info=error)

    async def _close(
        self,
        name: str,
        opening: asyncio.Task[None] | None,
        driver: BlobDriver | None,
        earlier: asyncio.Task[None] | None,
        *,
        discard: bool,
    ) -> None:
        before = [task for task in (opening, earlier) if task]
        if before:
            await asyncio.wait(before)
        if driver:
            if not self._closed:
                await driver.farewell()
            await driver.close()
        if discard:
            self._blobs.discard(name)
            self._ledgers.remove(name)

    async def _watch_idle(self) -> None:
        """Closes the swarms of published blobs that nobody is connected to, and forgets their drivers."""
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            try:
                connected = {peer.blob for peer in (await self._engine.stats()).peers}
            except SwarmError as error:
                log.warning("the swarms cannot be watched: %s", error)
                continue
            now = time.monotonic()
            for name, driver in list(self._drivers.items()):
                if driver.stage is not Stage.PUBLISHED:
                    continue
                if name in connected:
                    driver.idle_since = now
                elif now - driver.idle_since > IDLE_S:
                    if driver.swarm.kind is not None:
                        driver.feed(event.SwarmIdled())
                        driver.idle_since = now
                    else:
                        self._close_driver(name, discard=False)
