"""What the store asks of a file system: room, hard links, durable names, early writeback.

Sizes in bytes. Nothing here knows what a blob is.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distd.errors import DistdError, NoSpace, StorageFailed

NO_SPACE_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})
"""A full disk and a used-up quota: the same thing to whoever has to make room."""

NOT_TOLD_ERRNOS = frozenset({errno.EINVAL, errno.EACCES, errno.EPERM})
"""No such call on that file system, or not ours to open: nothing is known about writing."""

SYNC_FILE_RANGE_WRITE = 2
"""linux/fs.h: start writing the dirty pages of the range, wait for none."""

_libc = ctypes.CDLL(None, use_errno=True)
_sync_file_range = getattr(_libc, "sync_file_range", None)  # musl before 1.1 and non-Linux have none
if _sync_file_range is not None:
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


def free_bytes(path: Path) -> int:
    """Bytes an unprivileged writer can still put on the file system that holds `path` (or will hold it)."""
    stats = os.statvfs(existing_ancestor(path))
    return stats.f_bavail * stats.f_frsize


def existing_ancestor(path: Path) -> Path:
    """`path` if it exists, else the nearest directory above it that does."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def hard_link_fault(store_dir: Path, hub_dir: Path) -> str | None:
    """Why files cannot be linked from one directory to the other, or None when they can; both must exist.

    Tried instead of compared: one device number can stand for two bind mounts, between which
    link(2) fails with EXDEV all the same.
    """
    name = f".distd-link-test-{secrets.token_hex(4)}"
    source, target = store_dir / name, hub_dir / f"{name}-target"
    try:
        with unlinked_after(source), unlinked_after(target):
            os.close(os.open(source, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            os.link(source, target)
    except OSError as error:
        if error.errno == errno.EXDEV:
            return f"{store_dir} and {hub_dir} are on different file systems; place them on one, files are hard-linked"
        return f"cannot link from {store_dir} to {hub_dir}: {error.strerror}"
    return None


def write_fault(path: Path) -> str | None:
    """Why nothing can be written to directory `path`, as far as its file system tells without being written to.

    A file system that gave up after an error of its disk says so to whoever syncs it, while its mount still counts as
    writable (ext4 of Linux 6.14 and later). Blocks for as long as the disk takes.
    """
    try:
        fsync_dir(path)
    except OSError as error:
        if error.errno not in NOT_TOLD_ERRNOS:
            return f"cannot be written: {error.strerror}"
    return None


def disk_error(error: OSError, path: Path | str, needed_bytes: int = 0) -> DistdError:
    """The error a person gets for `error`: NoSpace with the numbers of now, else StorageFailed."""
    if error.errno in NO_SPACE_ERRNOS:
        try:
            free = free_bytes(Path(path))
        except OSError:
            free = 0
        return NoSpace(needed_bytes=needed_bytes, free_bytes=free, reserve_bytes=0, path=str(path))
    return StorageFailed(path=str(path), reason=error.strerror or repr(error))


@contextmanager
def reported_for(path: Path | str, needed_bytes: int = 0) -> Iterator[None]:
    """Lets OSErrors of the body leave as `disk_error(error, path, needed_bytes)`."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, path, needed_bytes) from error


def umask() -> int:
    """The process's umask, read without setting it (os.umask would change it for other threads meanwhile)."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o022


def fsync_dir(path: Path) -> None:
    """Makes the names in directory `path` survive a power loss."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def start_writeback(fd: int, offset: int, length_bytes: int) -> None:
    """Asks the kernel to write this range to disk now and returns without waiting for it.

    Otherwise gigabytes stay dirty in the page cache until the one fdatasync before publishing has to
    wait for all of them. Only a hint: a file system that cannot do it loses nothing.
    """
    if _sync_file_range is not None:
        _sync_file_range(fd, offset, length_bytes, SYNC_FILE_RANGE_WRITE)


def write_durably(path: Path, content: bytes, scratch_dir: Path, mode: int = 0o644) -> None:
    """Replaces `path` by `content` in one step that survives a power loss; umask applies to `mode`.

    The temporary file lies in `scratch_dir` (same file system), so that nobody who lists the
    directory of `path` ever meets it.
    """
    temporary = scratch_dir / secrets.token_hex(8)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(fd)
        os.rename(temporary, path)
    except OSError:
        with unlinked_after(temporary):
            raise
    fsync_dir(path.parent)


@contextmanager
def unlinked_after(path: Path) -> Iterator[None]:
    """Removes the file `path`, if it is there, when the body ends."""
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
