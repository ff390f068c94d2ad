"""Seven simulated days of prefetch, moving branches and people's pulls on disks that hold a fraction of it all.

The real decisions are made: when a prefetch runs and who runs it, and what goes when room is wanted. Time is an argument.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import pytest

from distd.core.eviction import RECENT_S, Inventory, Key, Snapshot, Stored, Wanted, decide
from tests.core import test_prefetch_week as week
from tests.core.test_prefetch_week import BEGIN, MEMBERS, WEEK_S, World

QUOTA_BYTES = 60
"""The entries' repos alone take 50 with one commit each, and 95 with two."""
COMMON_BYTES = 1
WEIGHT_BYTES = 9
RETRY_S = 900.0
WEEKS = int(os.environ.get("WEEK_SEEDS", "1"))
"""Seeds tried, a second and a half each; `make sim` tries 20."""


@dataclass
class Held:
    etags: frozenset[str]
    published_at: float
    used_at: float = 0.0
    pinned: bool = False
    open_until: float = 0.0

    def kept(self, now: float) -> str:
        if self.pinned:
            return "pinned"
        if self.open_until > now:
            return "open in a program"
        return "used within the last hour" if now - self.used_at < RECENT_S else ""


@dataclass
class Disk:
    """One member's store. Commits of a repo share a small blob; the weights are each commit's own."""

    blobs: dict[str, int] = field(default_factory=dict)
    snapshots: dict[Key, Held] = field(default_factory=dict)
    refused_at: dict[Key, float] = field(default_factory=dict)
    evicted: int = 0

    @property
    def used_bytes(self) -> int:
        return sum(self.blobs.values())

    def inventory(self, now: float, pulling: Key, needed: frozenset[str]) -> Inventory:
        shown = {etag for held in self.snapshots.values() for etag in held.etags}
        return Inventory(
            {etag: Stored(size, size, etag in needed) for etag, size in self.blobs.items()},
            tuple(
                Snapshot(
                    key,
                    held.etags,
                    max(held.published_at, held.used_at),
                    held.kept(now) or ("being pulled" if key == pulling else ""),
                )
                for key, held in self.snapshots.items()
            ),
            frozenset(self.blobs.keys() - shown),
        )

    def pull(self, key: Key, now: float, *, pinned: bool = False) -> bool:
        """As a pull does: evict if that is enough, or be refused and change nothing."""
        if key in self.snapshots or now - self.refused_at.get(key, -RETRY_S) < RETRY_S:
            return key in self.snapshots
        sizes = {f"{key[0]} common": COMMON_BYTES, f"{key[0]} {key[1]}": WEIGHT_BYTES}
        needed = frozenset(sizes)
        missing = {etag: size for etag, size in sizes.items() if etag not in self.blobs}
        over = self.used_bytes + sum(missing.values()) - QUOTA_BYTES
        decision = decide(self.inventory(now, key, needed), Wanted(quota_bytes=max(0, over)))
        if not decision.enough:
            self.refused_at[key] = now
            return False
        for victim in decision.snapshots:
            assert not self.snapshots[victim.key].kept(now), "what is pinned or in use never goes"
            del self.snapshots[victim.key]
            self.evicted += 1
        assert not decision.blobs & needed, "what a pull relies on stays"
        for etag in decision.blobs:
            del self.blobs[etag]
        self.blobs |= missing
        self.snapshots[key] = Held(needed, now, pinned=pinned)
        return True

    def check(self) -> None:
        assert self.used_bytes <= QUOTA_BYTES
        for key, held in self.snapshots.items():
            assert held.etags <= self.blobs.keys(), f"{key} is shown and lacks a blob"


class FullWorld(World):
    """Members' daemons as in the other week, each with a disk; people pull, read, open, pin and remove."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.disks = {name: Disk() for name in MEMBERS}

    def step(self) -> None:
        super().step()
        for name, member in self.members.items():
            disk = self.disks[name]
            for schedule, commit in member.held.items():
                disk.pull((schedule, str(commit)), self.now)
            if self.rng.random() < week.STEP_S / 1500:
                self._somebody(disk)
            disk.check()

    def _somebody(self, disk: Disk) -> None:
        deed = self.rng.choice(("pull", "pull", "read", "open", "open", "pin", "unpin", "hf cache rm"))
        keys = sorted(disk.snapshots)
        if deed == "pull" or not keys:
            disk.pull((f"other {self.rng.randrange(12)}", "1"), self.now)
            return
        key = self.rng.choice(keys)
        held = disk.snapshots[key]
        match deed:
            case "read":
                held.used_at = self.now
            case "open":
                held.used_at = self.now
                held.open_until = self.now + self.rng.uniform(600, 80_000)
            case "pin":
                if sum(each.pinned for each in disk.snapshots.values()) < 3:
                    held.pinned = True
            case "unpin":
                held.pinned = False
            case "hf cache rm":
                if not held.pinned:
                    del disk.snapshots[key]


@pytest.mark.parametrize("seed", range(WEEKS))
def test_seven_days_under_quota_pressure_keep_every_invariant(seed: int) -> None:
    world = FullWorld(seed)
    while world.now < BEGIN + WEEK_S:
        world.step()
    assert sum(disk.evicted for disk in world.disks.values()) > 20, "there was pressure"
    assert any(disk.refused_at for disk in world.disks.values()), "and more than could be met"
    # Nobody does anything any more: what is open is closed, and the entries' last commits win their places back.
    world.rng.random = lambda: 1.0  # type: ignore[method-assign]
    world.hub_away_until = 0.0
    for member in world.members.values():
        if not member.up:
            world._switch(member)
    for disk in world.disks.values():
        for held in disk.snapshots.values():
            held.pinned, held.open_until = False, 0.0
    calm_from = world.now
    while world.now < calm_from + 2 * RECENT_S + 7200:
        world.step()
    for name, member in world.members.items():
        for schedule, commit in member.held.items():
            assert (schedule, str(commit)) in world.disks[name].snapshots, "what is kept present is present"
