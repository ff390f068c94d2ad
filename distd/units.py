"""Sizes, rates and durations as people write them, and back.

Inside the program sizes are bytes, rates bytes per second and times seconds; these functions stand at
its border. `k` and `kB` are powers of 1000, `KiB` powers of 1024, a `bit` is an eighth of a byte.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

_MULTIPLES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "p": 10**15} | {
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
    "pi": 2**50,
}
_SIZE = re.compile(r"([0-9]*\.?[0-9]+)\s*([kmgtp]?i?)(b|bytes?)?", re.IGNORECASE)
_RATE = re.compile(r"([0-9]*\.?[0-9]+)\s*([kmgtp]?i?)(b|bytes?|bits?)?\s*(?:/\s*s|ps)?", re.IGNORECASE)
_DURATION = re.compile(r"([0-9]*\.?[0-9]+)\s*(ms|s|m|h|d|w)?", re.IGNORECASE)
_DURATION_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def parse_size(text: str) -> int:
    """`"64 MiB"`, `"500 MB"`, `"0"` -> bytes. Raises ValueError that shows the accepted forms."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or match[2].lower() not in _MULTIPLES:
        raise ValueError(
            f'{text!r} is not a size: write a number with B, kB, MB, GB, TB or KiB, MiB, GiB, as "64 MiB"'
        )
    return round(Fraction(match[1]) * _MULTIPLES[match[2].lower()])


def parse_rate(text: str) -> int:
    """`"2 Gbit/s"`, `"200 MB/s"`, `"0"` -> bytes per second. Raises ValueError that shows the accepted forms.

    `Mbps` and `Mbit/s` are bits; `MB/s` and a bare number are bytes, as in every tool an operator uses.
    """
    match = _RATE.fullmatch(text.strip())
    if match is None or match[2].lower() not in _MULTIPLES:
        raise ValueError(f'{text!r} is not a rate: write for instance "200 MB/s" or "2 Gbit/s"')
    unit = match[3] or ""
    bits = unit.lower().startswith("bit") or (unit == "b" and bool(match[2]))
    return round(Fraction(match[1]) * _MULTIPLES[match[2].lower()] / (8 if bits else 1))


def parse_duration(text: str) -> float:
    """`"30s"`, `"24h"`, `"1.5"` (seconds) -> seconds. Raises ValueError that shows the accepted forms."""
    match = _DURATION.fullmatch(text.strip())
    duration_s = float(match[1]) * _DURATION_S[(match[2] or "s").lower()] if match else math.inf
    if match is None or not math.isfinite(duration_s):
        raise ValueError(
            f'{text!r} is not a duration: write for instance "500ms", "30s", "15m", "24h" or "7d"'
        )
    return duration_s


def format_size(size_bytes: float) -> str:
    """`137_438_953_472` -> `"137.4 GB"`; powers of 1000, as disks and links are sold."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(value) < 999.95 or unit == "TB":
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("the loop ends at TB")


def format_rate(rate_bytes_per_s: float) -> str:
    """Bytes per second as `"1.2 GB/s"`."""
    return f"{format_size(rate_bytes_per_s)}/s"


def format_duration(duration_s: float) -> str:
    """Seconds as the two largest units: `"3 h 08 m"`, `"2 m 05 s"`, `"12 s"`, `"0.4 s"`."""
    if duration_s < 10:
        return f"{duration_s:.1f} s"
    seconds = round(duration_s)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} m {seconds % 60:02d} s"
    if seconds < 86400:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} m"
    return f"{seconds // 86400} d {seconds % 86400 // 3600:02d} h"
