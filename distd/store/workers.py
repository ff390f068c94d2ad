"""Threads for disk work, so that the event loop never waits for a disk or a hash.

Four bounded pools: `disk` for writes, syncs and renames, `hashing` for the turns of blobs that arrive,
`long` for whole existing files, `tidying` for removals nobody waits for. One hop to a thread costs about 50 µs, so callers hand over a mebibyte or
more at a time.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

DISK_THREADS = max(2, min(4, os.cpu_count() or 2))
"""Two so that one may wait for the disk. More than cores only spin on the lock of the file they all write:

on two cores four threads took up to four times the system time of two for one blob (measured, ext4).
"""
HASH_THREADS = 4
"""Blobs hashed at once. One blob is one SHA-256 and so one core; four saturate 7 GB/s."""
LONG_THREADS = 2
"""Whole files verified or adopted at once: background work that must not hold up what arrives."""


class Stopped(Exception):
    """A long job noticed that its result is no longer wanted."""


class StopFlag:
    """Set by whoever no longer wants a job; the job calls `check` between blocks."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def check(self) -> None:
        """Raises Stopped once the flag is set."""
        if self._event.is_set():
            raise Stopped


def wanting_processor_s() -> float:
    """For how long this thread has computed, or waited for a processor that others had: not for a disk."""
    try:
        with open("/proc/thread-self/schedstat", encoding="ascii") as file:
            computed_ns, queued_ns, _ = file.read().split()
    except (OSError, ValueError):  # a kernel without it
        return time.thread_time()
    return (int(computed_ns) + int(queued_ns)) / 1e9


class WorkClock:
    """Bytes that threads worked through and the time it took them; of a part of that they computed, or would have on an
    idle processor, and did not wait for a disk.

    Threads call `add`; anybody reads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.total_bytes = 0
        self.busy_s = 0.0
        self.computing_s = 0.0

    def add(self, size_bytes: int, took_s: float, computed_s: float) -> None:
        with self._lock:
            self.total_bytes += size_bytes
            self.busy_s += took_s
            self.computing_s += computed_s


class Workers:
    """The thread pools of one store. `close` after everything that uses them is closed."""

    def __init__(self, disk_threads: int = DISK_THREADS, hash_threads: int = HASH_THREADS) -> None:
        self.hashed = WorkClock()
        self.disk = ThreadPoolExecutor(disk_threads, thread_name_prefix="store-disk")
        self.hashing = ThreadPoolExecutor(hash_threads, thread_name_prefix="store-hash")
        self.long = ThreadPoolExecutor(LONG_THREADS, thread_name_prefix="store-long")
        self.tidying = ThreadPoolExecutor(1, thread_name_prefix="store-tidy")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs short disk work in a thread. A cancelled caller gets its CancelledError when the work is done:

        what was begun on disk is finished before anything that follows can see it.
        """
        return await finished(self.disk.submit(function, *args, **kwargs))

    async def run_stoppable(
        self, function: Callable[Concatenate[StopFlag, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `run`, for a job that may turn long: it takes a StopFlag, which a cancelled caller sets."""
        flag = StopFlag()
        return await finished(self.disk.submit(function, flag, *args, **kwargs), on_cancel=flag.set)

    async def run_long(
        self, function: Callable[Concatenate[StopFlag, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `run_stoppable`, for a job that reads whole files."""
        flag = StopFlag()
        return await finished(self.long.submit(function, flag, *args, **kwargs), on_cancel=flag.set)

    async def tidied(self) -> None:
        """Returns when what was handed to `tidying` so far is done: its one thread keeps the order."""
        await finished(self.tidying.submit(int))

    def close(self) -> None:
        """Waits for what is running and ends the threads."""
        for pool in (self.disk, self.hashing, self.long, self.tidying):
            pool.shutdown(wait=True)


async def finished(future: Future[T], on_cancel: Callable[[], None] | None = None) -> T:
    """The result of a thread's future; on cancellation calls `on_cancel`, waits for the thread, then raises."""
    inner = asyncio.wrap_future(future)
    try:
        await asyncio.wait((inner,))
    except asyncio.CancelledError:
        if on_cancel is not None:
            on_cancel()
        await asyncio.wait((inner,))
        if not inner.cancelled():
            inner.exception()  # retrieved: the caller is gone
        raise
    return inner.result()
