"""The bandwidth limits of this node: which hold now, put into effect as time passes, and changed at run time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn, Protocol

from msgspec import UNSET

from distd.api.schema import LimitsChange, LimitsInForce, LimitsView, LimitWindowView, SetLimitView
from distd.config.kinds import minutes_of_day, time_zone
from distd.config.sections import LimitsSection, LimitWindow
from distd.core.estimate import Cap
from distd.core.limits import LIMIT_KEYS, RATE_MIN_BYTES_PER_S, Limits, Override, Schedule, Window, lowest
from distd.errors import InvalidRequest
from distd.pacing import Pacer
from distd.pulls.views import rfc3339
from distd.state.limits import LimitTable
from distd.units import format_rate

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
"""A window switches within 2 s, also when the clock is set: so it is looked at, not waited for."""
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Bandwidth(Protocol):
    """What limits are put into effect by."""

    def set_limits(self, limits: Limits) -> None:
        """From now on these hold, for transfers under way too."""

    def cluster_limit(self) -> int:
        """The lowest `hub_down_cluster` among live members, 0 none."""

    def hub_rate(self) -> int:
        """What this node may take from the Hub now, its part of the cluster's limit included; 0: no limit."""


CAPS_KEPT_S = 2.0
"""Finding the changes of a week takes milliseconds, and estimates ask twice a second."""
CAPS_MAX = 16
"""Changes of limits looked ahead for an estimate: more than a week of nights."""


class LoneBandwidth:
    """A node without a cluster is its own cluster."""

    def __init__(self, hub: Pacer) -> None:
        self._hub = hub
        self._limits = Limits()

    def set_limits(self, limits: Limits) -> None:
        self._limits = limits
        self._hub.set_rate(lowest(limits.hub_down, limits.hub_down_cluster))

    def cluster_limit(self) -> int:
        return self._limits.hub_down_cluster

    def hub_rate(self) -> int:
        return int(self._hub.rate_bytes_per_s)


class LimitService:
    """Implements the API's `LimitPort`. `open` first; `watch` is a task beside the API."""

    def __init__(
        self,
        section: LimitsSection,
        table: LimitTable,
        bandwidth: Bandwidth,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._wall = wall
        self._section = section
        self._table = table
        self._bandwidth = bandwidth
        self._schedule = schedule_of(section)
        self._in_force: Limits | None = None
        self._caps: tuple[Cap, ...] = ()
        self._caps_for: Limits | None = None
        self._caps_at = 0.0

    async def open(self) -> None:
        """Puts into effect what holds, with what was set in an earlier run. Raises StorageFailed."""
        self._schedule = replace(self._schedule, overrides=await self._table.load())
        self.look()

    async def watch(self) -> NoReturn:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.look()

    def reload(self, section: LimitsSection) -> None:
        """The configuration was read again. What was set at run time stays."""
        self._section = section
        self._schedule = replace(schedule_of(section), overrides=self._schedule.overrides)
        self.look()

    async def change(self, change: LimitsChange) -> LimitsView:
        """Sets limits, or takes settings back (null). Raises InvalidRequest and StorageFailed; then nothing changed."""
        now = self._wall()
        overrides = {key: each for key, each in self._schedule.overrides.items() if each.holds(now)}
        until = now + change.for_s if change.for_s is not None else None
        for key in LIMIT_KEYS:
            rate = getattr(change, key)
            if rate is None:
                overrides.pop(key, None)
            elif rate is not UNSET:
                if 0 < rate < RATE_MIN_BYTES_PER_S:
                    raise InvalidRequest(
                        f"{key} = {rate} is too little to work with: at least {RATE_MIN_BYTES_PER_S}, or 0 for no limit"
                    )
                overrides[key] = Override(rate, until)
        await self._table.save(overrides)
        self._schedule = replace(self._schedule, overrides=overrides)
        self.look()
        return self.view()

    def view(self) -> LimitsView:
        now, schedule = self._wall(), self._schedule
        holding = schedule.window_at(now)
        limits = schedule.at(now)
        return LimitsView(
            in_force=_shown(limits),
            sources={key: schedule.source(key, now) for key in LIMIT_KEYS},
            configured=_shown(schedule.usual),
            windows=tuple(
                _window_view(window, holds=index == holding)
                for index, window in enumerate(self._section.window)
            ),
            set={
                key: SetLimitView(each.rate_bytes_per_s, rfc3339(each.until))
                for key, each in schedule.overrides.items()
                if each.holds(now)
            },
            next_change_at=rfc3339(schedule.next_change(now)),
            hub_down_cluster_lowest=self._bandwidth.cluster_limit(),
            hub_down_now=self._bandwidth.hub_rate(),
        )

    def hub_caps(self, *, is_alone: bool) -> tuple[Cap, ...]:
        """What limits what comes from the Hub now and later, by this node's own windows: for estimates.

        In company it is the cluster's limit; what others' windows will be is not known here.
        """
        now = at = self._wall()
        if self._caps_for == self._in_force and 0 <= now - self._caps_at < CAPS_KEPT_S:
            return self._caps
        lowest_now = self._bandwidth.cluster_limit()
        caps: list[Cap] = []
        while len(caps) < CAPS_MAX:
            limits = self._schedule.at(at)
            rate = limits.hub if is_alone else limits.hub_down_cluster
            if not caps and not is_alone:
                rate = lowest(rate, lowest_now)
            caps.append(Cap(at - now, float(rate) if rate else None))
            change = self._schedule.next_change(at)
            if change is None:
                break
            at = change
        self._caps = tuple(caps) if any(cap.rate for cap in caps) else ()
        self._caps_for, self._caps_at = self._in_force, now
        return self._caps

    def look(self) -> None:
        """Puts into effect what holds by the clock. Idempotent."""
        limits = self._schedule.at(self._wall())
        if limits != self._in_force:
            self._in_force = limits
            self._bandwidth.set_limits(limits)
            log.info("limits: %s", _told(limits))


def schedule_of(section: LimitsSection) -> Schedule:
    """The configuration's limits as what decides; its values were checked when it was loaded."""
    usual = Limits(**{key: getattr(section, key) for key in LIMIT_KEYS})
    return Schedule(usual, tuple(_window(each) for each in section.window))


def _window(given: LimitWindow) -> Window:
    stated = {key: getattr(given, key) for key in LIMIT_KEYS}
    return Window(
        frozenset(DAYS.index(day) for day in given.days),
        minutes_of_day(given.from_time),
        minutes_of_day(given.to),
        time_zone(given.tz),
        {key: rate for key, rate in stated.items() if rate is not None},
    )


def _window_view(given: LimitWindow, *, holds: bool) -> LimitWindowView:
    rates = {key: getattr(given, key) for key in LIMIT_KEYS}
    return LimitWindowView(
        days=given.days, from_time=given.from_time, to=given.to, tz=given.tz, holds=holds, **rates
    )


def _shown(limits: Limits) -> LimitsInForce:
    return LimitsInForce(**{key: limits.of(key) for key in LIMIT_KEYS})


def _told(limits: Limits) -> str:
    said = [f"{key} {format_rate(limits.of(key))}" for key in LIMIT_KEYS if limits.of(key)]
    return ", ".join(said) or "none"
