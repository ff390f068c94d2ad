"""Rates from observations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distd.core.rates import Meter

Additions = st.lists(st.tuples(st.integers(0, 10**12), st.floats(0, 200)), max_size=60)


def steady(rate_bytes_per_s: int, duration_s: float, *, start: float = 1000.0, step_s: float = 0.05) -> Meter:
    meter = Meter()
    for index in range(round(duration_s / step_s)):
        meter.add(round(rate_bytes_per_s * step_s), start + index * step_s)
    return meter


def test_a_new_meter_has_seen_nothing() -> None:
    meter = Meter()
    assert (meter.rate(10.0, 5.0), meter.busy_s, meter.total_bytes) == (0.0, 0.0, 0)


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
    assert meter.rate(60.0, 2001.0) == 500.0
    assert meter.total_bytes == 20_000_500


def test_a_meter_keeps_no_more_than_a_number_a_second_of_its_window() -> None:
    meter = steady(1_000_000, 300.0)
    assert len(meter._seconds) == 61


def test_time_in_use_leaves_pauses_out() -> None:
    meter = steady(1_000_000, 20.0)
    meter.add(0, 2000.0)
    for step in range(100):
        meter.add(50_000, 2000.0 + step * 0.05)
    assert meter.busy_s == pytest.approx(25.0, abs=0.2)
    assert meter.total_bytes / meter.busy_s == pytest.approx(1_000_000, rel=0.02)


@given(Additions, st.floats(0, 400))
def test_rates_are_never_negative(additions: list[tuple[int, float]], later_s: float) -> None:
    meter = Meter()
    now = 0.0
    for size_bytes, moment in sorted(additions, key=lambda addition: addition[1]):
        now = moment
        meter.add(size_bytes, now)
    now += later_s
    assert meter.total_bytes == sum(size_bytes for size_bytes, _ in additions)
    assert all(meter.rate(window_s, now) >= 0 for window_s in (0.5, 5.0, 60.0))
    assert 0 <= meter.busy_s <= 200
