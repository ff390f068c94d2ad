"""Connections to the Hub that lag behind what is usual."""

from __future__ import annotations

import pytest

from distd.core.lagging import LAGS_FACTOR, REOPENED_MAX, WATCHED_S, ConnectionPace, UsualPace

USUAL = 1000.0


@pytest.fixture
def usual() -> UsualPace:
    pace = UsualPace()
    pace.learn(int(USUAL), 1.0)
    return pace


def steady(pace: ConnectionPace, rate: float, start: float, seconds: float) -> list[float]:
    """The times at which it was said to lag, with ten parts a second."""
    times = [start + tick / 10 for tick in range(int(seconds * 10) + 1)]
    return [now for now in times if pace.arrived(int(rate / 10), now)]


def test_a_starved_connection_is_opened_anew_after_a_while(usual: UsualPace) -> None:
    lags = steady(ConnectionPace(usual), USUAL / LAGS_FACTOR / 2, 5.0, WATCHED_S)
    assert lags == [pytest.approx(5.0 + WATCHED_S)]


def test_a_somewhat_slower_one_is_left_alone(usual: UsualPace) -> None:
    assert steady(ConnectionPace(usual), 2 * USUAL / LAGS_FACTOR, 0.0, 60.0) == []


def test_nothing_lags_while_nothing_is_known() -> None:
    assert steady(ConnectionPace(UsualPace()), 1.0, 0.0, 60.0) == []


def test_when_all_become_slow_none_of_them_lags_for_long(usual: UsualPace) -> None:
    slow = USUAL / LAGS_FACTOR / 2
    for _ in range(4):
        other = ConnectionPace(usual)
        steady(other, slow, 0.0, 5.0)
        other.ended(5.0)
    assert steady(ConnectionPace(usual), slow, 0.0, 60.0) == []


def test_a_span_gives_up_opening_anew(usual: UsualPace) -> None:
    pace = ConnectionPace(usual)
    lags = []
    for second in range(0, 60, 3):
        usual.bytes_per_s = USUAL
        lags += steady(pace, 1.0, float(second), 3.0)
    assert len(lags) == REOPENED_MAX


def test_waiting_for_the_disk_is_not_the_connections_fault(usual: UsualPace) -> None:
    pace = ConnectionPace(usual)
    assert not pace.arrived(500, 0.0)
    pace.excuse(10.0)
    assert not pace.arrived(500, 10.5)
    assert not pace.arrived(1500, 12.0)
    assert usual.bytes_per_s == pytest.approx(USUAL)
