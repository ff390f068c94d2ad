"""Seven simulated days of prefetch on a fleet: branches move, members are down for hours, the Hub is away, runs fail.

Time is an argument everywhere: the real cron triggers are asked for their next time, the real decisions are made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import pytest

from distd.core import prefetch as core
from distd.schedule import cron_fires
from peers import rendezvous

BEGIN = 1_772_409_600.0
"""2 March 2026, 00:00 UTC, a Monday."""
WEEK_S = 7 * 86_400.0
STEP_S = 20.0
LEFT_S = 30.0
SCHEDULES = ("", "0 3 * * *", "*/30 * * * *", "15 22 * * 1-5", "0 6 1 * *")
MEMBERS = ("a", "b", "c", "d")
RUN_S = 120.0


@dataclass
class Running:
    due: core.Due
    began: float
    members: tuple[str, ...]
    commit: int
    fails: bool


@dataclass
class Entry:
    key: str
    fires: core.Fires
    record: core.Record
    look_at: float = 0.0
    running: Running | None = None


@dataclass
class Member:
    name: str
    entries: dict[str, Entry]
    up: bool = True
    held: dict[str, int] = field(default_factory=dict)


class World:
    """One Hub, four members that declare the same entries."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.now = BEGIN
        self.hub_away_until = 0.0
        self.commits = dict.fromkeys(SCHEDULES, 1)
        self.runs: list[tuple[float, str, str, str]] = []
        self.members = {
            name: Member(name, {schedule: self._entry(schedule) for schedule in SCHEDULES})
            for name in MEMBERS
        }

    def _entry(self, schedule: str) -> Entry:
        fires = cron_fires(schedule) if schedule else core.keep_fires
        return Entry(f"key {schedule}", fires, core.first_record(bool(schedule), BEGIN))

    def step(self) -> None:
        self.now += STEP_S
        if self.rng.random() < STEP_S / 20_000:
            self.commits[self.rng.choice(SCHEDULES)] += 1
        if self.rng.random() < STEP_S / 80_000:
            self.hub_away_until = self.now + self.rng.uniform(60, 7200)
        for member in self.members.values():
            if self.rng.random() < STEP_S / (40_000 if member.up else 10_000):
                self._switch(member)
        for member in self.members.values():
            if member.up:
                for schedule, entry in member.entries.items():
                    self._look(member, schedule, entry)

    def _switch(self, member: Member) -> None:
        """Ends or starts the daemon: what was running is forgotten, what was remembered is not."""
        member.up = not member.up
        for entry in member.entries.values():
            entry.running, entry.look_at = None, 0.0

    def _look(self, member: Member, schedule: str, entry: Entry) -> None:
        if entry.running is not None:
            if self.now >= entry.running.began + RUN_S:
                self._end(member, schedule, entry, entry.running)
            return
        if self.now < entry.look_at:
            return
        due = core.next_due(entry.key, entry.fires, entry.record, self.now)
        assert due is not None
        assert due.fire > entry.record.covered_until, "what is covered is never due"
        if due.at > self.now:
            entry.look_at = due.at
            return
        told = {
            other.name: core.Told(
                other.entries[schedule].record.covered_until, other.entries[schedule].record.last_commit
            )
            for other in self.members.values()
            if other.up and other is not member
        }
        match core.decide(member.name, due, told, rendezvous.order(entry.key, {*told, member.name})):
            case core.Run(members):
                self.runs.append((self.now, schedule, member.name, due.why))
                fails = self.now < self.hub_away_until
                entry.running = Running(due, self.now, members, self.commits[schedule], fails)
            case core.LeftTo():
                entry.look_at = self.now + LEFT_S
            case core.CoveredBy(_, word):
                if member.held.get(schedule) != int(word.commit or 0):
                    member.held[schedule] = int(word.commit or 0)  # from members: no question to the Hub
                entry.record = core.covered(entry.record, due, word.covered_until, word.commit, None)

    def _end(self, member: Member, schedule: str, entry: Entry, run: Running) -> None:
        entry.running = None
        if run.fails:
            entry.record = core.failed(entry.record, self.now, "the Hub is away", "p")
            return
        for name in run.members:
            if self.members[name].up:
                self.members[name].held[schedule] = run.commit
        entry.record = core.covered(entry.record, run.due, run.began, str(run.commit), "p")


@pytest.mark.parametrize("seed", range(3))
def test_seven_days_keep_every_invariant(seed: int) -> None:
    world = World(seed)
    moved_at = dict.fromkeys(SCHEDULES, BEGIN)
    before = dict(world.commits)
    while world.now < BEGIN + WEEK_S:
        world.step()
        for schedule in SCHEDULES:
            if world.commits[schedule] != before[schedule]:
                before[schedule], moved_at[schedule] = world.commits[schedule], world.now
        for member in world.members.values():
            for schedule, entry in member.entries.items():
                assert entry.record.covered_until <= world.now + 1, "nothing is covered before its time"
                assert member.held.get(schedule, 0) <= world.commits[schedule]
    # Everybody is up again and the Hub is there: what was missed is caught up, the branch's last commit is everywhere.
    world.rng = Random()
    world.rng.random = lambda: 1.0  # type: ignore[method-assign]  # nothing happens any more
    for member in world.members.values():
        if not member.up:
            world._switch(member)
    world.hub_away_until = 0.0
    calm_from = world.now
    while world.now < calm_from + core.RETRY_MAX_S + core.KEEP_EVERY_S + 600:
        world.step()
    for member in world.members.values():
        assert member.held[""] == world.commits[""], "what is kept present follows its branch on every member"
        assert member.held["*/30 * * * *"] == world.commits["*/30 * * * *"]
        for entry in member.entries.values():
            fire = entry.fires(entry.record.covered_until)
            assert fire is not None
            assert fire >= calm_from, "no time is left that was missed"


def test_in_a_calm_week_every_time_is_run_once_by_one_member_for_all() -> None:
    world = World(1)
    world.rng.random = lambda: 1.0  # type: ignore[method-assign]  # nothing happens
    while world.now < BEGIN + WEEK_S:
        world.step()
    of = {schedule: [run for run in world.runs if run[1] == schedule] for schedule in SCHEDULES}
    assert len(of["0 3 * * *"]) == 7
    assert len(of["15 22 * * 1-5"]) == 5
    assert len(of["0 6 1 * *"]) == 0
    assert len(of["*/30 * * * *"]) in (335, 336)
    assert len(of[""]) in (672, 673)
    for runs in of.values():
        assert len({name for _, _, name, _ in runs}) <= 1, "one member runs an entry for all"
    assert {why for *_, why in world.runs} == {
        "new, to be kept present",
        "kept present, looked for a new commit",
        "scheduled",
    }
    assert all(member.held[""] == 1 for member in world.members.values())
