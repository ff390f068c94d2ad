"""Cron expressions mean what cron means."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from distd.schedule import cron_fires


def fires(expression: str, count: int, after: str = "2026-03-01T00:00:00") -> list[str]:
    """The next times; 1 March 2026 is a Sunday."""
    moment, found = datetime.fromisoformat(after).replace(tzinfo=UTC).timestamp(), []
    next_fire = cron_fires(expression)
    for _ in range(count):
        fire = next_fire(moment)
        assert fire is not None
        found.append(datetime.fromtimestamp(fire, UTC).strftime("%a %m-%d %H:%M"))
        moment = fire
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 3 * * *", ["Sun 03-01 03:00", "Mon 03-02 03:00"]),
        ("*/20 * * * *", ["Sun 03-01 00:20", "Sun 03-01 00:40", "Sun 03-01 01:00"]),
        ("0 0 * * 0", ["Sun 03-08 00:00", "Sun 03-15 00:00"]),
        ("0 0 * * 7", ["Sun 03-08 00:00"]),
        ("0 9 * * 1-5", ["Mon 03-02 09:00", "Tue 03-03 09:00"]),
        ("0 9 * * fri-mon", ["Sun 03-01 09:00", "Mon 03-02 09:00", "Fri 03-06 09:00"]),
        ("0 9 * * MON,wed", ["Mon 03-02 09:00", "Wed 03-04 09:00"]),
        ("0 9 * * */3", ["Sun 03-01 09:00", "Wed 03-04 09:00", "Sat 03-07 09:00"]),
        ("30 6 15 * *", ["Sun 03-15 06:30", "Wed 04-15 06:30"]),
    ],
)
def test_a_schedule_comes_when_cron_would(expression: str, expected: list[str]) -> None:
    assert fires(expression, len(expected)) == expected


def test_the_next_time_is_after_the_moment_not_at_it() -> None:
    assert fires("0 3 * * *", 1, "2026-03-01T03:00:00") == ["Mon 03-02 03:00"]


def test_a_day_that_never_comes_has_no_next_time() -> None:
    assert cron_fires("0 0 31 2 *")(0.0) is None


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("", "write five fields"),
        ("0 3 * *", "write five fields"),
        ("@daily", "write five fields"),
        ("61 3 * * *", "is not a schedule"),
        ("0 3 * * monday", "'monday' is no day of the week"),
        ("0 3 * * abc", "'abc' is no day of the week"),
        ("0 3 * * 8", "'8' is no day of the week"),
        ("0 3 1 * 1", "write two entries"),
        ("a b c d e", "names days of the month and of the week"),
        ("a * * * *", "is not a schedule"),
    ],
)
def test_what_is_no_schedule_says_why(expression: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        cron_fires(expression)
