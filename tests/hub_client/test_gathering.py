"""How the kernel gathers what comes of a body: more at a time, and never more than is still to come."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Iterator

import pytest

from distd.hub.receiving import GATHERED_BYTES_MAX, GATHERED_S_MAX, RECORD_BYTES_MAX, Gathering
from distd.pacing import Pacer

MIB = 1 << 20


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    with near, far:
        near.setblocking(False)
        yield near, far


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def low_bytes(end: socket.socket) -> int:
    return end.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)


def test_it_follows_the_rate_up_to_a_bound_and_never_waits_for_more_than_is_left(
    ends: tuple[socket.socket, socket.socket], loop: asyncio.AbstractEventLoop
) -> None:
    near, _ = ends
    gathering = Gathering(near, Pacer(), loop)
    gathering.received(64 * MIB, 64 * MIB)
    assert low_bytes(near) == GATHERED_BYTES_MAX
    gathering.received(64 * MIB, 100_000)
    assert low_bytes(near) == 100_000 - RECORD_BYTES_MAX
    gathering.received(64 * MIB, RECORD_BYTES_MAX)
    assert low_bytes(near) == 1
    gathering.received(64 * MIB, MIB)
    gathering.stop()
    assert low_bytes(near) == 1


def test_under_a_limit_and_on_a_connection_that_is_gone_nothing_is_gathered(
    ends: tuple[socket.socket, socket.socket], loop: asyncio.AbstractEventLoop
) -> None:
    near, _ = ends
    pace = Pacer()
    pace.set_rate(1_000_000)
    Gathering(near, pace, loop).received(64 * MIB, 64 * MIB)
    assert low_bytes(near) == 1
    Gathering(None, Pacer(), loop).received(64 * MIB, 64 * MIB)
    near.close()
    Gathering(near, Pacer(), loop).received(64 * MIB, 64 * MIB)


def test_whoever_waits_is_woken_when_gathering_ends_and_by_the_end_of_the_stream(
    ends: tuple[socket.socket, socket.socket], loop: asyncio.AbstractEventLoop
) -> None:
    near, far = ends
    poll = select.poll()
    poll.register(near, select.POLLIN)
    gathering = Gathering(near, Pacer(), loop)
    gathering.received(64 * MIB, 64 * MIB)
    far.send(b"little")
    assert poll.poll(0) == []
    gathering.stop()
    assert poll.poll(5000)
    gathering.received(64 * MIB, 64 * MIB)
    assert poll.poll(0) == []
    far.shutdown(socket.SHUT_WR)
    assert poll.poll(5000)


def test_what_drips_after_a_part_that_came_at_once_is_taken_soon(
    ends: tuple[socket.socket, socket.socket], loop: asyncio.AbstractEventLoop
) -> None:
    near, far = ends
    gathering = Gathering(near, Pacer(), loop)
    gathering.received(16 * 1024, MIB)
    assert low_bytes(near) == GATHERED_BYTES_MAX

    async def taken() -> bytes:
        async with asyncio.timeout(10 * GATHERED_S_MAX):
            waiting = loop.create_task(loop.sock_recv(near, MIB))
            await asyncio.sleep(0)
            far.send(b"little")
            return await waiting

    assert loop.run_until_complete(taken()) == b"little"
    gathering.received(6, MIB)
    gathering.stop()
