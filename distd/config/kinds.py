"""Value kinds that TOML has no type for: sizes, rates, durations, addresses, URLs.

A kind is a mark on a field's type. `parse` turns what a person wrote into the program's value and
raises ValueError whose text says what is allowed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Annotated
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from distd.units import parse_duration, parse_rate, parse_size


@dataclass(frozen=True)
class Kind:
    parse: Callable[[object], object]


def _numeric(parse_text: Callable[[str], float]) -> Callable[[object], object]:
    def parse(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(f"{value!r} is neither a number nor a text with a unit")
        return parse_text(format(value, "f") if isinstance(value, float) else str(value))

    return parse


def split_listen(listen: str) -> tuple[str, int]:
    """`"127.0.0.1:7070"`, `"[::1]:7070"` -> host and port. Raises ValueError."""
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f'{listen!r} is not an address: write "HOST:PORT", for instance "127.0.0.1:7070"')
    return host, int(port)


def _listen(value: object) -> object:
    if value == "":
        return ""
    if not isinstance(value, str):
        raise ValueError(f'{value!r} is not an address: write "HOST:PORT"')
    split_listen(value)
    return value


def _endpoint(value: object) -> object:
    parts = urlsplit(value) if isinstance(value, str) else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise ValueError(f'{value!r} is not a Hub address: write for instance "https://huggingface.co"')
    _ = parts.port  # raises ValueError that says what is wrong with it
    return str(value).rstrip("/")


def _time_of_day(value: object) -> object:
    minutes_of_day(value)
    return value


def minutes_of_day(value: object) -> int:
    """`"08:30"` -> minutes since midnight; `"24:00"` is the end of the day. Raises ValueError."""
    match = _TIME_OF_DAY.fullmatch(value) if isinstance(value, str) else None
    minutes = int(match[1]) * 60 + int(match[2]) if match else 24 * 60 + 1
    if minutes > 24 * 60:
        raise ValueError(f'{value!r} is not a time of the day: write "HH:MM", from "00:00" to "24:00"')
    return minutes


def _time_zone(value: object) -> object:
    time_zone(value)
    return value


def time_zone(value: object) -> tzinfo:
    """`"Europe/Berlin"` -> the zone, by the system's data; UTC needs none. Raises ValueError."""
    if value == "UTC":
        return UTC
    try:
        return ZoneInfo(value)  # type: ignore[arg-type]  # what is no text is refused like any wrong one
    except (OSError, LookupError, ValueError, TypeError, AttributeError):
        known = available_timezones()
        close = difflib.get_close_matches(str(value), known, n=1)
        hint = f": did you mean {close[0]!r}?" if close else ': write for instance "Europe/Berlin" or "UTC"'
        if not known:
            hint = ", as this system has no data of time zones: install tzdata, or write times in UTC"
        raise ValueError(f"{value!r} is not a time zone{hint}") from None


_TIME_OF_DAY = re.compile(r"([0-9]{2}):([0-5][0-9])")

Size = Annotated[int, Kind(_numeric(parse_size))]
Rate = Annotated[int, Kind(_numeric(parse_rate))]
RateOrUsual = Annotated[int | None, Kind(_numeric(parse_rate))]
Duration = Annotated[float, Kind(_numeric(parse_duration))]
TimeOfDay = Annotated[str, Kind(_time_of_day)]
TimeZone = Annotated[str, Kind(_time_zone)]
Listen = Annotated[str, Kind(_listen)]
Endpoint = Annotated[str, Kind(_endpoint)]
