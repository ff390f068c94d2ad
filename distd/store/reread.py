"""Reads a stored file from the disk itself, slowly, to see whether it still has its hash.

The page cache is passed by where the file system can (O_DIRECT): what lies in it hides what the disk lost, and pushing a model
server's pages out of it would cost more than the reading. The thread asks for idle disk time. Sizes in bytes, times in seconds.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import time
from pathlib import Path

from distd.store.hashing import Hashing
from distd.store.use import open_unmarked
from distd.store.workers import StopFlag

BLOCK_BYTES = 1 << 20
"""Aligned for any disk; one read is over before anybody else's waits for long."""
IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
"""Number of the system call, which the C library does not wrap."""
IOPRIO_IDLE = 3 << 13
"""linux/ioprio.h: class idle, which the BFQ scheduler honours."""


def yield_disk() -> None:
    """This thread's reads come after everybody else's, where scheduler and service allow it; else nothing happens."""
    number = IOPRIO_SET.get(platform.machine())
    if number is not None:
        ctypes.CDLL(None, use_errno=True).syscall(number, 1, 0, IOPRIO_IDLE)


def reread(stop: StopFlag, path: Path, state: Hashing, rate_bytes_per_s: float) -> str:
    """What the file hashes to by `state`, read at no more than the rate. Runs in a thread. Raises Stopped, OSError."""
    fd = _opened(path)
    try:
        with mmap.mmap(-1, BLOCK_BYTES) as block:  # whole pages, as O_DIRECT demands
            began, offset = time.monotonic(), 0
            while count := os.preadv(fd, (block,), offset):
                stop.check()
                state.update(block[:count])
                offset += count
                early_s = offset / rate_bytes_per_s - (time.monotonic() - began)
                if early_s > 0:
                    time.sleep(early_s)
        return state.hexdigest()
    finally:
        os.close(fd)


def _opened(path: Path) -> int:
    try:
        return open_unmarked(path, os.O_DIRECT)
    except OSError:  # a file system without it; or the file is gone, which is found again
        return open_unmarked(path)
