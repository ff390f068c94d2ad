"""Hashes: the Hub's names for content, piece digests, and the hash that follows a blob while it arrives.

A 64-digit etag is the SHA-256 of the content, a 40-digit one git's SHA-1 of `blob <size>\\0` and the
content. Pieces are told apart by xxh3-128, which is fast and not safe against forgery: it decides
what to fetch again, never what is published.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol

import xxhash

from distd.errors import DistdError, StorageFailed
from distd.store.disk import disk_error
from distd.store.workers import StopFlag, wanting_processor_s

if TYPE_CHECKING:
    from distd.store.incoming import IncomingBlob

BLOCK_BYTES = 1 << 20
"""Read and hashed at once: under a millisecond, so stopping is prompt; large enough to make calls free."""
TURN_BYTES = 64 << 20
"""Hashed before a thread goes back to its pool, so that many blobs share few threads."""
TOLD_EVERY_S = 0.25
"""On a processor that others use a turn takes seconds: how fast it goes is told on the way, or estimates go by lumps."""
CHECKPOINT_PIECES = 16
"""The state is kept every so many pieces: a piece rewritten late costs hashing from there, not from zero."""

_buffers = threading.local()


class ContentHash(Protocol):
    """What hashlib's objects offer and is used here."""

    def update(self, data: bytes | memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...

    def copy(self) -> ContentHash: ...


class Hashing(Protocol):
    """A content hash that is not copied; what else it takes note of on the way is its own."""

    def update(self, data: bytes | memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


class PieceDigest:
    """xxh3-128 of one piece after the other; `take` returns the digest and starts the next."""

    def __init__(self) -> None:
        self._state = xxhash.xxh3_128()

    def update(self, data: bytes | memoryview) -> None:
        self._state.update(data)

    def take(self) -> bytes:
        digest = self._state.digest()
        self._state.reset()
        return digest


def piece_digest(data: bytes | memoryview) -> bytes:
    """xxh3-128 of a whole piece, as `IncomingBlob.digest` gives it."""
    return xxhash.xxh3_128_digest(data)


def content_hash(etag: str, size_bytes: int) -> ContentHash:
    """An empty hash of the kind that `etag` is, for content of this size. Raises ValueError for another length."""
    if len(etag) == 64:
        return hashlib.sha256(usedforsecurity=True)
    if len(etag) == 40:
        return hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)
    raise ValueError(f"{etag!r} is neither a SHA-256 nor a git SHA-1")


def block_buffer() -> memoryview:
    """This thread's read buffer. Kept, because a fresh mebibyte per read costs 256 page faults."""
    buffer: memoryview | None = getattr(_buffers, "block", None)
    if buffer is None:
        buffer = _buffers.block = memoryview(bytearray(BLOCK_BYTES))
    return buffer


def hash_open_file(stop: StopFlag, fd: int, etag: str) -> str:
    """Hex digest of the whole file by `etag`'s kind. Runs in a thread. Raises Stopped, OSError."""
    return hash_through(stop, fd, content_hash(etag, os.fstat(fd).st_size))


def hash_through(stop: StopFlag, fd: int, state: Hashing) -> str:
    """As `hash_open_file`, into `state`."""
    buffer, offset = block_buffer(), 0
    while count := os.preadv(fd, (buffer,), offset):
        stop.check()
        state.update(buffer[:count])
        offset += count
    return state.hexdigest()


class PrefixHasher:
    """Hashes an incoming blob from its beginning as far as pieces are stored, while others still arrive.

    Make it before or while pieces arrive; `finish` gives the hash when the last byte is in. Bytes are read
    back from the file: what is hashed is what will be published. A piece that is forgotten or written over
    behind the hash takes it back to the last kept state before that piece.

    Pieces that only the journal of an earlier run vouches for are checked against their digest on the way;
    a wrong one is forgotten and `on_bad(index)` is called on the event loop.
    """

    def __init__(self, incoming: IncomingBlob, on_bad: Callable[[int], None] | None = None) -> None:
        self._incoming = incoming
        self._on_bad = on_bad
        self._lock = threading.Lock()  # guards the three below between the loop and the hashing thread
        self._next = 0
        self._rewind_to: int | None = None
        self._stopped = False
        # Used by the hashing thread, of which there is one at a time.
        self._state = content_hash(incoming.etag, incoming.size_bytes)
        self._checkpoints: dict[int, ContentHash] = {0: self._state.copy()}
        self._told = (0.0, 0.0, 0)  # when, how much processor was wanted until then, up to which piece
        self._job: asyncio.Future[int | None] | None = None
        self._failure: DistdError | None = None
        self._changed = asyncio.Event()
        incoming.watch(self)
        self._advance()

    @property
    def hashed_bytes(self) -> int:
        """Length of the prefix that is hashed; it can shrink when a piece is written over."""
        return min(self._next * self._incoming.piece_length_bytes, self._incoming.size_bytes)

    def piece_stored(self, index: int) -> None:
        """Called by the blob."""
        self._advance()

    def piece_lost(self, index: int) -> None:
        """Called by the blob: what was hashed from this piece on is worth nothing."""
        with self._lock:
            if index < self._next or (index == self._next and self._job is not None):
                self._rewind_to = index if self._rewind_to is None else min(self._rewind_to, index)

    def restart(self) -> None:
        """Hashes again from the first byte, for instance for a repair pass; a failure to read is forgiven."""
        with self._lock:
            self._rewind_to = 0
        self._failure = None
        self._advance()

    async def finish(self) -> str:
        """Waits until every piece is stored and hashed; returns the hex digest, right or wrong.

        May be called again after a repair. Raises StorageFailed when the file cannot be read, RuntimeError
        when the hasher is closed meanwhile.
        """
        while True:
            self._changed.clear()
            if self._failure is not None:
                raise self._failure
            if self._stopped:
                raise RuntimeError(f"hashing {self._incoming.etag} was stopped")
            if self._job is None and self._next == self._incoming.piece_count and self._rewind_to is None:
                return self._state.hexdigest()
            await self._changed.wait()

    async def close(self) -> None:
        """Stops after the block being hashed. Idempotent."""
        with self._lock:
            self._stopped = True
        self._incoming.unwatch(self)
        if self._job is not None:
            await asyncio.wait((self._job,))
        self._changed.set()

    def _advance(self) -> None:
        """Starts a turn in a thread if there is something to hash and none is running."""
        if self._job is not None or self._stopped or self._failure is not None:
            return
        target = self._next if self._rewind_to is None else min(self._next, self._rewind_to)
        if target not in self._incoming.have:
            return
        future: Future[int | None] = self._incoming.workers.hashing.submit(self._turn)
        self._job = asyncio.wrap_future(future)
        self._job.add_done_callback(self._turn_over)

    def _turn_over(self, job: asyncio.Future[int | None]) -> None:
        self._job = None
        failure = job.exception()
        if isinstance(failure, OSError):
            self._failure = disk_error(failure, self._incoming.path)
        elif failure is not None:
            self._failure = StorageFailed(str(self._incoming.path), repr(failure))
        elif (bad := job.result()) is not None and bad in self._incoming.unchecked:
            self._drop(bad)
        self._advance()
        self._changed.set()

    def _drop(self, index: int) -> None:
        try:
            self._incoming.forget((index,))
        except DistdError as error:
            self._failure = error
            return
        if self._on_bad is not None:
            self._on_bad(index)

    def _turn(self) -> int | None:
        """In a thread: hashes pieces as long as there are any, at most TURN_BYTES. Returns a bad piece, if one is met."""
        self._told = (time.monotonic(), wanting_processor_s(), self._next)
        try:
            return self._turn_through()
        finally:
            self._tell()

    def _tell(self) -> None:
        """What was hashed since the last time, and how long that took."""
        (at, wanted, before), self._told = self._told, (time.monotonic(), wanting_processor_s(), self._next)
        hashed = max(0, self._next - before) * self._incoming.piece_length_bytes
        self._incoming.workers.hashed.add(hashed, self._told[0] - at, self._told[1] - wanted)

    def _turn_through(self) -> int | None:
        budget = TURN_BYTES
        while budget > 0:
            with self._lock:
                if self._stopped:
                    return None
                self._rewind()
                index = self._next
            if index not in self._incoming.have:
                return None
            checked = self._hash_piece(index)
            with self._lock:
                if checked is None or self._rewind_to is not None:
                    self._restore(index)
                elif not checked:
                    self._restore(index)
                    return index
                else:
                    self._next = index + 1
                    self._incoming.unchecked.discard(index)
                    if index % CHECKPOINT_PIECES:
                        self._checkpoints.pop(index, None)
            budget -= self._incoming.parameters.piece_size(index)
            if time.monotonic() - self._told[0] >= TOLD_EVERY_S:
                self._tell()
        return None

    def _hash_piece(self, index: int) -> bool | None:
        """Adds a piece to the state. False: it is not what the journal says; None: interrupted."""
        incoming = self._incoming
        expected = incoming.digest_to_check(index)
        if expected is not None or index % CHECKPOINT_PIECES == 0:
            self._checkpoints[index] = self._state.copy()
        digest = PieceDigest()
        offset = index * incoming.piece_length_bytes
        end = offset + incoming.parameters.piece_size(index)
        buffer = block_buffer()
        while offset < end:
            if self._stopped or self._rewind_to is not None:
                return None
            count = os.preadv(incoming.fd, (buffer[: end - offset],), offset)
            if count == 0:
                raise OSError(0, "the file is shorter than it was made")
            self._state.update(buffer[:count])
            if expected is not None:
                digest.update(buffer[:count])
            offset += count
        return expected is None or digest.take() == expected

    def _rewind(self) -> None:
        """Takes the state back to before the piece that was lost, if one was. Called with the lock held."""
        if self._rewind_to is not None:
            index, self._rewind_to = self._rewind_to, None
            self._restore(index)

    def _restore(self, index: int) -> None:
        """Sets the state to the last kept one at or before `index`; later ones are dropped."""
        kept = max(piece for piece in self._checkpoints if piece <= index)
        self._state = self._checkpoints[kept].copy()
        self._next = kept
        for piece in [piece for piece in self._checkpoints if piece > kept]:
            del self._checkpoints[piece]
