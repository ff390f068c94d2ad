from __future__ import annotations

import pytest

from peers import rendezvous
from peers.following import AVOID_S, PASSED_OVER_S, REFUSALS_BEFORE_SOLO, SOLO_S, Following

MEMBERS = ["a", "b", "c", "d", "e"]
FIRST, SECOND, THIRD, FOURTH, LAST = rendezvous.order("blob", MEMBERS)


@pytest.fixture
def following() -> Following:
    return Following("blob", LAST, frozenset(MEMBERS))


def test_the_first_live_member_is_asked(following: Following) -> None:
    assert following.target(0.0) == FIRST
    following.live_changed(frozenset(MEMBERS) - {FIRST})
    assert following.target(0.0) == SECOND


def test_a_member_that_is_taken_out_of_service_leads_when_nobody_else_is_there(following: Following) -> None:
    following.live_changed(frozenset(MEMBERS), frozenset({FIRST, LAST}))
    assert following.target(0.0) == SECOND
    following.live_changed(frozenset({FIRST, LAST}), frozenset({FIRST, LAST}))
    assert following.target(0.0) == FIRST


def test_a_lone_member_asks_itself() -> None:
    assert Following("blob", "me", frozenset()).target(0.0) == "me"


def test_one_failure_changes_nothing_and_the_second_passes_over_for_a_while(following: Following) -> None:
    following.failed(FIRST, 0.0)
    assert following.target(0.0) == FIRST
    following.failed(FIRST, 1.0)
    assert (following.target(1.0), following.unreachable(1.0)) == (SECOND, (FIRST,))
    assert following.changes_at(1.0) == 1.0 + AVOID_S
    assert (following.target(1.0 + AVOID_S), following.unreachable(1.0 + AVOID_S)) == (FIRST, ())


def test_who_asks_as_a_lead_does_is_passed_over_no_longer(following: Following) -> None:
    following.failed(FIRST, 0.0)
    following.failed(FIRST, 1.0)
    following.heard(FIRST)
    assert (following.target(1.0), following.unreachable(1.0)) == (FIRST, ())
    following.pass_over(FIRST, 2.0)
    following.heard(FIRST)
    assert following.target(2.0) == SECOND, "but for one that answers and does not help"


def test_an_answer_between_two_failures_forgives_the_first(following: Following) -> None:
    following.failed(FIRST, 0.0)
    following.answered()
    following.failed(FIRST, 1.0)
    assert following.target(1.0) == FIRST


def test_a_refusal_is_followed_to_the_member_it_names(following: Following) -> None:
    following.refused(FIRST, THIRD, 0.0)
    assert following.target(0.0) == THIRD
    following.live_changed(frozenset(MEMBERS))
    assert following.target(0.0) == FIRST


def test_a_refusal_that_names_an_unreachable_member_passes_over_the_refuser_too(following: Following) -> None:
    following.failed(FIRST, 0.0)
    following.failed(FIRST, 0.0)
    following.refused(SECOND, FIRST, 0.0)
    assert following.target(0.0) == THIRD


def test_a_refusal_that_names_a_member_left_out_here_is_answered_by_saying_so(following: Following) -> None:
    """Who was banned by all but the one that leads next would be followed for ever."""
    following.live_changed(frozenset(MEMBERS) - {FIRST})
    following.refused(SECOND, FIRST, 0.0)
    assert (following.target(0.0), following.unreachable(0.0)) == (SECOND, (FIRST,))


def test_a_member_that_came_back_may_be_named_again(following: Following) -> None:
    following.live_changed(frozenset(MEMBERS) - {FIRST})
    following.live_changed(frozenset(MEMBERS))
    following.refused(SECOND, FIRST, 0.0)
    assert (following.target(0.0), following.unreachable(0.0)) == (FIRST, ())


def test_after_some_refusals_in_a_row_a_member_leads_itself_for_a_while(following: Following) -> None:
    for _ in range(REFUSALS_BEFORE_SOLO):
        assert following.target(0.0) != LAST
        following.refused(FIRST, SECOND, 0.0)
    assert following.target(0.0) == LAST
    assert following.target(SOLO_S) == FIRST


def test_a_member_does_not_pass_over_itself() -> None:
    me = Following("blob", FIRST, frozenset(MEMBERS))
    me.failed(FIRST, 0.0)
    me.failed(FIRST, 0.0)
    assert me.target(0.0) == FIRST


def test_a_candidate_that_has_not_heard_of_a_drain_is_told_whom_it_replaces() -> None:
    following = Following("blob", LAST, frozenset(MEMBERS), frozenset({FIRST, SECOND, FOURTH}))
    assert (following.target(0.0), following.unreachable(0.0)) == (THIRD, tuple(sorted((FIRST, SECOND))))
    following.live_changed(frozenset(MEMBERS))
    assert following.unreachable(0.0) == ()


def test_a_lead_that_does_not_help_is_passed_over_once_in_a_while(following: Following) -> None:
    following.pass_over(FIRST, 0.0)
    assert (following.target(0.0), following.unreachable(0.0)) == (SECOND, (FIRST,))
    following.pass_over(SECOND, PASSED_OVER_S - 0.1)
    assert following.target(PASSED_OVER_S - 0.1) == SECOND, "it gets time to help"
    assert following.target(PASSED_OVER_S) == FIRST
    following.pass_over(LAST, PASSED_OVER_S)
    assert following.target(PASSED_OVER_S) == FIRST, "nobody passes over itself"
