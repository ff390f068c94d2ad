"""What a simulation relies on beyond the port: virtual time, link rates, the same run every time."""

from __future__ import annotations

import pytest

from peers.memory_swarm import CONNECT_DELAY_S, MemoryNetwork, MemorySwarm
from peers.metainfo import Kind, hot_metainfo
from peers.swarm import PeerDisconnected, PieceArrived, SwarmEvent

MIB = 1 << 20
SIZE = 16 * MIB
METAINFO = hot_metainfo(b"secret", "blob", SIZE)


async def swarm_of(
    readers: int, send_bytes_per_s: float
) -> tuple[MemoryNetwork, list[tuple[float, int, SwarmEvent]]]:
    """One seed and some readers, all connected, run to the end; every event with its time and node."""
    network = MemoryNetwork()
    log: list[tuple[float, int, SwarmEvent]] = []
    nodes: list[MemorySwarm] = []
    for number in range(readers + 1):
        network.files[f"/{number}/blob"] = bytearray(SIZE)

        def emit(event: SwarmEvent, number: int = number) -> None:
            log.append((network.now, number, event))

        node = MemorySwarm(network, f"node{number}", emit, send_bytes_per_s=send_bytes_per_s)
        await node.open(
            METAINFO, f"/{number}/blob", [number == 0] * 16, [each.endpoint(Kind.HOT) for each in nodes]
        )
        nodes.append(node)
    while network.step():
        pass
    return network, log


async def test_a_link_carries_its_rate_and_no_more() -> None:
    network, log = await swarm_of(readers=1, send_bytes_per_s=8 * MIB)

    assert sum(isinstance(event, PieceArrived) for _, _, event in log) == 16
    assert network.now == pytest.approx(CONNECT_DELAY_S + SIZE / (8 * MIB))


async def test_readers_help_each_other_instead_of_sharing_the_seeds_link() -> None:
    network, log = await swarm_of(readers=8, send_bytes_per_s=8 * MIB)

    assert sum(isinstance(event, PieceArrived) for _, _, event in log) == 8 * 16
    assert network.now < CONNECT_DELAY_S + 3 * SIZE / (8 * MIB)  # from the seed alone: eight times


async def test_two_runs_are_the_same() -> None:
    (_, first), (_, second) = await swarm_of(3, 8 * MIB), await swarm_of(3, 8 * MIB)

    assert first == second


async def test_a_node_that_shuts_down_cuts_what_is_on_the_way() -> None:
    network = MemoryNetwork()
    events: list[SwarmEvent] = []
    network.files.update({"/seed/blob": bytearray(SIZE), "/reader/blob": bytearray(SIZE)})
    seed, reader = (
        MemorySwarm(network, "seed", lambda event: None),
        MemorySwarm(network, "reader", events.append),
    )
    await seed.open(METAINFO, "/seed/blob", [True] * 16)
    await reader.open(METAINFO, "/reader/blob", [False] * 16, [seed.endpoint(Kind.HOT)])
    while sum(isinstance(event, PieceArrived) for event in events) < 3:
        assert network.step()

    await seed.shutdown(timeout_s=1)
    while network.step():
        pass

    assert sum(isinstance(event, PieceArrived) for event in events) == 3
    assert sum(isinstance(event, PeerDisconnected) for event in events) == 1
