"""How fast something goes: calm while it is steady, quick when it changes."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distd.core.pace import INTERVAL_MIN_S, RECENT_MIN_S, SAMPLES_MAX, SPREAD_MAX, SPREAD_MIN, Pace, speed_of


def fed(
    pace: Pace, rate: float, duration_s: float, *, at: float = 0.0, total: float = 0.0
) -> tuple[float, float]:
    """Two samples a second; returns where it ended."""
    for _ in range(round(duration_s / 0.5)):
        at, total = at + 0.5, total + rate * 0.5
        pace.observe(total, at)
    return at, total


def test_nothing_is_said_before_it_was_seen_for_a_while() -> None:
    pace = Pace()
    assert pace.rate() is None
    fed(pace, 100.0, RECENT_MIN_S - 0.5)
    assert pace.rate() is None
    assert speed_of(pace) is None
    assert pace.spread() == SPREAD_MAX


def test_the_clock_begins_with_the_first_byte() -> None:
    pace = Pace()
    at, total = fed(pace, 0.0, 30.0)
    fed(pace, 100.0, 5.0, at=at, total=total)
    assert pace.rate() == pytest.approx(100.0, rel=0.02)


def test_a_steady_rate_has_a_narrow_range() -> None:
    pace = Pace()
    fed(pace, 100.0, 60.0)
    assert pace.rate() == pytest.approx(100.0)
    assert pace.spread() == pytest.approx(SPREAD_MIN)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_half_or_twice_the_rate_is_known_within_ten_seconds(factor: float) -> None:
    pace = Pace()
    at, total = fed(pace, 100.0, 40.0)
    fed(pace, 100.0 * factor, 10.0, at=at, total=total)
    assert pace.rate() == pytest.approx(100.0 * factor, rel=0.1)
    assert pace.spread() > SPREAD_MIN


def test_noise_is_no_change() -> None:
    rng, pace, total = Random(1), Pace(), 0.0
    for step in range(120):
        total += 50.0 * rng.uniform(0.6, 1.4)
        pace.observe(total, step * 0.5)
    assert pace.seen_s == pytest.approx(59.5)
    assert pace.rate() == pytest.approx(100.0, rel=0.05)


def test_what_stopped_is_no_speed() -> None:
    pace = Pace()
    at, total = fed(pace, 100.0, 20.0)
    fed(pace, 0.0, 15.0, at=at, total=total)
    assert speed_of(pace) is None


def test_a_count_that_falls_begins_anew() -> None:
    pace = Pace()
    at, _ = fed(pace, 100.0, 20.0)
    pace.observe(5.0, at + 0.5)
    assert pace.seen_s == 0.0


def test_memory_is_bounded_and_samples_too_near_are_left_out() -> None:
    pace = Pace()
    fed(pace, 100.0, SAMPLES_MAX)
    assert len(pace._samples) == SAMPLES_MAX
    seen_s = pace.seen_s
    pace.observe(1e9, SAMPLES_MAX + INTERVAL_MIN_S / 2)
    assert pace.seen_s == seen_s


@given(st.lists(st.tuples(st.floats(0, 1e12), st.floats(0, 100)), max_size=60))
def test_rates_are_never_negative_and_spreads_stay_in_their_bounds(steps: list[tuple[float, float]]) -> None:
    pace, at, total = Pace(), 0.0, 0.0
    for moved, later_s in steps:
        at, total = at + later_s, total + moved
        pace.observe(total, at)
        rate = pace.rate()
        assert rate is None or rate >= 0
        assert 0 < pace.spread() <= SPREAD_MAX
