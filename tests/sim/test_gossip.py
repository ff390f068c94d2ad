"""The membership tables of many members under deaths, restarts, loss and partitions, without any pull beside."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from peers.invariants import InvariantViolated, require
from peers.membership import WHOLES_PER_ROUND, GossipReceived, MemberEntry, Membership, MemberState, Said
from peers.roster import BUCKETS, Roster
from tests.sim import storms
from tests.sim.traffic import Traffic
from tests.sim.world import Shape, World

GOSSIP_IN_A_STORM_MAX = 20_000.0
"""Bytes per member and second: two tables of 50 lines and room."""

COPIES_IN_A_STORM_MAX = 1.02
"""A lead that came takes over from the former one without both granting the same pieces, and what ended meanwhile stays ended."""

LEAD_FLAPS = 5
"""A seed in which one of those that restart is the first to lead."""

AGREED_WITHIN_S = 60.0
"""After the last fault: a suspicion, a few tries at the dead, and the spreading of what they then say."""


def run(seed: int, membership_class: type[Membership] = Membership, older: int = 0) -> World:
    """A drawn cluster with drawn faults; in the end all tables agree with who is there."""
    rng = random.Random(f"gossip {seed}")
    world = World(seed, Shape(members=rng.choice((5, 12, 40, 70))), membership_class=membership_class)
    for name in world.names[:older]:
        world.nodes[name].is_older = True
    late = world.names[len(world.names) - rng.randrange(3) :]
    world.start(wanting=[], names=[name for name in world.names if name not in late])
    for name in late:
        world.time.at(rng.uniform(1.0, 20.0), lambda name=name: world.restart(name, wants=False))  # type: ignore[misc]  # bound now
    for _ in range(rng.randrange(1, 5)):
        some = rng.sample(world.names, rng.randrange(1, max(2, len(world.names) // 3)))
        rest = [name for name in world.names if name not in some]
        begins, ends, share = rng.uniform(0.0, 20.0), rng.uniform(21.0, 40.0), rng.uniform(0.02, 0.2)
        fault = rng.choice(("kill", "restart", "loss", "partition"))
        for name in some if fault in ("kill", "restart") else ():
            world.time.at(begins, lambda name=name: world.kill(name))  # type: ignore[misc]
            if fault == "restart":
                world.time.at(ends, lambda name=name: world.restart(name, wants=False))  # type: ignore[misc]
        if fault == "loss":
            world.time.at(begins, lambda share=share: world.lossy(share))  # type: ignore[misc]
            world.time.at(ends, lambda: world.lossy(0.0))
        if fault == "partition":
            world.time.at(begins, lambda some=some, rest=rest: world.partition(some, rest))  # type: ignore[misc]
            world.time.at(ends, world.heal)
    agreed = world.run(40.0 + AGREED_WITHIN_S, until=lambda: world.now > 40.0 and world.checks.tables_agree())
    for node in world.nodes.values():
        world.checks.thorough(node)
    require(agreed, "tables agree in the end", seed=seed)
    return world


@pytest.mark.parametrize("older", [0, 3], ids=["one wire version", "three members of the one below"])
def test_whatever_happens_tables_agree_in_the_end(older: int) -> None:
    for seed in range(6):
        run(seed, older=older)


def rules_broken(membership_class: type[Membership]) -> set[str]:
    for seed in range(30):
        try:
            run(seed, membership_class)
        except InvariantViolated as violated:
            return {violated.rule}
    return set()


class SilentMembership(Membership):
    """Does not tell where tables differ."""

    def answer(self, sender: str, asked: Said, now: float) -> Said:
        return super().answer(sender, replace(asked, sums=self._roster.sums()), now)


class MeekMembership(Membership):
    """Does not refute."""

    def _refute(self, told: MemberEntry, now: float) -> None:
        pass


class TalkativeMembership(Membership):
    """Tells everybody everything."""

    def say(self, address: str, now: float) -> Said:
        return Said(self.table(), self._roster.sums(), len(self._roster))


class StuckRoster(Roster):
    """Forgets to take a replaced line out of its sum."""

    def put(self, entry: MemberEntry, now: float, *, is_news: bool = True) -> None:
        self.lines.pop(entry.name, None)
        super().put(entry, now, is_news=is_news)


class StuckMembership(Membership):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        roster = StuckRoster()
        for line in self._roster.lines.values():
            roster.put(line.entry, line.since, is_news=False)
        self._roster = roster


@pytest.mark.parametrize(
    ("planted", "rule"),
    [
        (SilentMembership, "tables agree in the end"),
        (MeekMembership, "tables agree in the end"),
        (TalkativeMembership, "what is said is bounded"),
        (StuckMembership, "a table's sums are those of its lines"),
    ],
)
def test_a_planted_fault_is_seen(planted: type[Membership], rule: str) -> None:
    assert rules_broken(planted) == {rule}


def test_what_a_calm_cluster_says_does_not_grow_with_it() -> None:
    per_member = {}
    for members in (32, 160):
        world = World(1, Shape(members=members))
        traffic = world.traffic = Traffic(world.blob)
        world.start(wanting=[])
        world.run(10.0, until=lambda: False)
        per_member[members] = traffic.gossip_bytes.total() / members / 10.0
        assert not world.checks.believed_dead_falsely
    assert per_member[160] < 1.1 * per_member[32] < 1500.0, per_member


def test_a_death_is_known_to_all_as_quickly_as_suspicion_allows() -> None:
    world = World(3, Shape(members=60))
    world.start(wanting=[])
    world.time.at(5.0, lambda: world.kill("n7"))
    assert world.run(40.0, until=lambda: world.now > 5.0 and world.checks.tables_agree())
    alive = world.nodes["n0"].membership
    assert alive is not None
    assert world.now < 5.0 + alive.suspicion_s() + 10.0


def test_a_newcomer_gets_the_whole_table_at_once_and_of_hundreds_most_from_others() -> None:
    world = World(1, Shape(members=100))
    world.start(wanting=[])
    table = world.nodes["n0"].membership
    assert table is not None
    sizes = []
    for number in range(100):
        asked = Said((), (0,) * BUCKETS, members=1)
        table.handle(GossipReceived(f"new{number}", ()), 0.1)
        sizes.append(len(table.answer(f"new{number}", asked, 0.1).lines))
    assert sizes[:3] == [100, 100, 100]
    assert max(sizes[WHOLES_PER_ROUND:]) < 40


def test_after_a_storm_of_joiners_and_beside_flapping_members_all_publish_and_nobody_is_believed_dead() -> (
    None
):
    for line in (storms.joining(10, 40), storms.flapping(24, 3, for_s=20.0, seed=LEAD_FLAPS)):
        print(line)
        assert line.copies <= COPIES_IN_A_STORM_MAX
        assert storms.went_well(line), str(line)
        assert line.gossip_bytes_per_s < GOSSIP_IN_A_STORM_MAX


class ConfusedMembership(MeekMembership):
    """Takes all for dead when one is silent, and nobody refutes."""

    def _failed(self, address: str, now: float) -> None:
        for entry in self.table():
            if entry.name != self.me:
                self._put(replace(entry, state=MemberState.DEAD), now)


def test_that_the_storms_see_the_living_believed_dead() -> None:
    assert storms.flapping(12, 2, for_s=20.0, membership=ConfusedMembership).falsely_dead
