from __future__ import annotations

import pytest

from peers.fetch_turns import (
    AHEAD_WAITS_S,
    FETCHERS_ALWAYS,
    PIECE_S,
    RELAYS,
    SLOWER_MIN,
    SPANS_ALWAYS,
    FetchTurns,
)

PIECE_BYTES = 1000
FAST = 10_000.0
SLOW = FAST / SLOWER_MIN / 2


@pytest.fixture
def turns() -> FetchTurns:
    turns = FetchTurns(PIECE_BYTES)
    for member in ("a", "b", "c"):
        turns.heard(member, FAST)
    return turns


def test_as_many_spans_are_under_way_as_each_bring_a_piece_soon(turns: FetchTurns) -> None:
    assert turns.spans(0.0, 1) == SPANS_ALWAYS
    assert turns.spans(0.0, 6) == 6
    assert turns.spans(0.0, 100) == FETCHERS_ALWAYS
    assert turns.spans(10 * PIECE_BYTES / PIECE_S, 1) == pytest.approx(10, abs=1)


def test_they_are_shared_out_and_everybody_may_have_one(turns: FetchTurns) -> None:
    assert [turns.each(0.0, sharers) for sharers in (1, 2, 4, 100)] == [4, 2, 1, 1]


def test_those_who_were_granted_least_come_first(turns: FetchTurns) -> None:
    turns.took("a", 5)
    turns.took("b", 1)
    assert turns.next_up({"a", "b", "c"}, 1) == {"c"}
    assert turns.next_up({"a", "b", "c"}, 2) == {"b", "c"}
    assert turns.next_up({"a"}, 1) == {"a"}, "nobody else waits"
    assert turns.next_up({"a"}, 0) == frozenset()


def test_a_newcomer_has_not_to_make_up_for_what_the_others_fetched(turns: FetchTurns) -> None:
    for member in ("a", "b", "c"):
        turns.took(member, 7)
    turns.heard("late", FAST)
    turns.took("late", 1)
    assert turns.next_up({"a", "late"}, 1) == {"a"}


def test_a_slow_member_fetches_while_enough_is_left_for_the_others(turns: FetchTurns) -> None:
    turns.heard("slow", SLOW)
    piece_s = RELAYS * PIECE_BYTES / SLOW
    holders = frozenset({"a", "slow"})
    assert turns.in_time("slow", holders, round(1.1 * FAST * piece_s), 0.0)
    assert not turns.in_time("slow", holders, round(0.9 * FAST * piece_s), 0.0)
    assert turns.in_time("a", holders, PIECE_BYTES, FAST)


def test_without_anybody_faster_who_fetches_a_slow_member_does(turns: FetchTurns) -> None:
    turns.heard("slow", SLOW)
    assert turns.in_time("slow", frozenset({"slow"}), PIECE_BYTES, 0.0)


def test_a_member_of_unknown_rate_is_tried(turns: FetchTurns) -> None:
    turns.heard("new", 0.0)
    assert turns.in_time("new", frozenset({"a"}), PIECE_BYTES, FAST)


def test_a_member_far_ahead_lets_others_ask_first_but_not_for_long(turns: FetchTurns) -> None:
    turns.took("a", 2)
    assert not turns.lets_others_ask("a", 0.0), "two leases are within the usual"
    turns.took("a", 2)
    turns.took("a", 2)
    assert turns.lets_others_ask("a", 1.0)
    assert turns.deadline() == 1.0 + AHEAD_WAITS_S
    assert not turns.pass_time(1.0)
    assert turns.lets_others_ask("a", 1.2), "the time runs from the first time on"
    assert turns.pass_time(1.0 + AHEAD_WAITS_S)
    assert turns.deadline() == float("inf")
    assert not turns.lets_others_ask("a", 1.5), "nobody came"
    turns.took("a", 2)
    assert turns.lets_others_ask("a", 2.0), "the next span is another matter"


def test_one_that_fetches_little_makes_nobody_wait(turns: FetchTurns) -> None:
    for _ in range(5):
        turns.took("a", 2)
        turns.took("b", 2)
    assert not turns.lets_others_ask("a", 0.0)
    turns.forget("b")
    turns.forget("c")
    assert not turns.lets_others_ask("a", 0.0), "there are no others"
