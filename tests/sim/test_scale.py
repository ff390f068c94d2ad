"""``make scale`` at a size that takes a second; its lines for up to 1,000 members stand in bench/README.md."""

from __future__ import annotations

from peers.messages import SWARM_NAMES_MAX
from tests.sim.scale import run

COPIES_MAX = 1.02


def test_with_a_twentieth_dying_all_publish_and_connections_are_bounded() -> None:
    line = run(64, pieces=40)
    print(line)
    assert (line.living, line.published) == (61, 61)
    assert line.named_max <= SWARM_NAMES_MAX
    assert line.copies <= COPIES_MAX
