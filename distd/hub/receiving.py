"""How much a connection takes in ahead of its reader: much where nothing limits it, little under a bandwidth limit.

What is received and not read has crossed the link already. Linux lets a connection's window grow to megabytes while its
reader waits, and a fleet has tens of connections: at the start of a pull they took 70 MB at once, at a limit of 25 MB/s
(measured). A receive buffer of a fixed size ends that. It cannot be given back, so a connection that has one serves one
more span when the limit is gone, and is closed. `TCP_WINDOW_CLAMP`, which could be, is raised again by the kernel (measured, Linux 6.18).
"""

from __future__ import annotations

import asyncio
import socket
import weakref

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

    def _buffer_bytes(self) -> int:
        """0: the kernel decides."""
        wanted = int(self._pace.rate_bytes_per_s * WAY_S)
        return max(BUFFER_BYTES_MIN, wanted) if 0 < wanted <= BUFFER_BYTES_MAX else 0


def _bound(transport: asyncio.BaseTransport, buffer_bytes: int) -> bool:
    end = transport.get_extra_info("socket")
    if end is None:
        return False
    try:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    except OSError:  # closed just now
        return False
    return True
