"""Looks whether pulls stand still, for their stories. The same reasons stand in `stalled_reason` of a pull at any time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from distd.pulls.active import ActivePull

LOOK_EVERY_S = 2.0
"""A stop is told after ten seconds; looking is cheap, and idle daemons have nothing to look at."""


async def watch(active: Callable[[], Iterable[ActivePull]]) -> None:
    """A task beside the API."""
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        for pull in list(active()):
            pull.look_for_stalls(time.monotonic())
