"""The log of events: bounds, places in it, and what is no longer there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distd.core.event_log import EventLog


def filled(count: int, **bounds: int) -> EventLog:
    log = EventLog("run", **bounds)
    for number in range(1, count + 1):
        log.append("pull", "ab"[number % 2], f"{number}")
    return log


def test_a_listener_reads_what_follows_its_place_and_then_waits() -> None:
    log = filled(3)
    assert [event.data for event in (log.next(0), log.next(1), log.next(2)) if event] == ["1", "2", "3"]
    assert log.next(3) is None


def test_a_listener_of_one_pull_reads_of_that_pull_alone() -> None:
    event = filled(6).next(2, "a")
    assert event is not None
    assert (event.seq, event.data) == (4, "4")


def test_the_oldest_are_forgotten_and_who_needs_them_is_told() -> None:
    log = filled(5, events_max=3)
    assert len(log) == 3
    with pytest.raises(LookupError):
        log.next(1)
    assert log.seq_of("run-1") == "gap"
    following = log.next(2)
    assert following is not None
    assert following.data == "3"


def test_the_size_is_bounded_too_and_an_event_larger_than_the_bound_is_a_gap() -> None:
    log = EventLog("run", characters_max=10)
    log.append("pull", "a", "x" * 8)
    log.append("pull", "a", "x" * 8)
    assert len(log) == 1
    log.append("pull", "a", "x" * 11)
    assert len(log) == 0
    with pytest.raises(LookupError):
        log.next(2)
    assert log.next(3) is None


def test_what_happened_while_nothing_was_recorded_is_a_gap_even_after_the_last_event() -> None:
    log = filled(2)
    log.break_off()
    assert log.seq_of("run-2") == "gap"
    assert log.next(log.last_seq) is None


@pytest.mark.parametrize(
    ("told", "place"),
    [
        (None, "start"),
        ("", "start"),
        ("run-2", 2),
        ("run-0", 0),
        ("run-99", "restart"),
        ("other-2", "restart"),
        ("run--2", "restart"),
        ("run-٢", "restart"),
        ("run-" + "9" * 5000, "restart"),
        ("run", "restart"),
    ],
)
def test_an_id_is_a_place_or_a_reason_to_begin_anew(told: str | None, place: object) -> None:
    assert filled(3).seq_of(told) == place


@given(st.text())
def test_no_text_of_a_client_is_an_error(told: str) -> None:
    filled(3).seq_of(told)


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(1, 10), st.integers(1, 60))
def test_memory_stays_within_its_bounds_and_nothing_is_skipped_silently(
    sizes: list[int], events_max: int, characters_max: int
) -> None:
    log = EventLog("run", events_max=events_max, characters_max=characters_max)
    place, expected = 0, 1
    for number, size in enumerate(sizes, 1):
        log.append("pull", "a", "x" * size)
        assert len(log) <= events_max
        if number % 3:
            continue
        try:
            while (event := log.next(place)) is not None:
                assert event.seq == expected
                place, expected = event.seq, event.seq + 1
        except LookupError:
            place, expected = log.last_seq, log.last_seq + 1
