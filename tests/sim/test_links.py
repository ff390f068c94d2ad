"""Links of other widths than a fleet's: sharing is never slower than fetching alone, and a shared way to the Hub is used once."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from peers.member_actions import FoundMembersSlow
from tests.sim.world import MIB, Shape, World

OWN_WAY = 50e6
SLOWER_MAX = 1.10


def ran(shape: Shape) -> World:
    world = World(1, shape)
    world.start()
    assert world.run(600.0)
    assert all(node.published for node in world.nodes.values())
    return world


def copies(world: World) -> float:
    return world.hub.sent_bytes / world.blob.size_bytes


def told(world: World, name: str) -> list[FoundMembersSlow]:
    return [action for action in world.nodes[name].told if isinstance(action, FoundMembersSlow)]


def ways_of_their_own(members: int, narrower: float, **more: Any) -> Shape:
    """Each reaches the Hub by a way of its own, and the others by a link so many times narrower."""
    return Shape(
        *(members, 1000, 1 * MIB, OWN_WAY / narrower),
        hub_bytes_per_s=OWN_WAY,
        hub_link_bytes_per_s=100 * OWN_WAY,
        **more,
    )


@cache
def alone_s() -> float:
    return ran(ways_of_their_own(1, 1.0)).now


@pytest.mark.parametrize(("members", "narrower", "copies_max"), [(2, 4.0, 1.65), (2, 20.0, 2), (4, 4.0, 4)])
def test_members_with_wide_ways_to_the_hub_and_narrow_ones_between_them_are_done_as_soon_as_alone(
    members: int, narrower: float, copies_max: float
) -> None:
    world = ran(ways_of_their_own(members, narrower))
    assert world.now <= SLOWER_MAX * alone_s()
    assert copies(world) <= copies_max, "what members bring meanwhile is not fetched"
    for name in world.names:
        (once,) = told(world, name)
        assert once.wait_s > 2 * once.fetch_s


def test_two_sites_fetch_a_copy_each_and_not_one_for_each_member() -> None:
    world = ran(ways_of_their_own(4, 1.0, zones=2, between_zones_bytes_per_s=OWN_WAY / 20))
    assert world.now <= SLOWER_MAX * alone_s()
    assert copies(world) <= 2.2


@pytest.mark.parametrize(("members", "hub_link"), [(2, 50e6), (4, 10e6), (8, 10e6)])
def test_a_shared_way_to_the_hub_is_used_once(members: int, hub_link: float) -> None:
    world = ran(Shape(members, 200, 1 * MIB, hub_link, hub_link, hub_link))
    assert copies(world) <= 1.01
    assert not any(told(world, name) for name in world.names)


def test_a_shared_way_that_a_limit_of_the_cluster_tells_of_is_used_once_whatever_members_bring() -> None:
    world = ran(ways_of_their_own(2, 4.0, hub_down_cluster=OWN_WAY))
    assert copies(world) <= 1.01
