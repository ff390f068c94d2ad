"""``make scale`` at a size that takes a second; its lines for up to 1,000 members stand in bench/README.md."""

from __future__ import annotations

from peers.messages import SWARM_NAMES_MAX
from tests.sim.scale import run
from tests.sim.world import Shape, World

COPIES_MAX = 1.02


def test_with_a_twentieth_dying_all_publish_and_connections_are_bounded() -> None:
    line = run(64, pieces=40)
    print(line)
    assert (line.living, line.published) == (61, 61)
    assert line.named_max <= SWARM_NAMES_MAX
    assert line.copies <= COPIES_MAX


def across_zones(*, zones_told: bool) -> tuple[float, float]:
    """The share of the bytes between members that cross from one of two zones to the other, and how long it takes: of some
    seeds, since one alone takes up to a fifth more or less by chance."""
    crossed_bytes, moved_bytes, took_s = 0, 0, 0.0
    for seed in (5, 6, 7):
        world = World(seed, Shape(members=128, pieces=6, zones=2, zones_told=zones_told))
        world.start()
        assert world.run(300.0)
        assert all(node.published for node in world.nodes.values())
        crossed_bytes += world.swarms.crossed_bytes
        moved_bytes += world.swarms.moved_bytes
        took_s += world.now
    return crossed_bytes / moved_bytes, took_s


def test_fewer_bytes_cross_zones_where_they_are_known_and_all_complete() -> None:
    (blind, blind_s), (told, told_s) = across_zones(zones_told=False), across_zones(zones_told=True)
    print(
        f"across zones: {blind:.3f} in {blind_s:.1f} s where zones are not told, {told:.3f} in {told_s:.1f} s where they are"
    )
    assert told < 0.6 * blind
    assert told_s < 1.1 * blind_s
