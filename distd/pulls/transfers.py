"""Does what the fetch desk decides: opens incoming blobs, fetches spans, hashes, accepts.

One `Transfers` serves all pulls. Events go through one queue, so that an action's consequence is
never handled inside another's. Each piece of work is a task that ends in an event; a task that
outlives its blob reports to a desk that ignores it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any

from distd.core import desk_events as desk
from distd.core.desk import FetchDesk
from distd.core.estimate import Outlook
from distd.core.faults import FetchFailed
from distd.core.rates import Meter, SourceMeter
from distd.core.tally import Tally
from distd.errors import DistdError, StorageFailed
from distd.hub.fetcher import Fetcher, RemoteFile
from distd.pulls.supply import BlobListener
from distd.store.blobs import BlobStore
from distd.store.hashing import PrefixHasher
from distd.store.incoming import IncomingBlob

log = logging.getLogger(__name__)


@dataclass
class _Want:
    listener: BlobListener
    meter: SourceMeter


@dataclass(frozen=True)
class Released:
    """A blob given back by `Transfers.release`. Its incoming file is free when `closing` is done."""

    remote: RemoteFile
    order: desk.Order
    wants: tuple[tuple[BlobListener, SourceMeter], ...]
    closing: asyncio.Task[None]


@dataclass
class _Transfer:
    etag: str
    remote: RemoteFile
    order: desk.Order
    wants: list[_Want]
    incoming: IncomingBlob | None = None
    hasher: PrefixHasher | None = None
    fetches: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    stopping: set[asyncio.Task[None]] = field(default_factory=set)
    work: set[asyncio.Task[None]] = field(default_factory=set)
    hashing: bool = False
    arrived: bool = False
    before: dict[str, int] | None = None
    """Journalled bytes by source when it was wanted; what there is to show until it is open."""
    accepting: bool = False
    """Verified and on its way among the held blobs: the desk has forgotten it."""


class Transfers:
    """Blobs on their way from the Hub into the store. Use after the store and the fetcher are open."""

    def __init__(
        self,
        blobs: BlobStore,
        fetcher: Fetcher,
        *,
        piece_length_bytes: Callable[[int], int],
        connections: int,
        give_up_after_s: float,
        tally: Tally,
    ) -> None:
        self._tally = tally
        self._blobs = blobs
        self._fetcher = fetcher
        self._piece_length_bytes = piece_length_bytes
        self._desk = FetchDesk(connections=connections, give_up_after_s=give_up_after_s, rng=Random())
        self._transfers: dict[str, _Transfer] = {}
        self._closing: dict[str, asyncio.Task[None]] = {}
        self._events: deque[desk.Event] = deque()
        self._draining = False
        self._timer: asyncio.TimerHandle | None = None
        self.hub_meter = Meter()

    def want(self, remote: RemoteFile, order: desk.Order, listener: BlobListener, meter: SourceMeter) -> None:
        """Have the blob fetched; the listener hears of it. `meter` counts its bytes as they arrive."""
        file = remote.file
        transfer = self._transfers.get(file.etag)
        if transfer is None and self._blobs.has(file.etag, file.size_bytes):
            listener.blob_verified(file.etag, {"reused": file.size_bytes})  # another pull brought it
            return
        if transfer is None:
            before = self._blobs.incoming_bytes(file.etag)
            transfer = self._transfers[file.etag] = _Transfer(file.etag, remote, order, [], before=before)
        transfer.order = min(transfer.order, order)
        transfer.wants.append(_Want(listener, meter))
        if transfer.arrived:
            listener.blob_arrived(file.etag)
        if not transfer.accepting:
            self._post(desk.BlobWanted(file.etag, file.size_bytes, order))

    def drop(self, etag: str, listener: BlobListener, *, discard: bool) -> None:
        """This listener wants the blob no more; when nobody does, it stops. Idempotent.

        `discard` frees what is stored of it too.
        """
        transfer = self._transfers.get(etag)
        if transfer is not None:
            transfer.wants = [want for want in transfer.wants if want.listener is not listener]
            if transfer.wants:
                return
            self._post(desk.BlobDropped(etag))
            self._close_later(transfer, discard=discard)
        elif discard and (closing := self._closing.get(etag)):
            closing.add_done_callback(lambda _: self._discard_unwanted(etag))
        elif discard:
            self._blobs.discard(etag)

    def _discard_unwanted(self, etag: str) -> None:
        if etag not in self._transfers and etag not in self._closing:
            self._blobs.discard(etag)

    def knows(self, etag: str) -> bool:
        """Whether the blob is wanted here, or its incoming file is still being closed."""
        return etag in self._transfers or etag in self._closing

    def release_all(self, keep: Callable[[str], bool] = lambda _: False) -> list[Released]:
        """Stops all that has not wholly arrived and gives it back, for another way to go on with it, but for `keep`."""
        return [
            self._release(each)
            for each in list(self._transfers.values())
            if self._is_releasable(each) and not keep(each.etag)
        ]

    def _is_releasable(self, transfer: _Transfer) -> bool:
        return not transfer.arrived and not transfer.accepting and transfer.remote.file.size_bytes > 0

    def _release(self, transfer: _Transfer) -> Released:
        self._post(desk.BlobDropped(transfer.etag))
        self._close_later(transfer, discard=False)
        wants = tuple((want.listener, want.meter) for want in transfer.wants)
        return Released(transfer.remote, transfer.order, wants, self._closing[transfer.etag])

    def progress(self, etag: str) -> dict[str, int] | None:
        """Accepted bytes by source of a blob being fetched; None when it is not known here."""
        transfer = self._transfers.get(etag)
        if transfer is None:
            return None
        return transfer.incoming.bytes_by_source() if transfer.incoming else transfer.before

    def outlook(self, etag: str) -> Outlook | None:
        transfer = self._transfers.get(etag)
        return Outlook(transfer.hasher.hashed_bytes, None) if transfer and transfer.hasher else None

    def is_open(self, etag: str) -> bool:
        """Whether the incoming file exists at full length, so that its space is taken."""
        transfer = self._transfers.get(etag)
        return transfer is not None and transfer.incoming is not None

    def stalled_reason(self, etag: str) -> str | None:
        return self._desk.stalled_reason(etag, time.monotonic())

    def hub_paused_s(self) -> float:
        """How long the Hub's rate limit still forbids requests, as far as was heard here."""
        return self._desk.hub_paused_s(time.monotonic())

    async def close(self) -> None:
        """Stops everything; what is journalled stays."""
        if self._timer:
            self._timer.cancel()
        for transfer in list(self._transfers.values()):
            self._close_later(transfer, discard=False)
        await asyncio.gather(*self._closing.values(), return_exceptions=True)

    # Events and actions.

    def _post(self, event: desk.Event) -> None:
        self._events.append(event)
        if self._draining:
            return
        self._draining = True
        try:
            while self._events:
                for action in self._desk.handle(self._events.popleft(), time.monotonic()):
                    self._do(action)
        finally:
            self._draining = False
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        deadline = self._desk.next_deadline()
        if deadline is not None and deadline > time.monotonic():
            loop = asyncio.get_running_loop()
            delay_s = deadline - time.monotonic() + 0.001  # past it, not on it
            self._timer = loop.call_later(delay_s, self._post, desk.DeadlineReached())

    def _do(self, action: desk.Action) -> None:
        if isinstance(action, desk.StopFetch):
            self._stop_fetch(action.fetch_id)
            return
        transfer = self._transfers.get(action.etag)
        if transfer is None:
            return
        match action:
            case desk.OpenBlob(etag, size_bytes):
                self._spawn(transfer, self._open(transfer, etag, size_bytes))
            case desk.StartFetch():
                task = self._spawn(transfer, self._fetch(transfer, action))
                transfer.fetches[action.fetch_id] = task
                task.add_done_callback(lambda _: transfer.fetches.pop(action.fetch_id, None))
            case desk.HashBlob(_, again):
                self._start_hashing(transfer, again=again)
            case desk.AcceptBlob(_, actual):
                transfer.accepting = True
                self._spawn(transfer, self._accept(transfer, actual))
            case desk.FailBlob(etag, error):
                self._close_later(transfer, discard=False)
                for want in transfer.wants:
                    want.listener.blob_failed(etag, error)
            case desk.Tell(_, event, text):
                for want in transfer.wants:
                    want.listener.tell(event, f"{transfer.remote.file.path}: {text}")
                if event == "hash_mismatch":
                    transfer.arrived = False
                    for want in transfer.wants:
                        want.listener.blob_returned(transfer.etag)

    def _stop_fetch(self, fetch_id: int) -> None:
        for transfer in self._transfers.values():
            if task := transfer.fetches.get(fetch_id):
                task.cancel()
                transfer.stopping.add(task)
                task.add_done_callback(transfer.stopping.discard)

    def _spawn(self, transfer: _Transfer, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._guard(transfer, work))
        task.add_done_callback(lambda _: work.close())  # one cancelled before its first step was never begun
        transfer.work.add(task)
        task.add_done_callback(transfer.work.discard)
        return task

    async def _guard(self, transfer: _Transfer, work: Coroutine[Any, Any, None]) -> None:
        """Every failure of a piece of work becomes an event; what is not expected is logged as well."""
        try:
            await work
        except DistdError as error:
            self._post(desk.BlobBroke(transfer.etag, error))
        except Exception as error:
            log.exception("transfer of %s failed", transfer.etag)
            failure = StorageFailed(transfer.remote.file.path, f"{type(error).__name__}: {error}")
            self._post(desk.BlobBroke(transfer.etag, failure))

    # The work.

    async def _open(self, transfer: _Transfer, etag: str, size_bytes: int) -> None:
        if closing := self._closing.get(etag):
            await asyncio.wait([closing])
        piece_length_bytes = self._piece_length_bytes(
            max(1, size_bytes)
        )  # an empty blob has no pieces of any length
        transfer.incoming = await self._blobs.incoming(etag, size_bytes, piece_length_bytes)
        transfer.hasher = PrefixHasher(transfer.incoming, on_bad=lambda index: self._lost(etag, index))
        self._post(desk.BlobOpened(etag, piece_length_bytes, frozenset(transfer.incoming.have)))

    def _lost(self, etag: str, index: int) -> None:
        self._tally.piece_rejected("disk")
        self._post(desk.PieceLost(etag, index))

    async def _fetch(self, transfer: _Transfer, action: desk.StartFetch) -> None:
        assert transfer.incoming is not None
        length = transfer.incoming.piece_length_bytes
        if transfer.stopping:  # two writers in one piece would leave bytes that neither digest describes
            await asyncio.wait(tuple(transfer.stopping))

        def on_piece(index: int, changed: bool) -> None:
            if changed:  # a repair brought other bytes than the Hub had sent before
                self._tally.piece_rejected("hub")
            self._post(desk.PieceStored(action.fetch_id, action.etag, index, changed))

        writer = transfer.incoming.writer(action.start // length, "hub", on_piece)

        async def sink(chunk: bytes) -> None:
            now = time.monotonic()
            self.hub_meter.add(len(chunk), now)
            for want in transfer.wants:
                want.meter.add_from_hub(len(chunk), now)
            await writer.write(chunk)

        try:
            try:
                await self._fetcher.fetch(transfer.remote, action.start, action.end, sink)
            finally:
                await writer.close()
        except FetchFailed as failure:
            self._post(desk.FetchFaulted(action.fetch_id, failure.fault))
        else:
            self._post(desk.FetchEnded(action.fetch_id))

    def _start_hashing(self, transfer: _Transfer, *, again: bool) -> None:
        if not transfer.arrived:
            transfer.arrived = True
            for want in transfer.wants:
                want.listener.blob_arrived(transfer.etag)
        if not transfer.hashing:  # a piece lost and found again leaves the first one waiting for it
            transfer.hashing = True
            self._spawn(transfer, self._hash(transfer, again=again))

    async def _hash(self, transfer: _Transfer, *, again: bool) -> None:
        assert transfer.hasher is not None
        try:
            if again:
                transfer.hasher.restart()
            actual = await transfer.hasher.finish()
        finally:
            transfer.hashing = False
        if actual != transfer.etag:
            self._tally.file_rejected()
        self._post(desk.BlobHashed(transfer.etag, actual, actual == transfer.etag))

    async def _accept(self, transfer: _Transfer, actual: str) -> None:
        assert transfer.incoming is not None
        assert transfer.hasher is not None
        by_source = transfer.incoming.bytes_by_source()
        await transfer.hasher.close()
        try:
            await self._blobs.accept(transfer.incoming, actual)
        except DistdError as error:
            self._close_later(transfer, discard=False)
            for want in transfer.wants:
                want.listener.blob_failed(transfer.etag, error)
            return
        self._transfers.pop(transfer.etag, None)
        for want in transfer.wants:
            want.listener.blob_verified(transfer.etag, by_source)

    # Closing.

    def _close_later(self, transfer: _Transfer, *, discard: bool) -> None:
        if self._transfers.pop(transfer.etag, None) is None:
            return
        earlier = self._closing.get(transfer.etag)
        task = asyncio.create_task(self._close(transfer, earlier, discard=discard))
        self._closing[transfer.etag] = task

        def forget(done: asyncio.Task[None]) -> None:
            if self._closing.get(transfer.etag) is done:
                del self._closing[transfer.etag]

        task.add_done_callback(forget)

    async def _close(self, transfer: _Transfer, earlier: asyncio.Task[None] | None, *, discard: bool) -> None:
        if earlier:
            await asyncio.wait([earlier])
        work = set(transfer.work)
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        if transfer.hasher:
            await transfer.hasher.close()
        if transfer.incoming:
            await transfer.incoming.close()
        if discard:
            self._blobs.discard(transfer.etag)
