"""A blob that is being filled: a preallocated file, the journal of its pieces, and who listens to both.

Idea: the file has its full length and its room from the start, so a full disk shows before the first
byte is fetched and pieces land in any order. All state lives on the event loop; only the bytes and the
journal's records are written by threads. A piece is in `have` exactly while its bytes are on disk,
journalled, and nobody writes over them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from distd.store.disk import disk_error, free_bytes, reported_for, unlinked_after
from distd.store.journal import SOURCES, Journal, Parameters, StoredPiece
from distd.store.spans import SpanWriter
from distd.store.workers import Workers

WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
JOURNAL_SUFFIX = ".journal"


class PieceWatcher(Protocol):
    """Follows what happens to the pieces of one blob; called on the event loop."""

    def piece_stored(self, index: int) -> None: ...

    def piece_lost(self, index: int) -> None: ...

    async def close(self) -> None: ...


class IncomingBlob:
    """Made by `BlobStore.incoming`; `close` it to go on another day, or `BlobStore.accept` / `discard` it.

    `have` is the set of stored pieces (read only for callers); `unchecked` those among them that only the
    journal of an earlier run vouches for. While `sealed` (being accepted) no writer may touch the file.
    """

    def __init__(self, path: Path, fd: int, journal: Journal, workers: Workers) -> None:
        self.path = path
        self.fd = fd
        self.journal = journal
        self.workers = workers
        self.parameters = journal.state.parameters
        self.have: set[int] = set(journal.state.pieces)
        self.unchecked: set[int] = set(self.have)
        self.closed = False
        self.sealed = False
        self._pieces: dict[int, StoredPiece] = dict(journal.state.pieces)
        self._lost_digests: dict[int, bytes] = {}
        self._bytes = journal.state.bytes_by_source()
        self._writers: dict[int, SpanWriter] = {}
        self._watchers: list[PieceWatcher] = []

    @property
    def etag(self) -> str:
        return self.parameters.etag

    @property
    def size_bytes(self) -> int:
        return self.parameters.size_bytes

    @property
    def piece_length_bytes(self) -> int:
        return self.parameters.piece_length_bytes

    @property
    def piece_count(self) -> int:
        return self.parameters.piece_count

    @property
    def complete(self) -> bool:
        """Whether every piece is stored. It says nothing about the whole file's hash."""
        return len(self.have) == self.piece_count

    @property
    def being_written(self) -> bool:
        return bool(self._writers)

    def bytes_by_source(self) -> dict[str, int]:
        """Stored bytes by where they came from: `hub`, `peers`, `reused`."""
        return dict(self._bytes)

    def digest(self, index: int) -> bytes:
        """xxh3-128 of a stored piece, 16 bytes, big-endian as xxhash gives it. Raises KeyError if not stored."""
        if index not in self.have:
            raise KeyError(index)
        return self._pieces[index].digest

    def digest_to_check(self, index: int) -> bytes | None:
        """The digest of a piece in `unchecked`, None for any other. May be called from any thread."""
        piece = self._pieces.get(index)
        return piece.digest if piece is not None and index in self.unchecked else None

    def writer(self, start_piece: int, source: str, on_piece: Callable[[int, bool], None]) -> SpanWriter:
        """Starts writing at the first byte of `start_piece`; close the writer in a `finally`.

        `on_piece(index, changed)` runs on the event loop when a piece is on disk and journalled; `changed`
        says that its digest differs from the one known before. A piece that is stored already is lost from
        `have` while it is written over. Raises ValueError for an unknown source or piece.
        """
        if source not in SOURCES:
            raise ValueError(f"unknown source {source!r}: one of {', '.join(SOURCES)}")
        if not 0 <= start_piece < self.piece_count:
            raise ValueError(f"piece {start_piece} of {self.piece_count}")
        self._check_open()
        return SpanWriter(self, start_piece, source, on_piece)

    def forget(self, pieces: Iterable[int]) -> None:
        """Takes these pieces out of `have`, now and in the journal; those not stored are skipped. Idempotent.

        They are then written anew by any writer. Raises NoSpace or StorageFailed.
        """
        lost = sorted(self.have.intersection(pieces))
        if not lost:
            return
        with reported_for(self.path):
            self.journal.forgotten(lost)
        for index in lost:
            piece = self._pieces.pop(index)
            self._lost_digests[index] = piece.digest
            self._bytes[piece.source] -= self.parameters.piece_size(index)
            self.have.discard(index)
            self.unchecked.discard(index)
            for watcher in tuple(self._watchers):
                watcher.piece_lost(index)

    def watch(self, watcher: PieceWatcher) -> None:
        """Tells `watcher` of every piece from now on, and closes it with the blob."""
        self._check_open()
        self._watchers.append(watcher)

    def unwatch(self, watcher: PieceWatcher) -> None:
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    def begin(self, index: int, writer: SpanWriter) -> None:
        """A writer is about to write into this piece. Raises RuntimeError if another one is at it:

        two streams in one piece would leave bytes on disk that neither digest describes.
        """
        self._check_open()
        if self._writers.setdefault(index, writer) is not writer:
            raise RuntimeError(f"piece {index} of {self.etag} is being written already")
        self.forget((index,))

    def landed(self, index: int, source: str, digest: bytes) -> bool:
        """A writer's piece is on disk and journalled. Returns whether it differs from what was known before."""
        self._writers.pop(index, None)
        known = self._lost_digests.pop(index, None)
        self._pieces[index] = StoredPiece(source, digest)
        self._bytes[source] += self.parameters.piece_size(index)
        self.have.add(index)
        for watcher in tuple(self._watchers):
            watcher.piece_stored(index)
        return known is not None and known != digest

    def note(self, index: int, source: str, digest: bytes) -> None:
        """Journals a piece that another program part wrote into the file and that was read back and compared.

        Idempotent for a piece that is stored. Raises NoSpace or StorageFailed.
        """
        self._check_open()
        if index in self.have:
            return
        with reported_for(self.path):
            self.journal.stored(index, source, digest)
        self.landed(index, source, digest)

    def leave(self, writer: SpanWriter) -> None:
        """A writer is closed: its unfinished piece is free for others."""
        for index in [index for index, owner in self._writers.items() if owner is writer]:
            del self._writers[index]

    async def close(self) -> None:
        """Ends writers and watchers, then closes the file. What is journalled stays for the next run. Idempotent."""
        if self.closed:
            return
        self.closed = True
        for writer in set(self._writers.values()):
            await writer.abandon()
        for watcher in tuple(self._watchers):
            await watcher.close()
        self.journal.close()
        os.close(self.fd)
        self.fd = -1  # never the number of another file that is opened next

    def _check_open(self) -> None:
        if self.closed or self.sealed:
            raise RuntimeError(f"{self.etag} is {'closed' if self.closed else 'being accepted'}")


def open_incoming(path: Path, parameters: Parameters, workers: Workers) -> IncomingBlob:
    """Opens or creates the file at full length with all its room, and its journal. Runs in a thread.

    The journal counts only when the file has exactly the length it speaks of. Raises NoSpace with the
    numbers (and leaves nothing of a new file behind) or StorageFailed.
    """
    journal_path = path.with_name(path.name + JOURNAL_SUFFIX)
    try:
        release(path)  # what is verified must not be written to
        stats = path.lstat()
        existed = stats.st_size == parameters.size_bytes
    except FileNotFoundError:
        existed = False
    needed_bytes = parameters.size_bytes
    with reported_for(path, needed_bytes):
        if existed and not stats.st_mode & stat.S_IWUSR:
            path.chmod(0o600)  # a crash came between closing the file to writers and giving it its new name
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if not existed:
                os.ftruncate(fd, 0)
            _reserve(fd, path, parameters.size_bytes)
            journal = Journal(journal_path, parameters, keep=existed)
        except BaseException:
            os.close(fd)
            if not existed:
                with unlinked_after(journal_path), unlinked_after(path):
                    pass
            raise
    return IncomingBlob(path, fd, journal, workers)


def release(path: Path) -> None:
    """Takes the name of a verified blob away that was kept for those who read it by that name. Idempotent.

    Such a file has other names, or had them until the blob was removed: then nothing may write to it and it has no
    journal. A file that is being filled keeps its only name.
    """
    with suppress(FileNotFoundError):
        stats = path.lstat()
        journal = path.with_name(path.name + JOURNAL_SUFFIX)
        verified = stats.st_nlink > 1 or (not stats.st_mode & WRITABLE and not journal.exists())
        if stat.S_ISREG(stats.st_mode) and verified:
            path.unlink()


def _reserve(fd: int, path: Path, size_bytes: int) -> None:
    """Gives the file its length and its blocks. A full disk must fail here, not at some piece in the middle."""
    if size_bytes == 0:
        return
    room_bytes = os.fstat(fd).st_blocks * 512
    try:
        os.posix_fallocate(fd, 0, size_bytes)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise disk_error(error, path, max(0, size_bytes - room_bytes)) from error
        # A file system without preallocation: the length at least, after asking for the room once.
        if free_bytes(path) < size_bytes - room_bytes:
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise disk_error(full, path, size_bytes - room_bytes) from error
        os.ftruncate(fd, size_bytes)
