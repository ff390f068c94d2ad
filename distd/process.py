"""What concerns the process as such: one daemon per state directory, the allocator, the interpreter lock."""

from __future__ import annotations

import ctypes
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distd.errors import StorageFailed


@contextmanager
def only_daemon(state_dir: Path) -> Iterator[None]:
    """Holds the state directory's lock: two daemons on one store would undo each other's work.

    Creates the directory. Raises StorageFailed, also when another daemon runs on it.
    """
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(state_dir / "distd.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        reason = f"{error.strerror}: set node.state_dir to a directory of this user"
        raise StorageFailed(str(state_dir), reason) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise StorageFailed(str(state_dir), "another distd runs on this state directory") from error
    try:
        yield
    finally:
        os.close(lock)


def tune_interpreter() -> None:
    """Hands the interpreter lock over after 0.5 ms instead of 5.

    A hashing or writing thread that needs it for microseconds otherwise waits whole milliseconds for
    the busy event loop, and the disk and the SHA-256 with it (1 GiB from a local Hub took 1.4 times as
    long).
    """
    sys.setswitchinterval(0.0005)


def tune_allocator() -> None:
    """Keeps glibc from returning every network buffer to the kernel and faulting it in again.

    Without it a download costs 18,000 to 166,000 page faults per GiB and up to twice the CPU. Ignored
    where the C library has no mallopt.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_trim_threshold, m_mmap_threshold = -1, -3  # malloc.h
        mallopt(m_mmap_threshold, 32 * 2**20)
        mallopt(m_trim_threshold, 64 * 2**20)
