"""Taking over a file that someone else put on this disk, if it is the blob that is wanted.

The bytes that are hashed must be the bytes that are kept. A file of our own user is linked: it becomes
read-only, and its inode and times are compared before and after hashing. Any other file could be
changed by its owner later, so it is cloned (where the file system shares blocks) or copied, and the
clone or copy is hashed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from pathlib import Path

from distd.store.disk import reported_for
from distd.store.fingerprint import Fingerprint
from distd.store.hashing import block_buffer, hash_through
from distd.store.spans import write_buffers
from distd.store.use import open_unmarked
from distd.store.workers import StopFlag

FICLONE = 0x40049409
"""linux/fs.h: share all blocks of another file."""
NOT_CLONABLE_ERRNOS = frozenset(
    {errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.EPERM, errno.ENOSYS}
)
NOT_LINKABLE_ERRNOS = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOENT, errno.EOPNOTSUPP})
"""Another file system, a policy against it, too many links already: a copy still works."""


class WouldCopy(Exception):
    """The file can be neither linked nor cloned."""


def take_over(
    stop: StopFlag,
    source: Path,
    scratch_dir: Path,
    wanted: Fingerprint,
    mode: int,
    *,
    may_copy: bool = True,
) -> Path | None:
    """A file in `scratch_dir` with the content that is `wanted`, synced and of this mode, or None if `source` is not it.

    Runs in a thread. Raises Stopped, WouldCopy where that is needed and not allowed, NoSpace, StorageFailed (about the scratch directory; a source that
    cannot be read is not the blob).
    """
    try:
        fd = open_unmarked(source, os.O_NONBLOCK)
    except OSError:
        return None
    target = scratch_dir / secrets.token_hex(8)
    right = False
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode) or before.st_size != wanted.size_bytes:
            return None
        with reported_for(target, wanted.size_bytes):
            if _linked(source, target, before):
                right = hash_through(stop, fd, wanted) == wanted.etag and _unchanged(fd, before)
            else:
                right = _cloned_or_copied(stop, fd, target, wanted, may_copy) == wanted.etag
            if right:
                _seal(target, mode)
        return target if right else None
    finally:
        os.close(fd)
        if not right:
            target.unlink(missing_ok=True)


def _linked(source: Path, target: Path, expected: os.stat_result) -> bool:
    """Links our own user's file; False when it must be copied instead."""
    if expected.st_uid != os.geteuid():
        return False
    try:
        os.link(source.resolve(), target)
    except OSError as error:
        if error.errno in NOT_LINKABLE_ERRNOS:
            return False
        raise
    if os.path.samestat(os.lstat(target), expected):
        return True
    target.unlink()  # replaced by someone between open and link
    return False


def _unchanged(fd: int, before: os.stat_result) -> bool:
    after = os.fstat(fd)
    return (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def _cloned_or_copied(stop: StopFlag, fd: int, target: Path, state: Fingerprint, may_copy: bool) -> str:
    """Makes `target` a file of its own with the same content; returns what that content hashes to."""
    copy = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.ioctl(copy, FICLONE, fd)
            return hash_through(stop, copy, state)
        except OSError as error:
            if error.errno not in NOT_CLONABLE_ERRNOS:
                raise
        if not may_copy:
            raise WouldCopy
        os.posix_fallocate(copy, 0, max(1, state.size_bytes))
        os.ftruncate(copy, state.size_bytes)
        buffer, offset = block_buffer(), 0
        while count := os.preadv(fd, (buffer,), offset):
            stop.check()
            write_buffers(copy, (buffer[:count],), offset)
            state.update(buffer[:count])
            offset += count
        return state.hexdigest()
    finally:
        os.close(copy)


def _seal(path: Path, mode: int) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fchmod(fd, mode)
        os.fsync(fd)
    finally:
        os.close(fd)
