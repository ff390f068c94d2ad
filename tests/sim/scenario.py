"""What a seed means: the size of the cluster, and which faults befall it when.

Faults end at a known time. From then on every live member that wants the blob has to end within `GRACE_S` of virtual
time, published or failed for a reason that its own disk or the Hub gave.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from peers.invariants import require
from peers.lead import Lead
from peers.member import BlobMember
from peers.member_actions import BlobFailure
from tests.sim.world import MIB, Shape, World

GRACE_S = 240.0
"""Generous: covers suspicion, avoidance, stuck timers and a few failed leads one after the other."""

FAULT_KINDS = (
    "kill", "restart", "partition", "one_way", "slow", "corrupt", "loss", "full_disk", "hub_cut", "busy_hub", "denied"
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What a run came to; two runs of one seed have equal outcomes."""

    trace: str
    events: int
    virtual_s: float
    published: int
    failed: int
    hub_ratio: float
    faults: tuple[str, ...]


class SeedFailed(AssertionError):
    """Carries what is needed to see it again."""

    def __init__(self, seed: int, members: int | None, why: BaseException) -> None:
        super().__init__(seed, members, why)
        self.seed = seed
        self.members = members
        self.why = why

    def __str__(self) -> str:
        again = f"python -m tests.sim --seed {self.seed}"
        again += f" --members {self.members}" if self.members is not None else ""
        return f"seed={self.seed}: {self.why}\n    again: {again}"


def run_seed(
    seed: int,
    members: int | None = None,
    *,
    lead_class: type[Lead] = Lead,
    member_class: type[BlobMember] = BlobMember,
) -> Outcome:
    """Run one seed to its end. Raises `SeedFailed`."""
    try:
        return Scenario(seed, members, lead_class, member_class).run()
    except AssertionError as why:
        raise SeedFailed(seed, members, why) from why


class Scenario:
    def __init__(
        self, seed: int, members: int | None, lead_class: type[Lead], member_class: type[BlobMember]
    ) -> None:
        self._rng = random.Random(f"scenario {seed}")
        count = members or self._rng.choice((1, 2, 3, 4, 5, 6, 8, 12))
        shape = Shape(
            members=count,
            pieces=self._rng.randrange(5, 60),
            piece_len_bytes=self._rng.choice((1, 4, 16)) * MIB,
            hub_down_cluster=self._rng.choice((0.0, 0.0, 50e6)),
        )
        self._world = World(seed, shape, lead_class, member_class)
        self._faults: list[str] = []
        self._last_fault_at = 0.0

    def run(self) -> Outcome:
        world = self._world
        late = self._plan_joiners()
        self._plan()
        world.start(wanting=[name for name in world.names if name not in late])
        ended = world.run(self._last_fault_at + GRACE_S, until=self._over)
        require(ended, "progress is always possible", faults=self._faults, stuck=self._unfinished())
        for node in world.nodes.values():
            if node.up:
                world.checks.thorough(node)
                self._check_failure(node.name)
        ratio = world.hub.sent_bytes / world.blob.size_bytes
        if not self._faults:
            require(ratio <= 1.0, "without faults each byte comes from the Hub once", ratio=ratio)
        return Outcome(
            world.trace,
            world.time.events,
            round(world.now, 6),
            sum(node.published for node in world.nodes.values()),
            sum(node.failure is not None for node in world.nodes.values()),
            round(ratio, 6),
            tuple(self._faults),
        )

    def _over(self) -> bool:
        world = self._world
        return world.now >= self._last_fault_at and (world.all_done() or not self._unfinished())

    def _unfinished(self) -> list[str]:
        """Live honest members that are not done; a liar may be left behind with its own wrong bytes."""
        return [
            repr(node)
            for node in self._world.nodes.values()
            if node.up and node.machine is not None and not node.done and node.name not in self._world.liars
        ]

    def _check_failure(self, name: str) -> None:
        """A failure has a cause that this member suffered."""
        node = self._world.nodes[name]
        if node.failure is None or name in self._world.liars:
            return
        allowed = set()
        if node.full:
            allowed.add(BlobFailure.NO_SPACE)
        if self._world.hub.wrong_pieces:
            allowed.add(BlobFailure.HASH_MISMATCH)
        if all(other.hub.denied or other.failure for other in self._world.nodes.values() if other.up):
            allowed |= {BlobFailure.ACCESS_DENIED, BlobFailure.NO_FETCHER}
        require(
            node.failure.failure in allowed, "nobody fails without a cause", node=name, failure=node.failure
        )

    def _plan_joiners(self) -> list[str]:
        """Some members pull the blob only later, perhaps when everybody else has it."""
        rng, world = self._rng, self._world
        late = [name for name in world.names[1:] if rng.random() < 0.15]
        for name in late:
            joins_at = rng.uniform(0.0, 3.0 * self._expected_s())
            self._last_fault_at = max(self._last_fault_at, joins_at)
            world.time.at(joins_at, world.nodes[name].want)
        return late

    def _plan(self) -> None:
        rng, world = self._rng, self._world
        if rng.random() < 0.15:
            return
        if len(world.names) >= 4 and rng.random() < 0.3:
            liar = rng.choice(world.names)
            world.lying_fetcher(liar, wrong_bytes=rng.random() < 0.5)
            self._faults.append(f"liar {liar}")
        elif rng.random() < 0.08:
            world.hub.wrong_pieces = frozenset(rng.sample(range(world.blob.pieces), 2))
            self._faults.append("wrong hub")
        for _ in range(rng.randrange(1, 5)):
            kind = rng.choice(FAULT_KINDS)
            name = rng.choice(world.names)
            starts_at = rng.uniform(0.0, 1.2 * self._expected_s())
            self._at(starts_at, f"{kind} {name}", self._fault(kind, name, starts_at))

    def _expected_s(self) -> float:
        shape = self._world.shape
        rate = min(shape.hub_link_bytes_per_s, shape.members * shape.hub_bytes_per_s)
        return self._world.blob.size_bytes / min(rate, shape.hub_down_cluster or rate)

    def _fault(self, kind: str, name: str, starts_at: float) -> Callable[[], None]:
        """Plan the end of a fault too, where it has one; return what starts it."""
        rng, world = self._rng, self._world
        node = world.nodes[name]
        ends_at = starts_at + rng.uniform(0.5, 15.0)
        others = [other for other in world.names if other != name]
        some = rng.sample(world.names, rng.randrange(1, len(world.names) + 1))
        rest = [other for other in world.names if other not in some]
        if kind == "restart":
            self._at(ends_at, f"restart {name}", lambda: world.restart(name))
        if kind in ("partition", "one_way"):
            self._at(ends_at, "heal", world.heal)
        if kind == "loss":
            self._at(ends_at, "no loss", lambda: world.lossy(0.0))
        if kind == "hub_cut":
            self._at(ends_at, f"hub back {name}", lambda: setattr(node.hub, "reachable", True))
        share = rng.uniform(0.02, 0.2)
        piece = rng.randrange(world.blob.pieces)
        spared = world.names[0]
        starts: dict[str, Callable[[], None]] = {
            "kill": lambda: world.kill(name) if others else None,
            "restart": lambda: world.kill(name),
            "partition": lambda: world.partition(some, rest),
            "one_way": lambda: world.partition(some, rest, one_way=True),
            "slow": lambda: world.slow_link(name, 10.0),
            "corrupt": lambda: world.corrupt_piece(name, piece),
            "loss": lambda: world.lossy(share),
            "full_disk": lambda: world.fill_disk(name),
            "hub_cut": lambda: setattr(node.hub, "reachable", False),
            "busy_hub": lambda: setattr(world.hub, "busy_until", world.now + 6.0),
            "denied": lambda: setattr(node.hub, "denied", True) if name != spared else None,
        }
        return starts[kind]

    def _at(self, when: float, what: str, do: Callable[[], None]) -> None:
        def strike() -> None:
            self._world.note("world", what)
            do()

        self._faults.append(f"{when:.1f} {what}")
        self._last_fault_at = max(self._last_fault_at, when)
        self._world.time.at(when, strike)
