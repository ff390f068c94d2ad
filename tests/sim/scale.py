"""Clusters of growing size, a twentieth of each dying in the pull: ``make scale`` prints a line for each size.

All that live have to publish. Control traffic is what a member and its lead say to each other about the blob, and gossip, in
bytes as they would travel, from the start until the last has published.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import dataclass

from tests.sim.traffic import Traffic
from tests.sim.world import Shape, World

SIZES = (16, 64, 250, 1000)
DYING = 20
"""One of so many members dies."""
DIES_BEFORE_S = 4.0
LIMIT_S = 300.0
HEAD = (
    f"{'members':>8} {'published':>9} {'seconds':>8} {'Hub copies':>10} {'named, most':>11} "
    f"{'lead B/member/s':>15} {'gossip B/member/s':>17} {'run s':>6}"
)


@dataclass(frozen=True)
class Line:
    members: int
    living: int
    published: int
    took_s: float
    copies: float
    named_max: int
    lead_bytes_per_s: float
    gossip_bytes_per_s: float
    run_s: float

    def __str__(self) -> str:
        published = f"{self.published}/{self.living}"
        return (
            f"{self.members:8} {published:>9} {self.took_s:8.1f} {self.copies:10.3f} {self.named_max:11} "
            f"{self.lead_bytes_per_s:15.0f} {self.gossip_bytes_per_s:17.0f} {self.run_s:6.0f}"
        )


def run(members: int, pieces: int, seed: int = 2) -> Line:
    began = time.monotonic()
    world = World(seed, Shape(members=members, pieces=pieces))
    traffic = world.traffic = Traffic(world.blob)
    world.start()
    dying = world.rng.sample(world.names, members // DYING)
    for number, name in enumerate(dying):
        when = DIES_BEFORE_S * (number + 1) / (len(dying) + 1)
        world.time.at(when, lambda name=name: world.kill(name))  # type: ignore[misc]  # bound now
    world.run(LIMIT_S, until=lambda: world.now > DIES_BEFORE_S and world.all_done())
    living = [node for node in world.nodes.values() if node.up]
    names = [node.name for node in living]
    return Line(
        members,
        len(living),
        sum(node.published for node in living),
        max(node.published_at for node in living),
        world.hub.sent_bytes / world.blob.size_bytes,
        max(traffic.named.values(), default=0),
        statistics.mean(traffic.lead_bytes[name] for name in names) / world.now,
        statistics.mean(traffic.gossip_bytes[name] for name in names) / world.now,
        time.monotonic() - began,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pieces", type=int, default=40)
    parser.add_argument("sizes", type=int, nargs="*", default=SIZES)
    args = parser.parse_args()
    print(HEAD, flush=True)
    failed = False
    for members in args.sizes or SIZES:
        line = run(members, args.pieces)
        print(line, flush=True)
        failed = failed or line.published < line.living
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
