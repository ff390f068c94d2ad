"""The owner's side of small blobs: what others order is fetched from the Hub once and streamed to each.

Blobs go out in the order in which they become verified here. An asker that is gone lets go of its wants; what is still
wanted, here or by others, goes on. Sizes are bytes, times seconds.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from distd.core.rates import SourceMeter
from distd.errors import DistdError, HubUnreachable, InvalidRequest, StorageFailed
from distd.hub.fetcher import RemoteFile
from distd.pacing import Pacer
from distd.pulls.transfers import Transfers
from distd.sharing.denials import Denials
from distd.sharing.small_wire import SMALL, SMALL_BYTES, RecordKind, SmallOrder, Ticket, record
from distd.sharing.troubles import told
from distd.store.blobs import BlobStore
from peers.cluster import Cluster
from peers.cluster_errors import CallRefused

TICKETS_MAX = 256
"""Orders being served: each holds one mebibyte while it is sent."""
TICKETS_PER_MEMBER_MAX = 8
TICKET_S = 15.0
"""From the order to the beginning of its stream, which follows at once."""
SIGN_OF_LIFE_S = 2.0
PART_BYTES = 1 << 20
ORDER_FIRST = (-(2**31), 0)
"""Small blobs of others go before this node's own pulls: they are soon done, and a whole fleet waits for them."""


@dataclass
class _Served:
    """One order. A listener of `Transfers` for each blob that is fetched for it."""

    sender: str
    files: list[RemoteFile]
    ready: asyncio.Queue[tuple[int, DistdError | None]] = field(default_factory=asyncio.Queue)
    wants: dict[str, _Waiting] = field(default_factory=dict)
    waits: set[asyncio.Task[None]] = field(default_factory=set)
    expiry: asyncio.TimerHandle | None = None


class _Waiting:
    """Listens for one blob of one order; the pull's story is not told to others."""

    def __init__(self, ready: Callable[[DistdError | None], None]) -> None:
        self._ready = ready

    def blob_arrived(self, etag: str) -> None: ...

    def blob_returned(self, etag: str) -> None: ...

    def blob_verified(self, etag: str, by_source: dict[str, int]) -> None:
        self._ready(None)

    def blob_failed(self, etag: str, error: DistdError) -> None:
        self._ready(error)

    def tell(self, event: str, text: str) -> None: ...


class SmallServing:
    """Answers orders for small blobs. `open` after the cluster is made."""

    def __init__(
        self,
        cluster: Cluster,
        alone: Transfers,
        blobs: BlobStore,
        *,
        endpoint: str,
        may_fetch: bool,
        arriving: Callable[[str], Awaitable[object] | None],
        denials: Denials,
        sent: Callable[[str, int], None],
        pace: Pacer,
    ) -> None:
        """`arriving` is something to wait for while a blob comes to this node from another member; `sent` hears of the
        bytes that each member is given."""
        self._sent = sent
        self._pace = pace
        self._cluster = cluster
        self._alone = alone
        self._blobs = blobs
        self._endpoint = endpoint
        self._may_fetch = may_fetch
        self._arriving = arriving
        self._denials = denials
        self._served: dict[str, _Served] = {}

    def open(self) -> None:
        self._cluster.register(SMALL, self._on_order)
        self._cluster.register_stream(SMALL, self._on_stream)

    def close(self) -> None:
        for ticket in list(self._served):
            self._end(ticket)

    def serves(self, etag: str) -> bool:
        """Whether the blob is fetched for others."""
        return any(etag in served.wants for served in self._served.values())

    async def _on_order(self, sender: str, body: bytes) -> bytes:
        try:
            order = msgspec.msgpack.decode(body, type=SmallOrder)
            files = [name.remote() for name in order.files]
            if not all(0 < remote.file.size_bytes < SMALL_BYTES for remote in files):
                raise InvalidRequest("not a small blob")
        except (msgspec.MsgspecError, DistdError) as error:
            raise CallRefused("invalid_request", str(error)) from error
        of_sender = sum(served.sender == sender for served in self._served.values())
        if len(self._served) >= TICKETS_MAX or of_sender >= TICKETS_PER_MEMBER_MAX:
            raise CallRefused("busy", "too many orders at once", retryable=True)
        ticket = secrets.token_hex(16)
        served = self._served[ticket] = _Served(sender, files)
        for index in range(len(files)):
            self._begin(served, index)
        served.expiry = asyncio.get_running_loop().call_later(TICKET_S, self._end, ticket)
        return msgspec.msgpack.encode(Ticket(ticket))

    def _begin(self, served: _Served, index: int) -> None:
        remote = served.files[index]
        file = remote.file
        if self._blobs.has(file.etag, file.size_bytes):
            served.ready.put_nowait((index, None))
        elif (coming := self._arriving(file.etag)) is not None:
            task = asyncio.create_task(self._begin_after(served, index, coming))
            served.waits.add(task)
            task.add_done_callback(served.waits.discard)
        elif not self._may_fetch:
            refusal = HubUnreachable(self._endpoint, f"hub.fetch is off on {self._cluster.me}")
            served.ready.put_nowait((index, refusal))
        elif denied := self._denials.find(remote.repo, time.monotonic()):
            served.ready.put_nowait((index, denied))
        elif file.etag in served.wants:  # named twice
            served.ready.put_nowait((index, StorageFailed(file.path, "ordered twice")))
        else:
            waiting = _Waiting(lambda error: self._ready(served, index, error))
            served.wants[file.etag] = waiting
            self._alone.want(remote, (*ORDER_FIRST, index), waiting, SourceMeter())

    async def _begin_after(self, served: _Served, index: int, coming: Awaitable[object]) -> None:
        await coming
        self._begin(served, index)

    def _ready(self, served: _Served, index: int, error: DistdError | None) -> None:
        served.wants.pop(served.files[index].file.etag, None)
        if error is not None:
            self._denials.note(served.files[index].repo, error, time.monotonic())
        served.ready.put_nowait((index, error))

    def _end(self, ticket: str) -> None:
        served = self._served.pop(ticket, None)
        if served is None:
            return
        if served.expiry:
            served.expiry.cancel()
        for task in served.waits:
            task.cancel()
        for etag, waiting in list(served.wants.items()):
            self._alone.drop(etag, waiting, discard=False)

    async def _on_stream(self, sender: str, query: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        ticket = query.get("ticket", "")
        served = self._served.get(ticket)
        if served is None or served.sender != sender or served.expiry is None:
            raise CallRefused("not_found", "no such order")
        served.expiry.cancel()
        served.expiry = None
        try:
            left = len(served.files)
            while left:
                try:
                    async with asyncio.timeout(SIGN_OF_LIFE_S):
                        index, error = await served.ready.get()
                except TimeoutError:
                    if self._is_at_it(served):
                        yield record(0, RecordKind.SIGN_OF_LIFE)
                    continue
                left -= 1
                async for part in self._parts(sender, index, served.files[index], error):
                    yield part
        finally:
            self._end(ticket)

    def _is_at_it(self, served: _Served) -> bool:
        """Whether it is worth waiting: the Hub's bytes flow, or its quota is used up and would be for the next, too."""
        flowing = self._alone.hub_meter.rate(2 * SIGN_OF_LIFE_S, time.monotonic()) > 0
        return bool(served.wants) and (flowing or self._alone.hub_paused_s() > 0)

    async def _parts(
        self, member: str, index: int, remote: RemoteFile, error: DistdError | None
    ) -> AsyncGenerator[bytes, None]:
        """The record of one blob; trouble for one that vanished meanwhile."""
        size_bytes = remote.file.size_bytes
        fd = -1
        if error is None:
            try:
                fd = await asyncio.to_thread(_opened, self._blobs.path(remote.file.etag), size_bytes)
            except OSError as fault:
                error = StorageFailed(remote.file.path, f"{fault.strerror or fault}")
        if error is not None:
            yield record(index, RecordKind.TROUBLE, msgspec.msgpack.encode(told(error)))
            return
        try:
            start = 0
            with self._pace.use():
                while start < size_bytes:
                    length = min(self._pace.part_bytes(PART_BYTES), size_bytes - start)
                    part = await asyncio.to_thread(os.pread, fd, length, start)
                    await self._pace.pay(len(part))
                    self._sent(member, len(part))
                    yield part if start else record(index, RecordKind.CONTENT, part, size_bytes)
                    start += len(part)
        finally:
            with suppress(OSError):
                os.close(fd)


def _opened(path: Path, size_bytes: int) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if os.fstat(fd).st_size != size_bytes:
        os.close(fd)
        raise OSError(0, "it has another length")
    return fd
