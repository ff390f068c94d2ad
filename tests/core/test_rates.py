"""Rates from observations, and the time that is left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distd.core.rates import SEEN_MIN_S, Meter, TimeLeft, time_left

Additions = st.lists(st.tuples(st.integers(0, 10**12), st.floats(0, 200)), max_size=60)


def steady(rate_bytes_per_s: int, duration_s: float, *, start: float = 1000.0, step_s: float = 0.05) -> Meter:
    meter = Meter()
    for index in range(round(duration_s / step_s)):
        meter.add(round(rate_bytes_per_s * step_s), start + index * step_s)
    return meter


def test_a_new_meter_has_seen_nothing() -> None:
    meter = Meter()
    assert (meter.rate(10.0, 5.0), meter.seen_s(5.0), meter.slices(5.0), meter.total_bytes) == (
        0.0,
        0.0,
        [],
        0,
    )


@pytest.mark.parametrize("window_s", [1.0, 3.0, 5.0, 10.0, 60.0])
@pytest.mark.parametrize("phase", [0.05, 0.35, 0.6, 0.95])
def test_a_steady_flow_shows_its_rate_at_every_moment_of_a_second(window_s: float, phase: float) -> None:
    meter = steady(1_000_000, 70 + phase)
    assert meter.rate(window_s, 1070 + phase) == pytest.approx(1_000_000, rel=0.06)


def test_a_rate_is_taken_over_the_time_since_the_start_while_that_is_shorter() -> None:
    meter = steady(1_000_000, 4.0)
    assert meter.rate(60.0, 1004.0) == pytest.approx(1_000_000, rel=0.02)


def test_a_burst_of_the_first_moment_is_no_enormous_rate() -> None:
    meter = Meter()
    meter.add(1000, 5.0)
    assert meter.rate(10.0, 5.001) == 1000.0


def test_a_flow_that_stopped_fades_to_nothing() -> None:
    meter = steady(1_000_000, 20.0)
    assert meter.rate(5.0, 1019.9) > 900_000
    assert meter.rate(5.0, 1026.0) == 0.0


def test_after_a_pause_of_more_than_the_window_the_past_says_nothing() -> None:
    meter = steady(1_000_000, 20.0)
    meter.add(500, 2000.0)
    assert meter.seen_s(2001.0) == 1.0
    assert meter.rate(60.0, 2001.0) == 500.0
    assert meter.total_bytes == 20_000_500


def test_a_meter_keeps_no_more_than_a_number_a_second_of_its_window() -> None:
    meter = steady(1_000_000, 300.0)
    assert len(meter._seconds) == 61


def test_slices_tell_the_rates_of_each_tenth_second_latest_first() -> None:
    meter = Meter()
    for second in range(60):
        meter.add(100 if second < 30 else 300, float(second))
    assert meter.slices(60.0) == [300.0, 300.0, 300.0, 100.0, 100.0, 100.0]
    assert meter.slices(25.0)[0] <= 300.0
    assert len(meter.slices(25.0)) == 2


def test_nothing_left_takes_no_time() -> None:
    assert time_left(0, Meter(), 5.0) == TimeLeft(0.0, 0.0, 0.0)
    assert time_left(-5, Meter(), 5.0) == TimeLeft(0.0, 0.0, 0.0)


def test_time_left_is_unknown_before_anything_was_seen_and_for_the_first_seconds() -> None:
    assert time_left(100, Meter(), 5.0) is None
    meter = steady(1_000_000, 2.0)
    assert time_left(100, meter, 1000.0 + SEEN_MIN_S - 0.1) is None
    assert time_left(100, meter, 1000.0 + SEEN_MIN_S) is not None


def test_time_left_is_unknown_when_nothing_arrives_any_more() -> None:
    assert time_left(100, steady(1_000_000, 20.0), 1040.0) is None


def test_time_left_of_a_steady_flow_is_the_rest_over_the_rate() -> None:
    left = time_left(60_000_000, steady(1_000_000, 60.0), 1060.0)
    assert left is not None
    assert left.eta_s == pytest.approx(60.0, rel=0.02)
    assert left.low_s == pytest.approx(54.5, rel=0.03)
    assert left.high_s == pytest.approx(66.7, rel=0.03)


def test_the_range_widens_with_a_flow_that_varied() -> None:
    meter = Meter()
    for second in range(60):
        meter.add(500_000 if second < 30 else 1_000_000, float(second))
    left = time_left(60_000_000, meter, 60.0)
    assert left is not None
    assert left.eta_s == pytest.approx(60.0)
    assert left.high_s == pytest.approx(120.0)


@given(Additions, st.integers(-10, 10**15), st.floats(0, 400))
def test_rates_and_times_are_never_negative_and_the_range_holds_the_estimate(
    additions: list[tuple[int, float]], remaining_bytes: int, later_s: float
) -> None:
    meter = Meter()
    now = 0.0
    for size_bytes, moment in sorted(additions, key=lambda addition: addition[1]):
        now = moment
        meter.add(size_bytes, now)
    now += later_s
    assert meter.total_bytes == sum(size_bytes for size_bytes, _ in additions)
    assert all(meter.rate(window_s, now) >= 0 for window_s in (0.5, 5.0, 60.0))
    assert all(rate >= 0 for rate in meter.slices(now))
    left = time_left(remaining_bytes, meter, now)
    if left is not None:
        assert 0 <= left.low_s <= left.eta_s <= left.high_s
    if remaining_bytes > 0 and not additions:
        assert left is None
