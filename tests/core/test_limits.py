"""Which limits hold when: windows on days, over midnight and over a change of clocks, and what was set at run time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distd.core.limits import LIMIT_KEYS, LimitKey, Limits, Override, Schedule, Window, lowest

BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = 0


def at(text: str, tz: ZoneInfo = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=tz).timestamp()


def window(
    begins: int, ends: int, *days: int, stated: Mapping[LimitKey, int] | None = None, tz: ZoneInfo = BERLIN
) -> Window:
    """From and to in whole hours."""
    return Window(frozenset(days), begins * 60, ends * 60, tz, stated or {"hub_down": 1})


USUAL = Limits(hub_down=100, peer_up=7)


@pytest.mark.parametrize(
    ("moment", "hub_down"),
    [
        ("2026-03-02T07:59:59", 100),
        ("2026-03-02T08:00:00", 1),
        ("2026-03-02T17:59:59", 1),
        ("2026-03-02T18:00:00", 100),
        ("2026-03-03T12:00:00", 100),  # a Tuesday
    ],
)
def test_a_window_holds_on_its_days_from_its_first_minute_to_before_its_last(
    moment: str, hub_down: int
) -> None:
    schedule = Schedule(USUAL, (window(8, 18, MONDAY),))
    assert schedule.at(at(moment)) == Limits(hub_down=hub_down, peer_up=7)


@pytest.mark.parametrize(
    ("moment", "holds"),
    [
        ("2026-03-02T21:59:59", False),
        ("2026-03-02T22:00:00", True),  # Monday
        ("2026-03-03T05:59:59", True),  # begun on Monday
        ("2026-03-03T06:00:00", False),
        ("2026-03-03T22:30:00", False),
        ("2026-03-02T05:00:00", False),  # would have begun on Sunday
    ],
)
def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins(moment: str, holds: bool) -> None:
    assert window(22, 6, MONDAY).holds(at(moment)) is holds


def test_a_whole_day_ends_at_midnight() -> None:
    day = window(0, 24, MONDAY)
    assert day.holds(at("2026-03-02T00:00:00"))
    assert day.holds(at("2026-03-02T23:59:59"))
    assert not day.holds(at("2026-03-03T00:00:00"))


def test_the_time_zone_is_that_of_the_window() -> None:
    tokyo = window(8, 9, MONDAY, tz=ZoneInfo("Asia/Tokyo"))
    assert tokyo.holds(at("2026-03-01T23:30:00", ZoneInfo("UTC")))


def test_where_clocks_change_a_window_is_an_hour_shorter_or_longer() -> None:
    night = window(22, 6)
    hours = {}
    for day in ("2026-03-28", "2026-10-24", "2026-06-01"):  # the evening before, and one of no account
        (span,) = [each for each in night.spans(at(f"{day}T23:00:00")) if each[0] == at(f"{day}T22:00:00")]
        hours[day] = (span[1] - span[0]) / 3600
    assert hours == {"2026-03-28": 7, "2026-10-24": 9, "2026-06-01": 8}


def test_of_windows_that_overlap_the_first_counts_and_what_it_leaves_out_stays() -> None:
    schedule = Schedule(USUAL, (window(8, 12, stated={"peer_up": 1}), window(8, 18, stated={"hub_down": 2})))
    assert schedule.at(at("2026-03-02T09:00:00")) == Limits(hub_down=100, peer_up=1)
    assert schedule.at(at("2026-03-02T13:00:00")) == Limits(hub_down=2, peer_up=7)
    assert schedule.source("peer_up", at("2026-03-02T09:00:00")) == "window 0"
    assert schedule.source("hub_down", at("2026-03-02T09:00:00")) == "limits"
    assert schedule.source("hub_down", at("2026-03-02T13:00:00")) == "window 1"


def test_what_was_set_comes_before_windows_until_its_end() -> None:
    noon = at("2026-03-02T12:00:00")
    schedule = Schedule(USUAL, (window(8, 18),), {"hub_down": Override(50, noon), "peer_down": Override(9)})
    assert schedule.at(noon - 1) == Limits(hub_down=50, peer_up=7, peer_down=9)
    assert schedule.source("hub_down", noon - 1) == "set"
    assert schedule.at(noon) == Limits(hub_down=1, peer_up=7, peer_down=9)
    assert schedule.next_change(noon - 1) == noon


def test_the_next_change_is_when_other_limits_hold_not_when_some_window_begins() -> None:
    same = window(10, 11, stated={"hub_down": 100})
    schedule = Schedule(USUAL, (same, window(8, 18, MONDAY)))
    monday = at("2026-03-02T08:00:00")
    assert schedule.next_change(at("2026-02-25T00:00:00")) == monday  # the Wednesday before
    assert schedule.next_change(monday) == at(
        "2026-03-02T10:00:00"
    )  # the first window counts, with the usual limit
    assert Schedule(USUAL, (same,)).next_change(monday) is None


@given(
    st.floats(1.7e9, 1.9e9),
    st.lists(st.tuples(st.integers(0, 23), st.integers(0, 24), st.integers(0, 6)), max_size=4),
)
def test_nothing_changes_before_the_next_change_and_something_does_then(
    moment: float, hours: list[tuple[int, int, int]]
) -> None:
    windows = [
        window(begins, ends, day, stated={"hub_down": number})
        for number, (begins, ends, day) in enumerate(hours)
        if begins != ends
    ]
    schedule = Schedule(USUAL, windows)
    change = schedule.next_change(moment)
    until = moment + 7 * 86_400 if change is None else change
    for step in range(20):
        assert schedule.at(moment + (until - moment) * step / 20) == schedule.at(moment)
    if change is not None:
        assert moment < change
        assert schedule.at(change) != schedule.at(moment)


def test_no_limit_is_not_the_lowest() -> None:
    assert (lowest(0, 5, 3), lowest(0, 0), lowest(4.7)) == (3, 0, 4)
    assert Limits(hub_down=0, hub_down_cluster=4).hub == 4
    assert set(LIMIT_KEYS) == {"hub_down", "hub_down_cluster", "peer_up", "peer_down"}


def test_a_moment_that_a_change_of_clocks_leaves_out_does_not_make_a_window_vanish() -> None:
    skipped = Window(frozenset(), 150, 240, BERLIN, {"hub_down": 1})  # 02:30 is left out on 29 March
    assert skipped.holds(at("2026-03-29T03:45:00"))
    assert skipped.holds(datetime(2026, 3, 29, 1, 45, tzinfo=UTC).timestamp())
