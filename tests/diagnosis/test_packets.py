"""A path on which large packets are lost, between real members: everything passes until a request is large."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from distd.sharing import packets
from distd.sharing.holdings import HOLDINGS, HoldingsAnswer, HoldingsQuestion
from peers.cluster import Cluster
from tests.cluster.worlds import Wire, World, until

FULL_PACKET_BYTES = 20_000
"""More than a small question with its headers and less than a large one."""


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.end()


async def answer(sender: str, body: bytes) -> bytes:
    msgspec.msgpack.decode(body, type=HoldingsQuestion)
    return msgspec.msgpack.encode(HoldingsAnswer())


async def two(world: World, wire: Wire) -> Cluster:
    """A member that sees the other behind `wire` alone."""
    far = await world.start("far", advertise=wire.address)
    listening = far._server._socket
    assert listening is not None
    wire.target = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    far.register(HOLDINGS, answer)
    near = await world.start("near", (wire.address,))
    near.register(HOLDINGS, answer)
    await until(lambda: "far" in near.live, "near knows far")
    return near


async def test_a_path_that_loses_large_packets_is_found(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packets, "PROBE_S", 0.5)
    wire = await world.wire()
    near = await two(world, wire)
    wire.alter_request = lambda data: b"" if len(data) > FULL_PACKET_BYTES else data
    (finding,) = await packets.packet_findings(near)
    assert (finding.name, finding.outcome) == ("mtu", "fail")
    assert "small messages reach far" in finding.detail
    assert "ping -M do" in finding.fix


async def test_a_path_that_passes_everything_is_well(world: World) -> None:
    near = await two(world, await world.wire())
    (finding,) = await packets.packet_findings(near)
    assert (finding.outcome, finding.detail) == ("ok", "large messages reach 1 members of 1 tried")


async def test_alone_there_is_nothing_to_say(world: World) -> None:
    assert await packets.packet_findings(await world.start("alone")) == []
