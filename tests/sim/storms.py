"""Storms in the simulator: hundreds that join within a second, members that restart every few seconds.

``make storms`` prints a line for each. All that are there in the end have to publish, the tables have to agree, and nobody
that never stopped may have been believed dead by anybody. Bytes of gossip as real members would send them.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass

from peers.membership import Membership
from tests.sim.traffic import Traffic
from tests.sim.world import Shape, World

LIMIT_S = 300.0
FLAP_DOWN_S, FLAP_UP_S = 1.0, 4.0
COMPANY_AWAITED_S = 2.0
COPIES_MAX = 1.05
"""Two of forty pieces: those that die with their only holder, or are granted by two leads in the same moment."""


@dataclass(frozen=True)
class Line:
    what: str
    up: int
    published: int
    agreed: bool
    falsely_dead: int
    copies: float
    last_published_s: float
    agreed_s: float
    gossip_bytes_per_s: float
    gossip_most_bytes_per_s: float

    def __str__(self) -> str:
        return (
            f"{self.what}: {self.published} of {self.up} published, tables "
            f"{'agree' if self.agreed else 'differ'}, {self.falsely_dead} believed dead that never stopped, "
            f"{self.copies:.3f} Hub copies, the last published after "
            f"{self.last_published_s:.1f} s, all at rest after {self.agreed_s:.1f} s; gossip per member and second "
            f"{self.gossip_bytes_per_s:.0f} B, the one that says most {self.gossip_most_bytes_per_s:.0f} B"
        )


def joining(there: int, joiners: int, seed: int = 1, membership: type[Membership] = Membership) -> Line:
    """Members pull; within the first second ``joiners`` more start, knowing only whom to join, and pull too."""
    world = World(seed, Shape(members=there + joiners), membership_class=membership)
    world.start(names=world.names[:there])
    for name in world.names[there:]:
        world.time.at(world.rng.uniform(0.2, 1.2), starting(world, name))
    return measured(world, f"{joiners} join {there}", ends_s=1.3)


def flapping(
    members: int, flapping: int, for_s: float, seed: int = 1, membership: type[Membership] = Membership
) -> Line:
    """Some members are killed and started again every few seconds, while all pull."""
    world = World(seed, Shape(members=members), membership_class=membership)
    world.start()
    for name in world.names[2 : 2 + flapping]:  # not those that everybody joins by
        at = world.rng.uniform(0.2, FLAP_UP_S)
        while at < for_s:
            world.time.at(at, lambda name=name: world.kill(name))  # type: ignore[misc]  # bound now
            at += FLAP_DOWN_S * world.rng.uniform(0.5, 1.5)
            world.time.at(at, starting(world, name))
            at += FLAP_UP_S * world.rng.uniform(0.5, 1.5)
    return measured(
        world, f"{flapping} of {members} restart every {FLAP_DOWN_S + FLAP_UP_S:.0f} s", for_s + 2
    )


def starting(world: World, name: str) -> Callable[[], None]:
    """As a daemon does, it waits for company before it pulls."""
    node = world.nodes[name]

    def start() -> None:
        world.restart(name, wants=False)
        node.later(COMPANY_AWAITED_S, node.want)

    return start


def measured(world: World, what: str, ends_s: float) -> Line:
    traffic = world.traffic = Traffic(world.blob)
    world.run(
        ends_s + LIMIT_S,
        until=lambda: world.now > ends_s and world.all_done() and world.checks.tables_agree(),
    )
    up = [node for node in world.nodes.values() if node.up]
    said = [traffic.gossip_bytes[node.name] / world.now for node in up]
    return Line(
        what,
        len(up),
        sum(node.published for node in up),
        world.checks.tables_agree(),
        len(world.checks.believed_dead_falsely),
        world.hub.sent_bytes / world.blob.size_bytes,
        max(node.published_at for node in up),
        world.now,
        statistics.mean(said),
        max(said),
    )


def went_well(line: Line) -> bool:
    return line.published == line.up and line.agreed and not line.falsely_dead and line.copies <= COPIES_MAX


def main() -> int:
    lines = []
    for make in (
        lambda: joining(50, 200),
        lambda: joining(200, 200),
        lambda: flapping(100, 10, for_s=60.0),
        lambda: flapping(250, 25, for_s=60.0),
    ):
        lines.append(make())
        print(lines[-1], flush=True)
    return 0 if all(map(went_well, lines)) else 1


if __name__ == "__main__":
    sys.exit(main())
