"""When prefetch is due, who carries it out, and what is remembered."""

from __future__ import annotations

import pytest

from distd.core.prefetch import (
    JITTER_MAX_S,
    KEEP_EVERY_S,
    RETRY_MAX_S,
    CoveredBy,
    Due,
    LeftTo,
    Record,
    Run,
    Told,
    cancelled,
    covered,
    decide,
    failed,
    first_record,
    jitter_s,
    keep_fires,
    next_due,
)

HOUR = 3600.0
NOW = 1_000_000 * HOUR + 100.0


def hourly(after: float) -> float:
    return (after // HOUR + 1) * HOUR


def test_a_new_schedule_begins_with_its_next_time_and_what_is_kept_present_at_once() -> None:
    due = next_due("k", hourly, first_record(True, NOW), NOW)
    assert due is not None
    assert due.fire == NOW - 100 + HOUR
    assert due.fire <= due.at <= due.fire + JITTER_MAX_S
    assert due.why == "scheduled"
    due = next_due("k", keep_fires, first_record(False, NOW), NOW)
    assert due is not None
    assert (due.at, due.why) == (NOW, "new, to be kept present")


def test_times_that_were_missed_are_caught_up_once() -> None:
    record = Record(covered_until=NOW - 30 * HOUR, last_run_at=NOW - 30 * HOUR, last_outcome="complete")
    due = next_due("k", hourly, record, NOW)
    assert due is not None
    assert (due.at, due.why) == (NOW, "missed, caught up")
    after = covered(record, due, NOW, "c1", "p1")
    due = next_due("k", hourly, after, NOW)
    assert due is not None
    assert due.fire == NOW - 100 + HOUR


def test_a_schedule_that_never_comes_again_is_not_due() -> None:
    assert next_due("k", lambda after: None, Record(0.0), NOW) is None


def test_a_failure_is_repeated_later_and_later_and_success_forgets_it() -> None:
    record, now, waits = Record(covered_until=NOW), NOW + HOUR, []
    for _ in range(9):
        record = failed(record, now, "the Hub is gone", "p1")
        due = next_due("k", hourly, record, now)
        assert due is not None
        waits.append(due.at - now)
        now = due.at
    assert waits == [60, 120, 240, 480, 960, 1920, RETRY_MAX_S, RETRY_MAX_S, RETRY_MAX_S]
    assert due.why == "failed 9 x, tried again"
    assert due.fire == NOW - 100 + HOUR  # the time is not lost
    done = covered(record, due, now, "c1", "p2")
    assert (done.failures, done.last_outcome, done.last_detail) == (0, "complete", "")


def test_a_cancelled_run_is_not_begun_again_before_the_next_time() -> None:
    record = Record(covered_until=NOW, last_commit="c0")
    due = Due(NOW + 10, NOW + 10, "scheduled")
    after = cancelled(record, due, NOW + 20, "p1")
    assert (after.covered_until, after.last_outcome, after.last_commit) == (NOW + 20, "cancelled", "c0")


@pytest.mark.parametrize("fires", [hourly, keep_fires])
def test_the_delay_is_the_same_for_all_and_differs_between_entries_and_times(fires: object) -> None:
    delays = {
        jitter_s(key, fires, time)  # type: ignore[arg-type]  # both are such functions
        for key in "abc"
        for time in (NOW, NOW + KEEP_EVERY_S)
    }
    assert len(delays) == 6
    assert jitter_s("a", hourly, NOW) == jitter_s("a", hourly, NOW)
    assert all(0 <= delay <= JITTER_MAX_S for delay in delays)


def test_the_first_of_those_that_declare_it_runs_it_for_all() -> None:
    due = Due(100.0, 110.0, "scheduled")
    told = {"b": Told(50.0), "c": Told(60.0)}
    assert decide("a", due, told, ("a", "c", "b")) == Run(("a", "b", "c"))
    assert decide("a", due, told, ("c", "a", "b")) == LeftTo("c")
    assert decide("a", due, {}, ("a",)) == Run(("a",))


def test_what_a_member_has_covered_is_not_run_again_by_the_first_in_order() -> None:
    due = Due(100.0, 110.0, "scheduled")
    told = {"b": Told(100.0, "c1"), "c": Told(120.0, "c2"), "d": Told(99.0, "c0")}
    assert decide("a", due, told, ("a", "b", "c", "d")) == CoveredBy("c", Told(120.0, "c2"))
