"""Small blobs for this node: each from its owner, in batches, and from the next member when that one fails.

Implements `BlobSupply` for blobs under 16 MiB. Where this node is the owner it fetches from the Hub through `Transfers`,
which others' orders go through as well. What comes from a member is written as any blob is, read back and hashed before
anything is visible, so a member that sends wrong bytes costs time only. `small_choice` says whom to ask. Times are
seconds, sizes bytes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable

import msgspec

from distd.core.desk_events import Order
from distd.core.estimate import Outlook
from distd.core.rates import Meter, SourceMeter
from distd.core.tally import Tally
from distd.errors import DistdError, HashMismatch, HubUnreachable, NoSpace, StorageFailed
from distd.hub.fetcher import RemoteFile
from distd.pacing import Pacer
from distd.pulls.supply import BlobListener
from distd.pulls.transfers import Transfers
from distd.sharing.denials import Denials
from distd.sharing.holdings import Holdings
from distd.sharing.locations import FileName
from distd.sharing.small_choice import batches, source_of
from distd.sharing.small_receiving import Receiver
from distd.sharing.small_state import Bridge, Small, Want
from distd.sharing.small_wire import SMALL, BadRecord, RecordReader, SmallOrder, Ticket, stream_bytes_max
from distd.sharing.troubles import is_final
from distd.store.blobs import BlobStore
from peers.cluster import Cluster
from peers.cluster_errors import ClusterError

log = logging.getLogger(__name__)

ORDER_S = 5.0
"""For a member to take an order; it answers before it fetches anything."""
SILENCE_S = 8.0
"""An owner that gives neither a blob nor a sign of life for so long is passed over: four signs missed."""
STREAM_S_MAX = 3600.0
BATCHES_PER_MEMBER = 2
"""One is being sent while the owner fetches the other."""
BATCHES_MAX = 8
"""From all members at once. Each holds one frame and at most two batches on their way to the disk, some 10 MB."""
AVOID_S = 10.0
"""A member that could not be reached is not asked for other blobs so long; gossip says by then whether it lives."""
LOOK_EVERY_S = 2.0
FREED_S = 0.1
"""To wait for a file that the Hub's way to it has just given up to be closed."""
NO_SOURCE_S = 30.0
"""With nobody to ask, the members are asked for holders anew so long before the blob is given up: as large blobs do."""


class SmallBlobs:
    """Use after the cluster is started; `close` before it stops. All methods belong to the event loop."""

    def __init__(
        self,
        cluster: Cluster,
        alone: Transfers,
        blobs: BlobStore,
        holdings: Holdings,
        *,
        endpoint: str,
        fetchers: Callable[[], frozenset[str]],
        peers_meter: Meter,
        received: Callable[[str, int], None],
        tally: Tally,
        denials: Denials,
        pace: Pacer,
    ) -> None:
        """`received` hears of the bytes that each member sends."""
        self._received = received
        self._tally = tally
        self._pace = pace
        self._denials = denials
        self._cluster = cluster
        self._alone = alone
        self._blobs = blobs
        self._holdings = holdings
        self._endpoint = endpoint
        self._fetchers = fetchers
        self._peers_meter = peers_meter
        self._smalls: dict[str, Small] = {}
        self._batches: Counter[str] = Counter()
        self._avoided: dict[str, float] = {}
        self._tasks: set[asyncio.Future[None]] = set()
        self._timer: asyncio.Handle | None = None
        self._timer_at = 0.0
        self._closed = False

    async def close(self) -> None:
        """Stops everything; what is journalled stays."""
        self._closed = True
        if self._timer:
            self._timer.cancel()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # The pulls' side: BlobSupply.

    def want(self, remote: RemoteFile, order: Order, listener: BlobListener, meter: SourceMeter) -> None:
        etag, size_bytes = remote.file.etag, remote.file.size_bytes
        small = self._smalls.get(etag)
        if small is None and self._blobs.has(etag, size_bytes):
            listener.blob_verified(etag, {"reused": size_bytes})
            return
        if small is None:
            small = self._smalls[etag] = Small(remote, order)
            small.settled.set()
        small.order = min(small.order, order)
        small.wants.append(Want(listener, meter))
        self._assign_in(0.0)  # later in this turn of the loop: a pull names all its blobs in one go

    def open_after(self, etag: str, closing: asyncio.Task[None]) -> None:
        """The blob just wanted was fetched alone until now: its file is free when `closing` is done."""
        small = self._smalls.get(etag)
        if small is not None:
            small.source = self._cluster.me
            closing.add_done_callback(lambda _: self._freed(small))

    def _freed(self, small: Small) -> None:
        if small.bridge is None and self._smalls.get(small.etag) is small:
            small.source = None
            self._assign_in(0.0)

    def drop(self, etag: str, listener: BlobListener, *, discard: bool) -> None:
        small = self._smalls.get(etag)
        if small is None:
            return
        small.wants = [want for want in small.wants if want.listener is not listener]
        if small.wants or not small.settled.is_set():
            return  # what is arriving from a member arrives, and is then verified or gone
        del self._smalls[etag]
        if small.bridge:
            self._alone.drop(etag, small.bridge, discard=discard)
        elif discard:
            self._alone.drop(etag, listener, discard=True)

    def progress(self, etag: str) -> dict[str, int] | None:
        small = self._smalls.get(etag)
        if small is None:
            return None
        return small.incoming.bytes_by_source() if small.incoming else self._alone.progress(etag)

    def outlook(self, etag: str) -> Outlook | None:
        """Who holds it is asked for once; until it comes from a member it counts as coming from the Hub."""
        small = self._smalls.get(etag)
        if small is None:
            return None
        if small.incoming is not None:
            return Outlook(0, 0)
        return self._alone.outlook(etag)

    def is_open(self, etag: str) -> bool:
        small = self._smalls.get(etag)
        return small is not None and (small.incoming is not None or self._alone.is_open(etag))

    def stalled_reason(self, etag: str) -> str | None:
        small = self._smalls.get(etag)
        if small is None or small.no_source_since is None:
            return self._alone.stalled_reason(etag)
        return "no live member can give it"

    def knows(self, etag: str) -> bool:
        return etag in self._smalls

    def arriving(self, etag: str) -> Awaitable[bool] | None:
        """To wait for while the blob comes from a member; None when it does not."""
        small = self._smalls.get(etag)
        return None if small is None or small.settled.is_set() else small.settled.wait()

    def members_changed(self) -> None:
        """Tell it whenever the live members changed."""
        if self._smalls:
            self._assign_in(0.0)

    # Choosing.

    def _assign_in(self, delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time() + delay_s
        if self._timer and self._timer_at <= at:
            return
        if self._timer:
            self._timer.cancel()
        self._timer_at = at
        self._timer = loop.call_later(delay_s, self._assign) if delay_s else loop.call_soon(self._assign)

    def _assign(self) -> None:
        """Gives every blob without a source one, as far as there is room for more batches."""
        self._timer = None
        if self._closed:
            return
        now = time.monotonic()
        self._avoided = {member: until for member, until in self._avoided.items() if until > now}
        fetchers = self._fetchers()
        groups: dict[str, list[Small]] = defaultdict(list)
        waiting = [small for small in self._smalls.values() if small.source is None and small.wants]
        lost: list[Small] = []
        for small in sorted(waiting, key=lambda small: small.order):
            me = self._cluster.me
            passed_over = small.refused | small.failed | self._avoided.keys()
            holders = self._holdings.known(small.etag)
            denied = {me} if self._denials.find(small.remote.repo, now) else set()
            source = source_of(small.etag, fetchers, holders, passed_over | denied)
            if source is None and me in fetchers - passed_over:
                source = me  # the last one left: the token may have been replaced
            if self._alone.knows(small.etag):  # fetched here for others, or its file is just being closed
                if me in small.refused:
                    self._assign_in(FREED_S)
                else:
                    self._fetch_alone(small)
            elif source is None:
                lost.append(small)
            elif source == me:
                self._fetch_alone(small)
            else:
                groups[source].append(small)
        for member, smalls in groups.items():
            self._order(member, smalls)
        if lost:
            self._start(self._look(lost))

    def _order(self, member: str, smalls: list[Small]) -> None:
        by_etag = {small.etag: small for small in smalls}
        for batch in batches((small.etag, small.remote.file.size_bytes) for small in smalls):
            if self._batches[member] >= BATCHES_PER_MEMBER or self._batches.total() >= BATCHES_MAX:
                return
            self._batches[member] += 1
            chosen = [by_etag[etag] for etag in batch]
            for small in chosen:
                small.source = member
            self._start(self._receive(member, chosen))

    def _fetch_alone(self, small: Small) -> None:
        small.source = self._cluster.me
        small.no_source_since = None
        small.bridge = Bridge(small, self._ended_alone)
        self._alone.want(small.remote, small.order, small.bridge, small.bridge)

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("small blobs: unexpected failure", exc_info=error)

    async def _look(self, lost: list[Small]) -> None:
        """Nobody is left to ask: looks for new holders, and gives up what all refuse or what waited too long."""
        now = time.monotonic()
        for small in lost:
            small.no_source_since = small.no_source_since or now
            small.source = self._cluster.me  # in work: not to be assigned meanwhile
        await self._holdings.holders((small.etag, small.remote.file.size_bytes) for small in lost)
        for small in lost:
            small.source = None
            sources = (self._fetchers() | self._holdings.known(small.etag)) - small.refused
            assert small.no_source_since is not None
            if not sources - small.failed and now - small.no_source_since >= NO_SOURCE_S:
                self._end(small, {}, small.error or self._nobody())
            elif not sources and small.error is not None:
                self._end(small, {}, small.error)
            else:
                small.failed.clear()
        self._assign_in(LOOK_EVERY_S)

    def _nobody(self) -> DistdError:
        return HubUnreachable(self._endpoint, "no live member can fetch it")

    # Receiving.

    async def _receive(self, member: str, smalls: list[Small]) -> None:
        receiver = Receiver(self, member, smalls, self._blobs, self._pace)
        try:
            with self._pace.use():
                await self._ask(member, smalls, receiver)
        except (ClusterError, BadRecord, msgspec.MsgspecError) as error:
            log.info("%d small blobs from %s: %s", len(smalls), member, error)
            self._avoided[member] = time.monotonic() + AVOID_S
        finally:
            await receiver.close()
            self._batches[member] -= 1
            for small in smalls:
                if small.source == member:
                    small.source = None
                    small.failed.add(member)
                self._forget_unwanted(small)
            self._assign_in(0.0)

    async def _ask(self, member: str, smalls: list[Small], receiver: Receiver) -> None:
        order = SmallOrder(tuple(FileName.of(small.remote) for small in smalls))
        answer = await self._cluster.call(member, SMALL, msgspec.msgpack.encode(order), ORDER_S)
        ticket = msgspec.msgpack.decode(answer, type=Ticket).ticket
        sizes = [small.remote.file.size_bytes for small in smalls]
        limit_bytes = stream_bytes_max(sizes, int(STREAM_S_MAX))
        reader = RecordReader(sizes, receiver)
        await self._cluster.fetch(member, SMALL, {"ticket": ticket}, reader.take, limit_bytes, SILENCE_S)

    def may_open(self, small: Small) -> bool:
        """Whether a blob that a member sends is still to be taken from it."""
        return (
            self._smalls.get(small.etag) is small and bool(small.wants) and not self._alone.knows(small.etag)
        )

    def count(self, small: Small, member: str, size_bytes: int) -> None:
        """Bytes of it came from a member."""
        now = time.monotonic()
        self._received(member, size_bytes)
        small.no_source_since = None
        self._peers_meter.add(size_bytes, now)
        for want in small.wants:
            want.meter.add_from_peers(size_bytes, now)

    def got(self, small: Small, by_source: dict[str, int]) -> None:
        """It is verified."""
        self._end(small, by_source, None)

    def refused(self, small: Small, member: str, error: DistdError) -> None:
        """The member cannot give it, or gave wrong bytes: the next one may do better, unless none can."""
        small.refused.add(member)
        small.error = small.error or error
        if is_final(error):
            self._end(small, {}, error)
        else:
            small.source = None

    def broke(self, small: Small, error: DistdError) -> None:
        """This node's own disk failed: no other member helps."""
        self._end(small, {}, error)

    def wrong(self, small: Small, member: str, actual: str) -> None:
        self._tally.file_rejected()
        log.warning("%s sent other bytes than %s has", member, small.remote.file.path)
        for want in small.wants:
            path = small.remote.file.path
            want.listener.tell(
                "piece_rejected", f"{path}: {member} sent other bytes; another source is asked"
            )
        small.refused.add(member)
        small.source = None
        small.error = small.error or HashMismatch(small.remote.file.path, small.etag, actual)

    # Ends.

    def _ended_alone(self, small: Small, by_source: dict[str, int], error: DistdError | None) -> None:
        small.bridge = None
        if error is None or is_final(error) or isinstance(error, NoSpace | StorageFailed):
            self._end(small, by_source, error)
            return
        small.refused.add(self._cluster.me)
        self._denials.note(small.remote.repo, error, time.monotonic())
        small.error = error  # what this node's own token and network say is what its people can act on
        small.source = None
        self._assign_in(0.0)

    def _end(self, small: Small, by_source: dict[str, int], error: DistdError | None) -> None:
        if self._smalls.get(small.etag) is not small:
            return
        small.source = self._cluster.me
        del self._smalls[small.etag]
        for want in small.wants:
            if error is None:
                want.listener.blob_verified(small.etag, by_source)
            else:
                want.listener.blob_failed(small.etag, error)

    def _forget_unwanted(self, small: Small) -> None:
        unused = small.settled.is_set() and small.source is None
        if not small.wants and unused and self._smalls.get(small.etag) is small:
            del self._smalls[small.etag]
