"""The life of a pull: what may happen in each state, and that its sources add up over every restart."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any, get_args

import pytest

from distd.core import pull as core
from distd.core.manifest import Manifest, ManifestFile, checked_files
from distd.core.pull import BlobNeed, PullMachine, PullRecord, PullState, own_share
from distd.core.refs import Repo
from distd.errors import Problem

COMMIT = "c0" * 20
A, B = "aa" * 32, "bb" * 32
PROBLEM = Problem("access_denied", "Access denied", "the repo is gated", False)
MANIFEST = Manifest(
    Repo("model", "org/name"),
    COMMIT,
    checked_files([ManifestFile("a", 100, A), ManifestFile("b", 50, B), ManifestFile("b2", 50, B)]),
)
NEEDS = (BlobNeed(A, 100, "a", 10), BlobNeed(B, 50, "b", 0))
PLANNED = core.Planned(MANIFEST, True, 200, 50, NEEDS)

EVENTS: dict[str, core.Event] = {
    "started": core.DaemonStarted(),
    "due": core.StartTimeReached(),
    "planned": PLANNED,
    "a arrived": core.BlobArrived(A),
    "a verified": core.BlobVerified(A, {"hub": 90, "reused": 10}),
    "a returned": core.BlobReturned(A),
    "published": core.Published("/hub/snapshots/c0"),
    "failed": core.Failed(PROBLEM),
    "pause": core.PauseAsked(),
    "resume": core.ResumeAsked(),
    "cancel": core.CancelAsked(),
    "stranger arrived": core.BlobArrived("ff" * 32),
    "stranger verified": core.BlobVerified("ff" * 32, {"hub": 1}),
}

TABLE: dict[PullState, dict[str, PullState]] = {
    "queued": {"started": "resolving", "due": "resolving"},
    "resolving": {"planned": "downloading"},
    "downloading": {"started": "resolving"},
    "verifying": {"started": "resolving", "a returned": "downloading", "a verified": "publishing"},
    "publishing": {"started": "resolving", "published": "complete"},
    "paused": {"resume": "resolving", "cancel": "cancelled"},
    "complete": {},
    "failed": {},
    "cancelled": {},
}
"""Where an event leads; one that is not named leaves the state. Three more hold in every unfinished state but paused."""
for _state in ("queued", "resolving", "downloading", "verifying", "publishing"):
    TABLE[_state] |= {"failed": "failed", "pause": "paused", "cancel": "cancelled"}
TABLE["resolving"]["started"] = "resolving"


def new(**changes: Any) -> PullMachine:
    return PullMachine(PullRecord("p1", 1, "queued", 1000.0, **changes))


def tell(machine: PullMachine, *events: core.Event, now: float = 2000.0) -> list[core.Action]:
    actions: list[core.Action] = []
    for event in events:
        actions += machine.handle(event, now)
        machine.check()
    return actions


def in_state(state: PullState) -> PullMachine:
    """A machine brought there by events; on the way to `verifying` only blob A is left to verify."""
    paths: dict[str, list[core.Event]] = {
        "queued": [],
        "resolving": [core.DaemonStarted()],
        "downloading": [core.DaemonStarted(), PLANNED],
        "verifying": [
            *(core.DaemonStarted(), PLANNED, core.BlobArrived(B)),
            *(core.BlobVerified(B, {"hub": 50}), core.BlobArrived(A)),
        ],
    }
    paths["publishing"] = [*paths["verifying"], EVENTS["a verified"]]
    paths["complete"] = [*paths["publishing"], EVENTS["published"]]
    paths["paused"] = [*paths["downloading"], core.PauseAsked()]
    paths["failed"] = [*paths["downloading"], EVENTS["failed"]]
    paths["cancelled"] = [*paths["downloading"], core.CancelAsked()]
    machine = new()
    tell(machine, *paths[state])
    assert machine.record.state == state
    return machine


@pytest.mark.parametrize(("state", "event"), list(product(TABLE, EVENTS)))
def test_every_event_in_every_state_leads_where_the_table_says(state: PullState, event: str) -> None:
    machine = in_state(state)
    before = machine.record
    actions = tell(machine, EVENTS[event])
    assert machine.record.state == TABLE[state].get(event, state)
    if machine.record.state != state:
        assert core.Save() in actions
    if state in core.FINISHED:
        assert (actions, machine.record) == ([], before)


def test_the_table_names_every_state() -> None:
    assert set(TABLE) == set(get_args(PullState))
    assert {state for state in TABLE if not TABLE[state]} == core.FINISHED


def test_a_pull_from_start_to_end_as_a_script() -> None:
    machine = new()
    assert tell(machine, core.DaemonStarted()) == [core.Save(), core.MakePlan()]
    assert tell(machine, PLANNED) == [
        core.Tell("planned", f"commit {COMMIT}: 2 of its blobs are missing"),
        core.Save(),
        core.WantBlobs(NEEDS),
    ]
    assert tell(machine, core.BlobArrived(B)) == []
    assert tell(machine, core.BlobVerified(B, {"peers": 50})) == [core.Save()]
    assert tell(machine, core.BlobArrived(A)) == [core.Save()]
    assert machine.record.state == "verifying"
    assert tell(machine, core.BlobVerified(A, {"hub": 100})) == [core.Save(), core.Publish()]
    assert tell(machine, core.Published("/snap"), now=3000.0) == [
        core.Save(),
        core.Tell("complete", "published at /snap"),
    ]
    record = machine.record
    assert (record.started_at, record.finished_at, record.snapshot_path) == (2000.0, 3000.0, "/snap")
    assert record.got == {A: {"hub": 90, "reused": 10}, B: {"peers": 50}}
    assert repr(machine) == "<Pull p1 complete 2/2 blobs>"


def test_a_pull_that_lacks_nothing_is_published_at_once() -> None:
    machine = new()
    actions = tell(machine, core.DaemonStarted(), core.Planned(MANIFEST, True, 200, 200, ()))
    assert actions[-2:] == [core.Save(), core.Publish()]
    assert not any(isinstance(action, core.WantBlobs) for action in actions)


def test_a_pull_with_a_start_time_waits_for_it() -> None:
    machine = new(start_at=5000.0)
    assert core.WaitUntil(5000.0) in tell(machine, core.DaemonStarted())
    assert machine.record.state == "queued"
    assert core.MakePlan() in tell(machine, core.StartTimeReached(), now=5000.0)


def test_a_start_time_that_passed_while_the_daemon_was_down_is_no_reason_to_wait() -> None:
    assert core.MakePlan() in tell(new(start_at=5000.0), core.DaemonStarted(), now=6000.0)


def test_a_paused_pull_stays_paused_over_a_restart_and_keeps_what_is_stored() -> None:
    machine = in_state("downloading")
    assert tell(machine, core.PauseAsked())[:2] == [core.DropBlobs((A, B), discard=False), core.Save()]
    assert machine.record.paused_from == "downloading"
    again = PullMachine(machine.record)
    assert tell(again, core.DaemonStarted()) == []
    assert tell(again, core.ResumeAsked()) == [
        core.Tell("resumed", "resumed on request"),
        core.Save(),
        core.MakePlan(),
    ]


def test_a_failure_that_comes_too_late_does_not_end_a_paused_pull() -> None:
    machine = in_state("paused")
    assert tell(machine, core.Failed(PROBLEM)) == []
    assert machine.record.state == "paused"


def test_a_cancelled_pull_frees_what_it_stored_and_a_failed_one_keeps_it() -> None:
    cancelled, failed = in_state("downloading"), in_state("downloading")
    assert tell(cancelled, core.CancelAsked())[0] == core.DropBlobs((A, B), discard=True)
    assert tell(failed, core.Failed(PROBLEM)) == [
        core.DropBlobs((A, B), discard=False),
        core.Save(),
        core.Tell("failed", "Access denied: the repo is gated"),
    ]
    assert failed.record.problem == PROBLEM
    assert cancelled.record.problem is None


def test_a_returned_blob_has_to_arrive_again() -> None:
    machine = in_state("verifying")
    assert tell(machine, core.BlobReturned(A)) == [core.Save()]
    assert machine.record.state == "downloading"
    assert tell(machine, core.BlobArrived(A)) == [core.Save()]
    assert repr(machine) == "<Pull p1 verifying 1/2 blobs>"


def test_a_blob_verified_twice_counts_once() -> None:
    machine = in_state("downloading")
    tell(machine, core.BlobVerified(B, {"hub": 50}))
    assert tell(machine, core.BlobVerified(B, {"peers": 50})) == []
    assert machine.record.got == {B: {"hub": 50}}


@pytest.mark.parametrize(
    ("reused_bytes", "by_source", "share"),
    [
        (0, {"hub": 100}, {"hub": 100}),
        (10, {"hub": 100}, {"hub": 90, "reused": 10}),
        (10, {"hub": 5, "peers": 95}, {"hub": 0, "peers": 90, "reused": 10}),
        (100, {"peers": 100}, {"peers": 0, "reused": 100}),
        (10, {"hub": 60, "reused": 40}, {"hub": 50, "reused": 50}),
        (10, {}, {}),
    ],
)
def test_what_was_journalled_before_the_pull_is_not_its_own_fetching(
    reused_bytes: int, by_source: dict[str, int], share: dict[str, int]
) -> None:
    given = dict(by_source)
    assert own_share(BlobNeed(A, 100, "a", reused_bytes), given) == share
    assert sum(share.values()) == sum(by_source.values())
    assert given == by_source


# Restarts: the record is what was saved last, the disk goes on from where it was.


class Disk:
    """What is stored of each blob, by source, as the journals tell it."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.stored: dict[str, dict[str, int]] = {A: {"hub": 10}, B: {}}

    def plan(self) -> core.Planned:
        needs = tuple(
            BlobNeed(etag, size_bytes, path, sum(self.stored[etag].values()))
            for etag, size_bytes, path in ((A, 100, "a"), (B, 50, "b"))
            if etag not in self.held
        )
        return core.Planned(MANIFEST, True, 200, 200 - sum(need.size_bytes for need in needs), needs)


STEPS = (
    "plan",
    "a hub 40",
    "b peers 50",
    "b accept",
    "b word",
    "a peers 50",
    "a arrived",
    "a accept",
    "a word",
    "publish",
)
"""A pull in small steps. `accept` is the rename on the disk, `word` the event about it: a crash may lie between."""


def run(machine: PullMachine, disk: Disk, steps: tuple[str, ...], saved: list[PullRecord]) -> None:
    def note(event: core.Event) -> None:
        if core.Save() in tell(machine, event):
            saved.append(machine.record)

    for step in steps:
        words = step.split()
        etag = {"a": A, "b": B}.get(words[0], "")
        if etag and etag in disk.held and words[1] not in ("word", "arrived"):
            continue  # an earlier life of the daemon finished it
        match words:
            case ["plan"]:
                note(core.DaemonStarted())
                note(disk.plan())
            case [_, "hub" | "peers" as source, count]:
                stored = disk.stored[etag]
                size_bytes = {A: 100, B: 50}[etag]
                taken = min(int(count), size_bytes - sum(stored.values()))
                stored[source] = stored.get(source, 0) + taken
            case [_, "accept"]:
                disk.held.add(etag)
            case [_, "arrived"]:
                note(core.BlobArrived(etag))
            case [_, "word"]:
                note(core.BlobVerified(etag, disk.stored[etag]))
            case ["publish"]:
                note(core.Published("/snap"))


CRASHES = [(first,) for first in range(len(STEPS))] + list(product(range(len(STEPS)), repeat=2))


@pytest.mark.parametrize("crashes", CRASHES, ids=lambda crashes: "-".join(map(str, crashes)))
@pytest.mark.parametrize("lost_saves", [0, 1])
def test_sources_add_up_whenever_the_daemon_was_killed(crashes: tuple[int, ...], lost_saves: int) -> None:
    disk, record = Disk(), PullRecord("p1", 1, "queued", 1000.0)
    for crash in crashes:
        saved = [record]
        run(PullMachine(record), disk, STEPS[:crash], saved)
        record = saved[max(0, len(saved) - 1 - lost_saves)]
    machine = PullMachine(record)
    run(machine, disk, STEPS, [])
    record = machine.record
    assert record.state == "complete"
    totals = {"reused": record.reused_bytes}
    for sources in record.got.values():
        for source, count in sources.items():
            totals[source] = totals.get(source, 0) + count
    assert sum(totals.values()) == record.bytes_total == 200
    assert totals["reused"] >= 60, "what was there before the pull, and the repeated file, is reused"
    if lost_saves == 0:
        assert totals["reused"] == 60, "no restart turns this pull's fetching into reuse"


def test_a_blob_that_vanished_between_two_lives_is_fetched_and_counted_again() -> None:
    machine = in_state("downloading")
    tell(machine, core.BlobVerified(B, {"peers": 50}))
    again = PullMachine(machine.record)
    actions = tell(again, core.DaemonStarted(), PLANNED)
    assert core.WantBlobs(NEEDS) in actions
    assert again.record.got == {}


def test_a_file_held_at_first_and_gone_after_a_restart_becomes_a_need() -> None:
    machine = new()
    only_a = core.Planned(MANIFEST, True, 200, 100, NEEDS[:1])
    tell(machine, core.DaemonStarted(), only_a)
    again = PullMachine(machine.record)
    tell(again, core.DaemonStarted(), PLANNED)
    assert again.missing == NEEDS
    assert again.record.reused_bytes == 50


# The invariants, each tripped by a record that contradicts itself.


@pytest.mark.parametrize(
    ("state", "changes", "said"),
    [
        ("downloading", {"got": {"ff" * 32: {"hub": 1}}}, "not needed counts"),
        ("publishing", {"got": {}}, "publishing with blobs missing"),
        ("complete", {"snapshot_path": None}, "a snapshot path"),
        ("downloading", {"snapshot_path": "/snap"}, "a snapshot path"),
        ("failed", {"problem": None}, "a problem"),
        ("downloading", {"problem": PROBLEM}, "a problem"),
        ("cancelled", {"finished_at": None}, "a time"),
        ("downloading", {"finished_at": 1.0}, "a time"),
        ("paused", {"paused_from": None}, "a pause"),
        ("downloading", {"paused_from": "queued"}, "a pause"),
        ("downloading", {"got": {B: {"hub": 49}}}, "do not add up to a blob"),
        ("downloading", {"got": {B: {"hub": 60, "reused": -10}}}, "less than nothing"),
        ("downloading", {"reused_bytes": 51}, "the plan does not add up"),
    ],
)
def test_check_finds_a_planted_contradiction(state: PullState, changes: dict[str, Any], said: str) -> None:
    machine = in_state(state)
    machine.record = replace(machine.record, **changes)
    with pytest.raises(AssertionError, match=said):
        machine.check()


def test_check_finds_an_arrival_that_nobody_needed() -> None:
    machine = in_state("downloading")
    machine.arrived.add("ff" * 32)
    with pytest.raises(AssertionError, match="not needed arrived"):
        machine.check()


def test_what_a_cancelled_pull_left_is_given_up_unless_another_counts_on_it() -> None:
    def record(number: int, state: PullState, *etags: str) -> PullRecord:
        needs = tuple(BlobNeed(etag, 10, etag, 0) for etag in etags)
        return PullRecord(str(number), number, state, 0.0, needs=needs)

    def given_up(*records: PullRecord) -> set[str]:
        return core.given_up(records, {A: core.SERVED_BYTES_MAX, B: core.SERVED_BYTES_MAX})

    cancelled = record(2, "cancelled", A, B)
    assert given_up(cancelled) == {A, B}
    assert given_up(record(1, "failed", A), cancelled) == {A, B}  # asked for again since, and cancelled
    assert given_up(cancelled, record(3, "failed", A)) == {B}  # to be gone on with
    assert given_up(record(1, "downloading", A), cancelled) == {B}
    assert given_up(record(1, "complete", A), record(2, "paused", B)) == set()


def test_small_parts_that_no_pull_waits_for_were_fetched_for_others_and_are_given_up() -> None:
    def left_by(state: PullState | None, size_bytes: int) -> set[str]:
        records = [PullRecord("1", 1, state, 0.0, needs=(BlobNeed(A, 10, A, 0),))] if state else []
        return core.given_up(records, {A: size_bytes})

    small, large = core.SERVED_BYTES_MAX - 1, core.SERVED_BYTES_MAX
    assert [left_by(state, small) for state in (None, "complete", "cancelled")] == [{A}] * 3
    assert [left_by(state, small) for state in ("failed", "paused", "downloading")] == [set()] * 3
    assert left_by(None, large) == set(), "a pull's, whose record is lost with the database"
    done, unplanned = PullRecord("1", 1, "complete", 0.0), PullRecord("2", 2, "resolving", 0.0)
    assert core.given_up([done], {A: small}) == {A}
    assert core.given_up([done, unplanned], {A: small}) == set(), "what it needs is not known yet"
