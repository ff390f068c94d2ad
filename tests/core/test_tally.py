from __future__ import annotations

from distd.core.tally import UNANSWERED, Histogram, Tally

INF = float("inf")


def test_a_value_counts_in_the_first_bucket_whose_bound_it_does_not_exceed() -> None:
    found = Histogram((1.0, 5.0))
    for value in (0.0, 1.0, 1.1, 5.0, 5.1, 700.0):
        found.observe(value)
    assert found.cumulative() == [(1.0, 2), (5.0, 4), (INF, 6)]
    assert found.sum == 712.2


def test_every_status_and_silence_is_a_code_of_its_own() -> None:
    tally = Tally()
    for status in (200, 429, 200, UNANSWERED):
        tally.hub_answered(status)
    assert tally.hub_requests == {200: 2, 429: 1, UNANSWERED: 1}


def test_only_complete_pulls_tell_how_long_a_pull_takes() -> None:
    tally = Tally()
    tally.pull_finished("complete", 12.0, 100)
    tally.pull_finished("failed", 3.0, 10)
    tally.pull_finished("cancelled", None, 0)
    assert tally.pulls_finished == {"complete": 1, "failed": 1, "cancelled": 1}
    assert (tally.pull_duration_s.sum, tally.pull_duration_s.cumulative()[-1]) == (12.0, (INF, 1))
    assert tally.reused_bytes == 110


def test_a_clock_that_was_set_back_makes_no_pull_end_before_it_began() -> None:
    tally = Tally()
    tally.pull_finished("complete", -40.0, 0)
    assert tally.pull_duration_s.cumulative()[0] == (1.0, 1)
    assert tally.pull_duration_s.sum == 0.0
