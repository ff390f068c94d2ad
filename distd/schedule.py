"""Cron expressions, by apscheduler's trigger: asked for its next time, never for the clock.

Two things of it differ from cron and are mended here: it counts week days from Monday, where cron's 0 and 7 are Sunday,
and it takes a day of the month and of the week together as both, where cron takes either. The latter is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FIELDS = 5
TIMES_REMEMBERED = 8
"""Of each schedule: it is asked for the same time every second until that has come."""
_ITEM = re.compile(r"(\*|[a-z]{3}|[0-7])(?:-([a-z]{3}|[0-7]))?(?:/([1-9]))?")

Fires = Callable[[float], float | None]


def cron_fires(expression: str) -> Fires:
    """A function from a moment to the first time after it, in seconds since the epoch; None: never again.

    The time zone is UTC, so that a fleet in several zones means the same moment. Raises ValueError that says what is
    wrong. The library takes 0.1 s to load and is loaded by the first call.
    """
    fields = expression.split()
    if len(fields) != FIELDS:
        raise ValueError(
            f'{expression!r} is not a schedule: write five fields as in cron, "MINUTE HOUR DAY MONTH WEEKDAY",'
            ' for instance "0 3 * * *"'
        )
    if fields[2] != "*" and fields[4] != "*":
        raise ValueError(
            f"{expression!r} names days of the month and of the week, which cron takes as either and most people as"
            " both: write two entries"
        )
    from apscheduler.triggers.cron import CronTrigger

    minute, hour, day, month, _ = fields
    try:
        trigger = CronTrigger(
            minute=minute, hour=hour, day=day, month=month, day_of_week=_week_days(fields[4]), timezone=UTC
        )
    except ValueError as error:
        raise ValueError(f"{expression!r} is not a schedule: {error}") from None

    @lru_cache(maxsize=TIMES_REMEMBERED)
    def next_fire(after: float) -> float | None:
        # It answers the first time at or after what it is asked for, in whole seconds.
        asked = datetime.fromtimestamp(int(after) + 1, UTC)
        found: datetime | None = trigger.get_next_fire_time(None, asked)
        return None if found is None else found.timestamp()

    return next_fire


def _week_days(field: str) -> str:
    """Cron's field as names, which mean the same everywhere. Raises ValueError."""
    if field == "*":
        return field
    chosen: set[int] = set()
    for item in field.lower().split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise ValueError(f"{item!r} is no day of the week")
        first, last, step = match[1], match[2], int(match[3] or 1)
        if first == "*":
            begin, end = 0, 6
        else:
            begin = _number(first)
            end = _number(last) if last else begin
        if end < begin:
            end += 7  # fri-mon
        chosen |= {number % 7 for number in range(begin, end + 1, step)}
    return ",".join(DAYS[number] for number in sorted(chosen))


def _number(day: str) -> int:
    if day.isdecimal():
        return int(day)
    if day not in DAYS:
        raise ValueError(f"{day!r} is no day of the week")
    return DAYS.index(day)
