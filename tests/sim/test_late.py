"""Who comes late fetches its share; who is slow leaves the fetching to the others."""

from __future__ import annotations

from collections import Counter

from tests.sim.world import MIB, Shape, World

PIECES = 128
SHAPE = Shape(
    members=4,
    pieces=PIECES,
    piece_len_bytes=MIB,
    nic_bytes_per_s=12.5e6,
    hub_bytes_per_s=12.5e6,
    hub_link_bytes_per_s=12.5e6,
)
LONG_S = 300.0


def fetched(world: World) -> Counter[str]:
    """Pieces from the Hub by member."""
    counts: Counter[str] = Counter()
    for (name, _), pieces in world.hub.duplicates.items():
        counts[name] += pieces
    return counts


def test_who_comes_when_the_others_have_half_fetches_its_share_of_the_rest() -> None:
    world = World(0, SHAPE)
    *early, late = world.names
    world.start(wanting=early)
    first = world.nodes[early[0]]
    assert world.run(
        LONG_S,
        until=lambda: first.machine is not None and 2 * first.machine.table.secured.bit_count() >= PIECES,
    )
    before = fetched(world)
    world.nodes[late].want()
    assert world.run(LONG_S)
    share = {name: fetched(world)[name] - before[name] for name in world.names}
    print(f"fetched after it came: {share}")
    assert world.hub.sent_bytes == world.blob.size_bytes
    assert share[late] >= 0.7 * sum(share.values()) / len(world.names)


def test_who_has_a_link_ten_times_slower_fetches_hardly_anything() -> None:
    world = World(0, SHAPE)
    slow = world.names[-1]
    world.slow_link(slow, 10.0)
    world.start()
    assert world.run(LONG_S)
    print(f"fetched: {fetched(world)}")
    assert fetched(world)[slow] <= 0.1 * PIECES / len(world.names) + 2
