"""How much a connection takes in ahead of its reader: much where nothing limits it, little under a bandwidth limit.

And how often its reader is woken. A body comes in some tens of kilobytes at a time, and each of them costs turns of the event
loop, a fifth of a fleet pull's CPU on its busiest thread (measured). `Gathering` lets the kernel wait for more (SO_RCVLOWAT).

What is received and not read has crossed the link already. Linux lets a connection's window grow to megabytes while its
reader waits, and a fleet has tens of connections: at the start of a pull they took 70 MB at once, at a limit of 25 MB/s
(measured). A receive buffer of a fixed size ends that. It cannot be given back, so a connection that has one serves one
more span when the limit is gone, and is closed. `TCP_WINDOW_CLAMP`, which could be, is raised again by the kernel (measured, Linux 6.18).
"""

from __future__ import annotations

import asyncio
import socket
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import aiohttp

from distd.pacing import Pacer

RECEIVE_BYTES = 1 << 20
"""Taken from a connection at once. A slow link never has so much waiting; a fast one saves turns."""
WAY_S = 0.05 / 6
"""A buffer holds so much of the limited rate: six connections then fill a link with a round trip of 50 ms."""
BUFFER_BYTES_MIN = 64 * 1024
"""TCP begins with as much."""
BUFFER_BYTES_MAX = 212_992
"""What Linux grants a program (`net.core.rmem_max`). Where the limit needs more, some 25 MB/s, the kernel decides."""
HELD_S = 0.1
"""A connection is made to wait for what it took in at once, and not for longer than this: low limits must not look like a stall."""
GATHERED_S = 0.15
"""The kernel gathers at most so much of a body's time: how much later a piece can be whole, and one that comes seven
times slower than before still moves every second."""
GATHERED_BYTES_MAX = 256 * 1024
"""From here on a turn costs little beside the copying."""
GATHERED_S_MAX = 0.5
"""Then whatever came is taken. The rate is known by the part before, which may have come at once where the next ones drip: of 37 kB/s a
quarter of a mebibyte takes 7 s, in which a lease without progress has lapsed, and the next connection begins in the same way (24 daemons
on a link of 300 kB/s had a tenth of a model after three minutes, and two copies sent)."""
RECORD_BYTES_MAX = 17 * 1024
"""A TLS record and its frame: so much of a body may have left the socket and not be readable yet."""


class ReceiveAhead:
    """Fits connections to the rate of a pacer: `fit` each answer before its body is read."""

    def __init__(self, pace: Pacer) -> None:
        self._pace = pace
        self._bounded: weakref.WeakSet[asyncio.BaseTransport] = weakref.WeakSet()

    def fit(self, response: aiohttp.ClientResponse) -> None:
        """One recv takes a mebibyte at most: a quarter of the turns of the event loop that asyncio's 256 KiB cost.

        `max_size` is an attribute of asyncio's selector transports; other transports simply gain one.
        """
        connection = response.connection
        transport = connection.transport if connection is not None else None
        if connection is None or transport is None:
            return
        transport.max_size = self._pace.part_bytes(RECEIVE_BYTES)  # type: ignore[attr-defined]  # see above
        buffer_bytes = self._buffer_bytes()
        if buffer_bytes and _bound(transport, buffer_bytes):
            self._bounded.add(transport)
        elif transport in self._bounded and connection.protocol is not None:
            connection.protocol.force_close()

    @contextmanager
    def gathering(self, response: aiohttp.ClientResponse) -> Iterator[Gathering]:
        """Around the reading of a body. Afterwards the connection wakes its reader for every byte, as it did before."""
        connection = response.connection
        transport = connection.transport if connection is not None else None
        end = transport.get_extra_info("socket") if transport is not None else None
        gathering = Gathering(end, self._pace, asyncio.get_running_loop())
        try:
            yield gathering
        finally:
            gathering.stop()

    def held_bytes(self) -> int:
        """What a connection takes in under the limit before its reader has paid for any of it."""
        rate = self._pace.rate_bytes_per_s
        buffer_bytes = max(BUFFER_BYTES_MIN, min(int(rate * WAY_S), BUFFER_BYTES_MAX))
        read_bytes = 2 * self._pace.ahead_bytes(RECEIVE_BYTES)  # aiohttp's high water
        return min(buffer_bytes + read_bytes, int(rate * HELD_S))

    def _buffer_bytes(self) -> int:
        """0: the kernel decides."""
        wanted = int(self._pace.rate_bytes_per_s * WAY_S)
        return max(BUFFER_BYTES_MIN, wanted) if 0 < wanted <= BUFFER_BYTES_MAX else 0


class Gathering:
    """`received` after each part; `end` is the body's socket, None where there is none any more."""

    def __init__(self, end: socket.socket | None, pace: Pacer, loop: asyncio.AbstractEventLoop) -> None:
        self._end = end
        self._pace = pace
        self._loop = loop
        self._enough: asyncio.TimerHandle | None = None
        self._low_bytes = 1
        self._received_at = time.monotonic()

    def received(self, size_bytes: int, left_bytes: int) -> None:
        """Waits for as much as comes in `GATHERED_S`, and never for more than certainly comes. Under a limit for nothing."""
        now = time.monotonic()
        took_s, self._received_at = max(now - self._received_at, 0.001), now
        low_bytes = min(
            int(size_bytes / took_s * GATHERED_S), GATHERED_BYTES_MAX, left_bytes - RECORD_BYTES_MAX
        )
        self._gather(1 if self._pace.rate_bytes_per_s else max(1, low_bytes))

    def stop(self) -> None:
        """Idempotent."""
        self._gather(1)

    def _gather(self, low_bytes: int) -> None:
        if self._enough is not None:
            self._enough.cancel()
        self._set(low_bytes)
        later = self._loop.call_later
        self._enough = later(GATHERED_S_MAX, self._set, 1) if low_bytes > 1 else None

    def _set(self, low_bytes: int) -> None:
        if self._end is None or low_bytes == self._low_bytes:
            return
        self._low_bytes = low_bytes
        with suppress(OSError):  # closed just now
            self._end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, low_bytes)


def _bound(transport: asyncio.BaseTransport, buffer_bytes: int) -> bool:
    end = transport.get_extra_info("socket")
    if end is None:
        return False
    try:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    except OSError:  # closed just now
        return False
    return True
