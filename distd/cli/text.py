"""Text for terminals: made safe, measured and cut in columns, with sizes and rates as people read them.

Names of repos and files come from outside. Nothing of them reaches a terminal before `safe` turned
control characters, direction marks and other invisible ones into escapes.
"""

from __future__ import annotations

import unicodedata

from distd.units import format_duration, format_size

_UNITS = ("B", "kB", "MB", "GB", "TB")


def safe(text: object) -> str:
    """The text on one line, with every character that does not print as its escape: `\\x1b`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))


def safe_lines(text: str) -> str:
    """As `safe`, keeping line breaks: for messages that this program or the daemon lays out."""
    return "\n".join(safe(line) for line in text.splitlines())


def columns_of(text: str) -> int:
    """Columns that a terminal uses for the text: East Asian wide ones take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(_columns(c) for c in text)


def cut_end(text: str, columns: int) -> str:
    """The text in at most `columns`, with `…` for what is missing at its end."""
    if columns_of(text) <= columns:
        return text
    kept, used = "", 1
    for c in text:
        used += _columns(c)
        if used > columns:
            break
        kept += c
    return f"{kept}…" if columns > 0 else ""


def cut_start(text: str, columns: int) -> str:
    """As `cut_end`, but keeps the end, which tells the files of a model apart."""
    return cut_end(text, columns) if columns_of(text) <= columns else cut_end(text[::-1], columns)[::-1]


def pad(text: str, columns: int) -> str:
    return text + " " * max(0, columns - columns_of(text))


def format_share(done_bytes: float, total_bytes: float) -> str:
    """`12.3/137.0 GB`: both in the unit of the total."""
    unit = _unit_of(total_bytes)
    digits = 0 if unit == 0 else 1
    return f"{done_bytes / 1000**unit:.{digits}f}/{total_bytes / 1000**unit:.{digits}f} {_UNITS[unit]}"


def format_percent(done_bytes: float, total_bytes: float) -> str:
    """Rounded down, so that 100% means all."""
    return f"{int(done_bytes * 100 // total_bytes) if total_bytes else 100}%"


def format_rates(total: float, hub: float, peers: float) -> tuple[str, str]:
    """Bytes per second as `1.42 GB/s` and, in the same unit, `(hub 1.31 peers 0.11)`."""
    unit = _unit_of(max(total, hub, peers))
    scale = 1000.0**unit
    return f"{total / scale:.2f} {_UNITS[unit]}/s", f"(hub {hub / scale:.2f} peers {peers / scale:.2f})"


def format_left(eta_s: float) -> str:
    return f"{format_duration(max(1.0, round(eta_s)))} left" if eta_s >= 10 else f"{round(eta_s)} s left"


def format_range(low_s: float | None, high_s: float | None) -> str:
    """`1 m 10 s to 1 m 50 s`, or `8 to 12 s`; empty where there is none."""
    if low_s is None or high_s is None:
        return ""
    if high_s < 60:
        return f"{low_s:.0f} to {max(1.0, high_s):.0f} s"
    return f"{format_duration(max(1.0, round(low_s)))} to {format_duration(max(1.0, round(high_s)))}"


def format_between(eta_s: float, low_s: float | None, high_s: float | None) -> str:
    """`about 12 m 00 s (9 m 10 s to 14 m 50 s)`."""
    between = format_range(low_s, high_s)
    return f"about {format_duration(eta_s)}{f' ({between})' if between else ''}"


_LIMITS = {
    "hub": "the Hub",
    "intake": "this node's intake",
    "peer": "other members",
    "files": "many small files",
    "disk": "the disk",
    "hashing": "hashing",
    "limit": "a bandwidth limit",
    "waiting": "",
}


def limit_word(limited_by: str | None) -> str:
    """What decides the time left, as people say it; empty where nothing is known."""
    return "" if limited_by is None else _LIMITS.get(limited_by, safe(limited_by))


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def size(size_bytes: float | None) -> str:
    """A size, or `?` where it is not known."""
    return "?" if size_bytes is None else format_size(size_bytes)


def _unit_of(size_bytes: float) -> int:
    unit = 0
    while unit < len(_UNITS) - 1 and size_bytes >= 999.95:
        size_bytes /= 1000
        unit += 1
    return unit


def _columns(c: str) -> int:
    if unicodedata.combining(c):
        return 0
    return 2 if unicodedata.east_asian_width(c) in ("W", "F") else 1
