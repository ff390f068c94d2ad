"""Taking a blob that comes as one stream, beginning to end, into the store: written and hashed on the way.

It lies in the scratch directory until it is whole and right; a start empties that. Sizes in bytes.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from distd.errors import HashMismatch
from distd.store.blobs import BlobStore
from distd.store.disk import fsync_dir, reported_for, start_writeback
from distd.store.spans import write_buffers


class TakenBlob:
    """`open`, `write` each part in order, then `accept`; `drop` in any case at the end. Methods block: use threads."""

    def __init__(self, blobs: BlobStore, etag: str, size_bytes: int) -> None:
        self._blobs = blobs
        self._etag = etag
        self._size_bytes = size_bytes
        self._path = blobs.scratch_dir / secrets.token_hex(8)
        self._hash = blobs.fingerprint(etag, size_bytes)
        self._fd = -1
        self._offset = 0

    def open(self) -> None:
        """Takes the room. Raises NoSpace, StorageFailed."""
        with reported_for(self._path, self._size_bytes):
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.posix_fallocate(self._fd, 0, max(1, self._size_bytes))
            os.ftruncate(self._fd, self._size_bytes)

    def write(self, part: memoryview | bytes) -> None:
        """Raises NoSpace, StorageFailed."""
        with reported_for(self._path, self._size_bytes):
            write_buffers(self._fd, (memoryview(part),), self._offset)
            start_writeback(self._fd, self._offset, len(part))
        self._hash.update(part)
        self._offset += len(part)

    def accept(self, name: str) -> Path:
        """Makes it a verified blob. Raises HashMismatch, naming the file `name`, and StorageFailed."""
        actual = self._hash.hexdigest()
        if actual != self._etag:
            raise HashMismatch(path=name, expected=self._etag, actual=actual)
        target = self._blobs.path(self._etag)
        with reported_for(target):
            os.fdatasync(self._fd)
            os.fchmod(self._fd, self._blobs.file_mode)
            os.rename(self._path, target)
            self._blobs.keep_pieces(self._hash)
            fsync_dir(target.parent)
        return target

    def drop(self) -> None:
        """Closes it, and removes what was not accepted. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._path.unlink(missing_ok=True)
