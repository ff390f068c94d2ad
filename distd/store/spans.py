"""Writing a run of pieces while it arrives.

Idea: the receiver hands over chunks as they come from the socket; they are gathered, never joined, and
a few mebibytes at a time go to a thread that writes them with one pwritev, updates the piece's xxh3-128 and
journals each piece that became whole. One batch is on its way while the next is gathered, so receiving
and writing overlap and a writer holds at most two batches and a chunk. Sizes in bytes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

from distd.store.disk import disk_error, start_writeback
from distd.store.hashing import PieceDigest

if TYPE_CHECKING:
    from distd.store.incoming import IncomingBlob

BATCH_BYTES = 4 << 20
"""Handed to a thread at once. A hop costs about 50 µs and two changes of the interpreter lock's owner;
with 1 MiB the whole way of a GiB cost 15 % more CPU. Eight connections hold at most 72 MiB so."""
BATCH_BYTES_MIN = 1 << 20
"""Handed over when no batch is on its way: on a link slower than the disk a piece is journalled as soon
as it is whole, so that a kill loses little."""
IOV_MAX = os.sysconf("SC_IOV_MAX")
"""Buffers one pwritev may take."""


class SpanWriter:
    """Made by `IncomingBlob.writer`. Call `write` for each chunk in order, then `close`, both from one task."""

    def __init__(
        self, incoming: IncomingBlob, start_piece: int, source: str, on_piece: Callable[[int, bool], None]
    ) -> None:
        self._incoming = incoming
        self._source = source
        self._on_piece = on_piece
        self._offset = start_piece * incoming.piece_length_bytes
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._on_its_way: asyncio.Future[list[tuple[int, bytes]]] | None = None
        self._failure: BaseException | None = None
        self._closed = False
        # Used by one thread at a time: a batch starts only when the one before it is done.
        self._disk_offset = self._offset
        self._piece_digest = PieceDigest()

    @property
    def received_bytes_end(self) -> int:
        """Offset in the blob of the next byte expected."""
        return self._offset + self._gathered_bytes

    async def write(self, chunk: bytes) -> None:
        """Takes the next bytes; keeps `chunk` without copying it. Waits when the disk is slower than the sender.

        Raises ValueError beyond the end of the blob; NoSpace or StorageFailed for this or an earlier
        chunk, after which only `close` is left to do.
        """
        if self._failure is not None:
            raise self._failure
        if self._closed:
            raise RuntimeError("write after close")
        if self.received_bytes_end + len(chunk) > self._incoming.size_bytes:
            raise ValueError(f"more bytes than the {self._incoming.size_bytes} of {self._incoming.etag}")
        self._gathered.append(chunk)
        self._gathered_bytes += len(chunk)
        idle = self._on_its_way is None and self._gathered_bytes >= BATCH_BYTES_MIN
        if idle or self._gathered_bytes >= BATCH_BYTES:
            await self._settle()
            self._hand_over()

    async def close(self) -> None:
        """Stores what completes a piece and waits for it; bytes of an unfinished piece are dropped. Idempotent.

        Raises NoSpace or StorageFailed when the last batches failed. All `on_piece` calls have been made
        when it returns or raises.
        """
        if self._closed:
            return
        self._closed = True
        try:
            await self._settle()
            self._drop_unfinished()
            if self._gathered:
                self._hand_over()
                await self._settle()
        finally:
            await self.abandon()

    async def abandon(self) -> None:
        """Waits for the batch on its way, drops the rest. Idempotent, raises nothing of the disk's."""
        self._closed = True
        self._gathered.clear()
        self._gathered_bytes = 0
        if self._on_its_way is not None:
            await asyncio.wait((self._on_its_way,))
        self._incoming.leave(self)

    async def _settle(self) -> None:
        if self._on_its_way is not None:
            # asyncio.wait leaves the batch alone when this task is cancelled: the thread writes on regardless.
            await asyncio.wait((self._on_its_way,))
        if self._failure is not None:
            raise self._failure

    def _hand_over(self) -> None:
        length = self._incoming.piece_length_bytes
        start, end = self._offset, self._offset + self._gathered_bytes
        try:
            for index in range(start // length, -(-end // length)):
                self._incoming.begin(index, self)
        except Exception as error:
            self._failure = error
            raise
        batch, self._gathered = self._gathered, []
        self._offset, self._gathered_bytes = end, 0
        future: Future[list[tuple[int, bytes]]] = self._incoming.workers.disk.submit(self._store, batch)
        self._on_its_way = asyncio.wrap_future(future)
        self._on_its_way.add_done_callback(self._landed)

    def _landed(self, future: asyncio.Future[list[tuple[int, bytes]]]) -> None:
        self._on_its_way = None
        self._failure = future.exception()
        if self._failure is not None:
            return
        landed = [(i, self._incoming.landed(i, self._source, digest)) for i, digest in future.result()]
        for index, changed in landed:
            self._on_piece(index, changed)

    def _drop_unfinished(self) -> None:
        end = self.received_bytes_end
        surplus = 0 if end == self._incoming.size_bytes else end % self._incoming.piece_length_bytes
        while self._gathered and surplus:
            last = self._gathered.pop()
            kept = max(0, len(last) - surplus)
            self._gathered_bytes -= len(last) - kept
            surplus -= len(last) - kept
            if kept:
                self._gathered.append(last[:kept])

    def _store(self, batch: Sequence[bytes]) -> list[tuple[int, bytes]]:
        """In a thread: writes the batch, returns the pieces it completed with their digests, journalled."""
        incoming, parameters = self._incoming, self._incoming.parameters
        try:
            write_buffers(incoming.fd, batch, self._disk_offset)
            completed: list[tuple[int, bytes]] = []
            for chunk in batch:
                view = memoryview(chunk)
                while view:
                    index, inside = divmod(self._disk_offset, parameters.piece_length_bytes)
                    part = view[: parameters.piece_size(index) - inside]
                    self._piece_digest.update(part)
                    self._disk_offset += len(part)
                    view = view[len(part) :]
                    if inside + len(part) == parameters.piece_size(index):
                        digest = self._piece_digest.take()
                        incoming.journal.stored(index, self._source, digest)
                        completed.append((index, digest))
                        start = index * parameters.piece_length_bytes
                        start_writeback(incoming.fd, start, parameters.piece_size(index))
        except OSError as error:
            raise disk_error(
                error, incoming.path, needed_bytes=parameters.size_bytes - self._disk_offset
            ) from error
        return completed


def write_buffers(fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> None:
    """Writes all of `buffers` one after the other from `offset` on, whatever number or part a call takes."""
    pending: list[bytes | memoryview] = list(buffers)
    while pending:
        group, pending = pending[:IOV_MAX], pending[IOV_MAX:]
        written = os.pwritev(fd, group, offset)
        offset += written
        for position, buffer in enumerate(group):
            if written < len(buffer):
                pending = [memoryview(buffer)[written:], *group[position + 1 :], *pending]
                break
            written -= len(buffer)
