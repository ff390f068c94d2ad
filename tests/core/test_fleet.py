"""Pulls on several nodes: every answer, silence and wish, and what the whole comes to."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distd.core.fleet import (
    SILENT_MAX_S,
    Action,
    Event,
    FleetMachine,
    FleetRecord,
    Forgotten,
    Look,
    Part,
    Refused,
    Report,
    Silent,
    Start,
    Steer,
    Told,
    Wish,
    Wished,
)
from distd.core.pull import FINISHED, PullState, Save, Tell
from distd.errors import Problem

FULL = Problem("no_space", "Not enough disk space", "the disk is full", True)
AT = 1_000_000.0


def machine(*names: str) -> FleetMachine:
    parts = {name: Part() for name in names}
    return FleetMachine(FleetRecord("1-ab", 1, "queued", AT, parts))


def report(node: str, state: PullState, problem: Problem | None = None) -> Report:
    return Report(f"7-{node}", state, problem=problem)


def told(fleet: FleetMachine, node: str, state: PullState, now: float = 0.0) -> list[Action]:
    return fleet.handle(Told(node, report(node, state, FULL if state == "failed" else None)), now, AT)


def words(actions: Sequence[Action]) -> list[str]:
    return [action.event for action in actions if isinstance(action, Tell)]


def test_every_node_is_started_then_looked_at_until_it_has_ended() -> None:
    fleet = machine("a", "b")
    assert fleet.asks() == [Start("a"), Start("b")]
    assert words(told(fleet, "a", "resolving")) == ["node_started"]
    assert fleet.asks() == [Look("a", "7-a"), Start("b")]
    told(fleet, "b", "downloading")
    assert fleet.record.state == "downloading"
    assert words(told(fleet, "a", "complete")) == ["node_complete"]
    assert fleet.asks() == [Look("b", "7-b")]
    actions = told(fleet, "b", "complete")
    assert (fleet.record.state, fleet.record.finished_at, fleet.asks()) == ("complete", AT, [])
    assert actions[0] == Save()
    assert words(actions) == ["node_complete", "complete"]


def test_numbers_that_only_move_are_not_saved() -> None:
    fleet = machine("a")
    assert Save() in told(fleet, "a", "downloading")
    assert fleet.handle(Told("a", Report("7-a", "downloading", bytes_done=5)), 1.0, AT) == []
    assert fleet.record.parts["a"].report == Report("7-a", "downloading", bytes_done=5)


def test_one_failed_node_fails_the_whole_after_the_others_have_ended() -> None:
    fleet = machine("a", "b", "c")
    told(fleet, "a", "failed")
    fleet.handle(Refused("b", FULL), 0.0, AT)
    told(fleet, "c", "downloading")
    assert fleet.record.state == "downloading"
    told(fleet, "c", "complete")
    assert fleet.record.state == "failed"
    assert fleet.record.problem == Problem(
        "no_space", "Failed on 2 of 3 nodes", "a: the disk is full; b: the disk is full", True
    )


def test_a_part_that_somebody_cancelled_there_is_named() -> None:
    fleet = machine("a", "b")
    told(fleet, "a", "cancelled")
    told(fleet, "b", "complete")
    assert fleet.record.problem is not None
    assert "a: it was cancelled there" in fleet.record.problem.detail


def test_a_silent_node_fails_after_the_bound_and_others_go_on() -> None:
    fleet = machine("a", "b")
    told(fleet, "a", "downloading")
    told(fleet, "b", "downloading")
    for now in (10.0, 12.0, 10.0 + SILENT_MAX_S - 0.1):
        fleet.handle(Silent("b", "connection refused"), now, AT)
        assert fleet.record.parts["b"].state == "downloading"
    assert fleet.trouble("b", 12.0) == "no answer for 2 s: connection refused"
    assert words(fleet.handle(Silent("b", "connection refused"), 10.0 + SILENT_MAX_S, AT)) == ["node_silent"]
    assert (fleet.record.parts["b"].state, fleet.record.state) == ("failed", "downloading")
    told(fleet, "a", "complete")
    assert fleet.record.state == "failed"
    assert "b gave no answer for 20 s: connection refused" in str(fleet.record.problem)


def test_a_node_that_answers_again_before_the_others_have_ended_counts_again() -> None:
    fleet = machine("a", "b")
    told(fleet, "a", "downloading")
    told(fleet, "b", "downloading")
    for now in (0.0, SILENT_MAX_S):
        fleet.handle(Silent("b", "gone"), now, AT)
    assert Look("b", "7-b") in fleet.asks()
    assert "node_back" in words(told(fleet, "b", "verifying"))
    assert (fleet.trouble("b", 99.0), fleet.record.parts["b"].state) == (None, "verifying")


def test_an_answer_in_between_starts_the_silence_anew() -> None:
    fleet = machine("a")
    told(fleet, "a", "downloading")
    for now in (0.0, SILENT_MAX_S - 1):
        fleet.handle(Silent("a", "slow"), now, AT)
    told(fleet, "a", "downloading")
    fleet.handle(Silent("a", "slow"), SILENT_MAX_S, AT)
    fleet.handle(Silent("a", "slow"), 2 * SILENT_MAX_S - 1, AT)
    assert fleet.record.state == "downloading"


def test_a_node_that_lost_its_state_is_started_again() -> None:
    fleet = machine("a")
    told(fleet, "a", "downloading")
    assert words(fleet.handle(Forgotten("a"), 0.0, AT)) == ["forgotten"]
    assert fleet.asks() == [Start("a")]


def test_a_wish_is_passed_on_once_and_only_changes_are() -> None:
    fleet = machine("a", "b")
    told(fleet, "a", "paused")  # by somebody there: not ours to change
    told(fleet, "b", "downloading")
    assert fleet.asks() == [Look("a", "7-a"), Look("b", "7-b")]
    fleet.handle(Wished("pause"), 0.0, AT)
    assert fleet.asks() == [Steer("a", "7-a", "pause"), Steer("b", "7-b", "pause")]
    for name in ("a", "b"):
        fleet.handle(Told(name, report(name, "paused"), "pause"), 0.0, AT)
    assert (fleet.record.state, fleet.asks()) == ("paused", [Look("a", "7-a"), Look("b", "7-b")])
    fleet.handle(Wished("run"), 0.0, AT)
    assert fleet.asks() == [Steer("a", "7-a", "resume"), Steer("b", "7-b", "resume")]


def test_a_cancel_reaches_a_node_whose_start_may_have_been_carried_out() -> None:
    fleet = machine("never", "maybe", "runs")
    fleet.handle(Silent("maybe", "no answer in time"), 0.0, AT)
    told(fleet, "runs", "downloading")
    fleet.handle(Wished("cancel"), 0.0, AT)
    assert fleet.record.parts["never"].state == "cancelled"
    assert fleet.asks() == [Start("maybe"), Steer("runs", "7-runs", "cancel")]
    told(fleet, "maybe", "downloading")
    fleet.handle(Told("runs", report("runs", "cancelled"), "cancel"), 0.0, AT)
    assert fleet.asks() == [Steer("maybe", "7-maybe", "cancel")]
    fleet.handle(Told("maybe", report("maybe", "cancelled"), "cancel"), 0.0, AT)
    assert (fleet.record.state, fleet.record.problem) == ("cancelled", None)
    assert fleet.handle(Wished("run"), 0.0, AT) == []


def test_a_restarted_coordinator_asks_where_it_left_off() -> None:
    fleet = machine("a", "b", "c")
    told(fleet, "a", "downloading")
    told(fleet, "b", "complete")
    fleet.handle(Wished("pause"), 0.0, AT)
    again = FleetMachine(fleet.record)
    assert again.asks() == [Steer("a", "7-a", "pause"), Start("c")]


EVENTS = st.one_of(
    st.builds(
        lambda node, state, wish: Told(node, report(node, state, FULL if state == "failed" else None), wish),
        st.sampled_from("ab"),
        st.sampled_from(["queued", "downloading", "paused", "complete", "failed", "cancelled"]),
        st.sampled_from([None, "run", "pause", "cancel"]),
    ),
    st.builds(Forgotten, st.sampled_from("ab")),
    st.builds(Refused, st.sampled_from("ab"), st.just(FULL)),
    st.builds(Silent, st.sampled_from("ab"), st.just("gone")),
    st.builds(Wished, st.sampled_from(["run", "pause", "cancel"])),
)


@given(st.lists(st.tuples(EVENTS, st.floats(0, 15)), max_size=40))
def test_it_ends_exactly_when_every_part_has_and_then_nothing_changes(
    history: list[tuple[Event, float]],
) -> None:
    fleet, now = machine("a", "b"), 0.0
    for event, later in history:
        now += later
        ended = fleet.record if fleet.record.state in FINISHED else None
        fleet.handle(event, now, AT)
        record = fleet.record
        assert ended is None or record == ended
        assert (record.state in FINISHED) == all(part.finished for part in record.parts.values())
        assert (record.state == "failed") == (record.problem is not None)
        assert (record.state in FINISHED) == (record.finished_at is not None) == (not fleet.asks())


@pytest.mark.parametrize("wish", ["pause", "cancel"])
def test_a_wish_survives_the_silence_of_a_node(wish: Wish) -> None:
    fleet = machine("a")
    told(fleet, "a", "downloading")
    fleet.handle(Wished(wish), 0.0, AT)
    fleet.handle(Silent("a", "gone"), 1.0, AT)
    assert fleet.asks() == [Steer("a", "7-a", wish)]
