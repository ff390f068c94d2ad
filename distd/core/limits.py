"""Which bandwidth limits hold at a moment, and when that changes next.

What was set at run time comes before a window, a window before the rest. Of windows that overlap the first counts; a
limit that it leaves out stays as it is outside. A window is a piece of wall-clock time: where clocks are put forward or
back inside it, it is an hour shorter or longer. Moments are seconds since the epoch, limits bytes per second, 0 none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Literal, TypeAlias, get_args

LimitKey: TypeAlias = Literal["hub_down", "hub_down_cluster", "peer_up", "peer_down"]
LIMIT_KEYS: tuple[LimitKey, ...] = get_args(LimitKey)

RATE_MIN_BYTES_PER_S = 64 * 1024
"""Lower limits are refused: a piece would take minutes, and servers close connections that slow."""

DAY_MINUTES = 24 * 60
DAYS_AHEAD = 8
"""How far changes are looked for: every window begins within a week, and one may have begun the day before."""


@dataclass(frozen=True, slots=True)
class Limits:
    """All limits of a moment."""

    hub_down: int = 0
    hub_down_cluster: int = 0
    peer_up: int = 0
    peer_down: int = 0

    def of(self, key: LimitKey) -> int:
        return int(getattr(self, key))

    def with_(self, stated: Mapping[LimitKey, int]) -> Limits:
        changed: dict[str, int] = {key: rate for key, rate in stated.items()}  # noqa: C416  # other keys' type
        return replace(self, **changed)

    @property
    def hub(self) -> int:
        """What a node without a cluster may take from the Hub: it is its own cluster."""
        return lowest(self.hub_down, self.hub_down_cluster)


@dataclass(frozen=True, slots=True)
class Window:
    """A time of the day on some days. `days` are those on which it begins, Monday 0; none means every day.

    `to_minute` may be a whole day's minutes; if it is not after `from_minute` the window ends the day after.
    """

    days: frozenset[int]
    from_minute: int
    to_minute: int
    tz: tzinfo
    stated: Mapping[LimitKey, int]

    def spans(self, at: float, days_ahead: int = 0) -> Iterator[tuple[float, float]]:
        """Beginning and end of each time it holds that began since yesterday, up to `days_ahead` from `at`."""
        today = datetime.fromtimestamp(at, self.tz).date()
        until = self.to_minute if self.to_minute > self.from_minute else self.to_minute + DAY_MINUTES
        for offset in range(-1, days_ahead + 1):
            day = today + timedelta(days=offset)
            if not self.days or day.weekday() in self.days:
                yield self._moment(day, self.from_minute), self._moment(day, until)

    def holds(self, at: float) -> bool:
        return any(start <= at < end for start, end in self.spans(at))

    def _moment(self, day: date, minute: int) -> float:
        """A wall-clock time that a change of clocks leaves out stands for the moment it would have been."""
        day += timedelta(days=minute // DAY_MINUTES)
        hours, minutes = divmod(minute % DAY_MINUTES, 60)
        return datetime.combine(day, time(hours, minutes), self.tz).astimezone(UTC).timestamp()


@dataclass(frozen=True, slots=True)
class Override:
    """A limit set at run time; `until` None: for good."""

    rate_bytes_per_s: int
    until: float | None = None

    def holds(self, at: float) -> bool:
        return self.until is None or at < self.until


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything that decides about limits."""

    usual: Limits = Limits()
    windows: Sequence[Window] = ()
    overrides: Mapping[LimitKey, Override] = field(default_factory=dict)

    def window_at(self, at: float) -> int | None:
        """Which of `windows` holds."""
        return next((index for index, window in enumerate(self.windows) if window.holds(at)), None)

    def at(self, at: float) -> Limits:
        """The limits that hold at a moment."""
        index = self.window_at(at)
        limits = self.usual if index is None else self.usual.with_(self.windows[index].stated)
        return limits.with_(self._set(at))

    def source(self, key: LimitKey, at: float) -> str:
        """Where the limit in force comes from: `set`, `window N` counted from 0, or `limits`."""
        if key in self._set(at):
            return "set"
        index = self.window_at(at)
        return f"window {index}" if index is not None and key in self.windows[index].stated else "limits"

    def next_change(self, at: float) -> float | None:
        """When other limits will hold than at `at`; None: not within a week."""
        now = self.at(at)
        moments = {
            moment for window in self.windows for span in window.spans(at, DAYS_AHEAD) for moment in span
        }
        moments |= {each.until for each in self.overrides.values() if each.until is not None}
        return next((moment for moment in sorted(moments) if moment > at and self.at(moment) != now), None)

    def _set(self, at: float) -> dict[LimitKey, int]:
        return {key: each.rate_bytes_per_s for key, each in self.overrides.items() if each.holds(at)}


def lowest(*limits: float) -> int:
    """The lowest of some limits, of which 0 is none."""
    return int(min((limit for limit in limits if limit > 0), default=0))


assert tuple(each.name for each in fields(Limits)) == LIMIT_KEYS
