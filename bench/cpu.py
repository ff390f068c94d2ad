"""What a run cost: CPU seconds of a process, and how idle the machine was, since numbers from a saturated
machine say little."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_seconds_of(pid: int) -> float:
    """User and system time of a process so far, all its threads, children apart."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


@contextmanager
def idle_share() -> Iterator[Callable[[], float]]:
    """Call the yielded function after the block: the share of all CPU time in it that was idle."""
    before = _cpu_times()
    yield lambda: _idle(before, _cpu_times())


def machine() -> str:
    """One line that names what the numbers were measured on."""
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return f"{os.cpu_count()} x {model}, Python {platform.python_version()}, Linux {platform.release()}"


def _cpu_times() -> list[int]:
    return [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]


def _idle(before: list[int], after: list[int]) -> float:
    spent = [end - start for start, end in zip(before, after, strict=True)]
    return (spent[3] + spent[4]) / max(1, sum(spent))  # idle and waiting for disks
