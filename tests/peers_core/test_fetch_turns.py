from __future__ import annotations

import pytest

from peers.fetch_turns import (
    AHEAD_WAITS_S,
    BEHIND_S,
    FETCHERS_ALWAYS,
    PASSED_ON,
    PIECE_S,
    SLOWER_MIN,
    SPANS_ALWAYS,
    SPREAD_AWAITED_S,
    YIELDS_S,
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
    turns.took("a", 5, 0.0)
    turns.took("b", 1, 0.0)
    assert turns.next_up({"a", "b", "c"}, 1) == {"c"}
    assert turns.next_up({"a", "b", "c"}, 2) == {"b", "c"}
    assert turns.next_up({"a"}, 1) == {"a"}, "nobody else waits"
    assert turns.next_up({"a"}, 0) == frozenset()


def test_a_newcomer_has_not_to_make_up_for_what_the_others_fetched(turns: FetchTurns) -> None:
    for member in ("a", "b", "c"):
        turns.took(member, 7, 0.0)
    turns.heard("late", FAST)
    turns.took("late", 1, 0.0)
    assert turns.next_up({"a", "late"}, 1) == {"a"}


def in_time(
    turns: FetchTurns, member: str, left_bytes: int, now: float = 0.0, *, unspread: bool = False
) -> bool:
    """Beside "a", who fetches."""
    return turns.in_time(member, frozenset({"a", member}), left_bytes, 0.0, now, lambda: unspread)


def alone(turns: FetchTurns, member: str, now: float, *, unspread: bool = False) -> bool:
    """The same while nobody else fetches; much is left."""
    return turns.in_time(member, frozenset({member}), round(1000 * FAST), 0.0, now, lambda: unspread)


def test_a_slow_member_fetches_while_enough_is_left_for_the_others(turns: FetchTurns) -> None:
    turns.heard("slow", SLOW)
    piece_s = PASSED_ON * PIECE_BYTES / SLOW
    assert in_time(turns, "slow", round(1.1 * FAST * piece_s), unspread=True)
    assert not in_time(turns, "slow", round(0.9 * FAST * piece_s))
    assert in_time(turns, "a", PIECE_BYTES)
    assert alone(turns, "slow", 0.0, unspread=True)


def test_a_member_far_behind_leaves_the_fetching_to_those_who_keep_up(turns: FetchTurns) -> None:
    much = round(1000 * FAST)
    for member in ("a", "b", "c"):
        turns.heard(member, FAST, 2.0)
    turns.heard("late", FAST, BEHIND_S + 1.9 * SLOWER_MIN)
    assert in_time(turns, "late", much), "it is not so much further behind than the others"
    turns.heard("late", FAST, BEHIND_S + 2.1 * SLOWER_MIN)
    assert not in_time(turns, "late", much, 10.0)
    assert in_time(turns, "a", much, 10.0)
    assert not alone(turns, "late", 10.0 + YIELDS_S - 0.1), "the others are between two spans"
    assert alone(turns, "late", 10.0 + YIELDS_S), "nobody else fetches"


def test_a_member_far_behind_fetches_nothing_more_before_somebody_has_what_it_fetched(
    turns: FetchTurns,
) -> None:
    turns.heard("late", FAST, 60.0)
    turns.took("late", 1, 10.0)
    assert not alone(turns, "late", 1.0)
    assert not alone(turns, "late", 20.0, unspread=True)
    assert alone(turns, "late", 20.0)
    assert alone(turns, "late", 10.0 + SPREAD_AWAITED_S, unspread=True), "nobody wants it"


def test_when_all_are_behind_all_fetch(turns: FetchTurns) -> None:
    for member in ("a", "b", "c", "d"):
        turns.heard(member, FAST, 60.0)
    assert in_time(turns, "d", round(1000 * FAST))


def test_a_member_of_unknown_rate_is_tried(turns: FetchTurns) -> None:
    turns.heard("new", 0.0)
    assert in_time(turns, "new", PIECE_BYTES, unspread=True)


def test_a_member_far_ahead_lets_others_ask_first_but_not_for_long(turns: FetchTurns) -> None:
    turns.took("a", 2, 0.0)
    assert not turns.lets_others_ask("a", 0.0), "two leases are within the usual"
    turns.took("a", 2, 0.0)
    turns.took("a", 2, 0.0)
    assert turns.lets_others_ask("a", 1.0)
    assert turns.deadline() == 1.0 + AHEAD_WAITS_S
    assert not turns.pass_time(1.0)
    assert turns.lets_others_ask("a", 1.2), "the time runs from the first time on"
    assert turns.pass_time(1.0 + AHEAD_WAITS_S)
    assert turns.deadline() == float("inf")
    assert not turns.lets_others_ask("a", 1.5), "nobody came"
    turns.took("a", 2, 0.0)
    assert turns.lets_others_ask("a", 2.0), "the next span is another matter"


def test_small_leases_at_the_end_make_nobody_wait_who_is_ahead_by_one_of_before(turns: FetchTurns) -> None:
    turns.took("a", 5, 0.0)
    turns.took("a", 1, 0.0)
    assert not turns.lets_others_ask("a", 0.0)
    for _ in range(10):
        turns.took("a", 1, 0.0)
    assert turns.lets_others_ask("a", 0.0)


def test_one_that_fetches_little_makes_nobody_wait(turns: FetchTurns) -> None:
    for _ in range(5):
        turns.took("a", 2, 0.0)
        turns.took("b", 2, 0.0)
    assert not turns.lets_others_ask("a", 0.0)
    turns.forget("b")
    turns.forget("c")
    assert not turns.lets_others_ask("a", 0.0), "there are no others"
