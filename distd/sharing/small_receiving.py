"""One batch of small blobs arriving from a member: written, read back, hashed, and only then in the store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from distd.errors import DistdError, StorageFailed
from distd.pacing import Pacer
from distd.sharing.troubles import Trouble, error_of
from distd.store.blobs import BlobStore
from distd.store.hashing import PrefixHasher
from distd.store.incoming import IncomingBlob
from distd.store.spans import SpanWriter
from peers.pieces import piece_length_bytes

if TYPE_CHECKING:
    from distd.sharing.small import SmallBlobs
    from distd.sharing.small_state import Small

FINISHING_MAX = 8
"""Blobs hashed and renamed while the next ones arrive: the disk's waits overlap, open files stay few."""


class Receiver:
    """A `RecordTaker`. What it does not bring is for `SmallBlobs` to ask elsewhere; `close` it in a `finally`."""

    def __init__(
        self, parent: SmallBlobs, member: str, smalls: list[Small], blobs: BlobStore, pace: Pacer
    ) -> None:
        self._parent = parent
        self._pace = pace
        self._member = member
        self._smalls = smalls
        self._blobs = blobs
        self._writer: SpanWriter | None = None
        self._opened: dict[int, IncomingBlob] = {}
        """By index. A blob that this member refused may be arriving from another one: its file is not ours."""
        self._room = asyncio.Semaphore(FINISHING_MAX)
        self._finishing: set[asyncio.Task[None]] = set()

    async def begin(self, index: int) -> Callable[[bytes], Awaitable[None]]:
        """Opens the incoming file; a blob that is not wanted any more, or fetched here meanwhile, is read past."""
        small = self._smalls[index]
        self._writer = None
        await self._room.acquire()
        if not self._parent.may_open(small) or small.source != self._member:
            self._room.release()
            return self._pass
        small.settled.clear()
        try:
            size_bytes = small.remote.file.size_bytes
            incoming = await self._blobs.incoming(small.etag, size_bytes, piece_length_bytes(size_bytes))
            small.incoming = self._opened[index] = incoming
            self._writer = incoming.writer(0, "peers", lambda index, changed: None)
        except (DistdError, RuntimeError) as error:
            await self._give_up(index, error)
            return self._pass
        return lambda part: self._write(index, part)

    async def end(self, index: int) -> None:
        writer, self._writer = self._writer, None  # the next blob begins while this one is finished
        if writer is None:
            return
        task = asyncio.create_task(self._finish(index, writer))
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    def trouble(self, index: int, trouble: Trouble) -> None:
        small = self._smalls[index]
        if small.source == self._member:
            self._parent.refused(small, self._member, error_of(trouble, self._member))

    async def close(self) -> None:
        """Lets what is complete become verified; what is cut off keeps its journalled pieces."""
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            for task in tuple(self._finishing):
                task.cancel()
        await asyncio.gather(*self._finishing, return_exceptions=True)
        if self._writer:
            await self._writer.abandon()
        for index in tuple(self._opened):
            await self._close(index)

    async def _pass(self, part: bytes) -> None:
        """Bytes that nobody here wants."""

    async def _close(self, index: int) -> None:
        """Closes the file if it is open, and lets others have the blob."""
        small, incoming = self._smalls[index], self._opened.pop(index, None)
        if incoming is not None:
            await incoming.close()
            small.incoming = None
        small.settled.set()

    async def _write(self, index: int, part: bytes) -> None:
        await self._pace.pay(len(part))
        if self._writer is None:
            return
        try:
            await self._writer.write(part)
        except DistdError as error:
            writer, self._writer = self._writer, None
            await writer.abandon()
            await self._give_up(index, error)
        else:
            self._parent.count(self._smalls[index], self._member, len(part))

    async def _finish(self, index: int, writer: SpanWriter) -> None:
        small, incoming = self._smalls[index], self._opened[index]
        try:
            await writer.close()
            hasher = PrefixHasher(incoming)
            try:
                actual = await hasher.finish()
            finally:
                await hasher.close()
            if actual == small.etag:
                by_source = incoming.bytes_by_source()
                await self._blobs.accept(incoming, actual)
                await self._close(index)
                self._parent.got(small, by_source)
            else:
                await self._close(index)
                self._blobs.discard(small.etag)
                self._parent.wrong(small, self._member, actual)
            self._room.release()
        except (DistdError, RuntimeError, OSError) as error:
            await self._give_up(index, error)

    async def _give_up(self, index: int, error: Exception) -> None:
        """The disk failed under it, or another part of this program has the file."""
        small = self._smalls[index]
        await self._close(index)
        self._room.release()
        if not isinstance(error, DistdError):
            error = StorageFailed(small.remote.file.path, f"{type(error).__name__}: {error}")
        self._parent.broke(small, error)
