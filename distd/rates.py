"""What the node measured of its sources: kept by the hour, and asked when nothing is seen yet.

Sources: `hub` and `peers` (what this node got), `cluster` (what the whole cluster got from the Hub, as far as this node
saw it), `peer` and `sent` (to and from one member), `hashing`; and for estimates only `hub_large` and `peers_large` (bytes while
larger files came), `hub_capped` (the same under a limit), `hub_files` and `peers_files` (tiny files, counted), `start` and `finish` (pulls, and what they took before the
first byte and after the last). A rate is amount over time in use: pauses do not count.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from distd.api.rate_schema import RateHourView, RateView
from distd.core.estimate import FILES_MANY
from distd.core.rates import Meter
from distd.errors import DistdError, StorageFailed
from distd.pulls.forecasts import Measured
from distd.pulls.views import rfc3339
from distd.state.rates import HOUR_S, KEPT_DAYS, RateRow, RateTable
from distd.store.workers import WorkClock

log = logging.getLogger(__name__)

SAVE_EVERY_S = 30.0
"""What a crash loses at most."""
TELLING_S = 30.0
"""So much use of a source says how fast it is; older hours count only where there is less."""
MEMORY_DAYS = 30
"""How far back a source is looked for at start."""
AMOUNT_MIN = {"start": 0.5, "finish": 0.5, "hub_files": FILES_MANY, "peers_files": FILES_MANY}
BYTES_MIN = 1 << 20
"""Less than this at a time says nothing about a link."""
NOTHING = Meter()

Flows = Callable[[], Mapping[str, tuple[Meter, Meter]]]
"""Per member what it sent to this node and what it got from it."""


@dataclass(slots=True)
class _Sum:
    amount: float = 0.0
    busy_s: float = 0.0


class RateHistory:
    """Implements `forecasts.Past`. `open` first, `watch` is a task beside the API, `close` saves what is left."""

    def __init__(
        self,
        table: RateTable,
        meters: Mapping[Literal["hub", "peers", "cluster"], Meter],
        hashed: WorkClock,
        flows: Flows,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._table = table
        self._meters = meters
        self._hashed = hashed
        self._flows = flows
        self._wall = wall
        self._saved: dict[tuple[str, str], _Sum] = {}
        self._noted: dict[tuple[str, str], _Sum] = {}
        self._recent: dict[str, list[RateRow]] = {}

    async def open(self) -> None:
        """Recalls what earlier runs measured. Raises StorageFailed."""
        for row in await self._table.since(self._hour() - MEMORY_DAYS * 24, peer=""):
            self._recent.setdefault(row.source, []).append(row)

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(SAVE_EVERY_S)
            with suppress(StorageFailed):  # what is unsaved is in the next save
                await self.save()

    async def close(self) -> None:
        try:
            await self.save()
        except DistdError as error:
            log.warning("the last rates are not kept: %s", error)

    def rate(self, source: Measured) -> float | None:
        """Of its latest TELLING_S of use."""
        amount = busy_s = 0.0
        unsaved = self._unsaved().get((source, ""), _Sum())
        rows = [*self._recent.get(source, ()), RateRow(0, source, "", unsaved.amount, unsaved.busy_s)]
        for row in reversed(rows):
            amount, busy_s = amount + row.amount, busy_s + row.busy_s
            if busy_s >= TELLING_S:
                break
        if amount < AMOUNT_MIN.get(source, BYTES_MIN) or busy_s <= 0:
            return None
        return amount / busy_s

    def note(self, source: Measured, amount: float, busy_s: float) -> None:
        noted = self._noted.setdefault((source, ""), _Sum())
        noted.amount += amount
        noted.busy_s += max(busy_s, 0.001)

    async def save(self) -> None:
        """Adds what is new to the hour. Raises StorageFailed; then it is added the next time."""
        hour = self._hour()
        unsaved = self._unsaved()
        rows = [
            RateRow(hour, *key, each.amount, each.busy_s) for key, each in unsaved.items() if each.amount > 0
        ]
        await self._table.add(rows)
        for key, each in unsaved.items():
            saved = self._saved.setdefault(key, _Sum())
            saved.amount += each.amount
            saved.busy_s += each.busy_s
        for row in rows:
            if not row.peer:
                self._remember(row)

    async def views(self, since: float, peer: str | None) -> list[RateView]:
        """Rates now, and by the hour since then (epoch seconds). Raises StorageFailed."""
        await self.save()
        first = max(int(since // HOUR_S), self._hour() - KEPT_DAYS * 24)
        hours: dict[tuple[str, str], list[RateHourView]] = {}
        for row in await self._table.since(first, peer):
            rate = row.amount / row.busy_s if row.busy_s > 0 else None
            hours.setdefault((row.source, row.peer), []).append(
                RateHourView(rfc3339(row.hour * HOUR_S) or "", int(row.amount), round(row.busy_s, 3), rate)
            )
        meters = self._by_source()
        shown = [key for key in sorted(meters.keys() | hours.keys(), key=_order) if key[0] in SHOWN]
        now = time.monotonic()
        return [
            RateView(
                key[0],
                key[1] or None,
                rates.rate(1.0, now),
                rates.rate(10.0, now),
                rates.rate(60.0, now),
                tuple(hours.get(key, ())),
            )
            for key in shown
            for rates in (meters.get(key, NOTHING),)
            if peer is None or key[1] == peer
        ]

    def _by_source(self) -> dict[tuple[str, str], Meter]:
        meters: dict[tuple[str, str], Meter] = {(name, ""): meter for name, meter in self._meters.items()}
        for name, (received, sent) in self._flows().items():
            meters |= {("peer", name): received, ("sent", name): sent}
        return meters

    def _remember(self, row: RateRow) -> None:
        rows = self._recent.setdefault(row.source, [])
        if rows and rows[-1].hour == row.hour:
            last = rows.pop()
            row = RateRow(row.hour, row.source, "", last.amount + row.amount, last.busy_s + row.busy_s)
        rows.append(row)
        del rows[: -MEMORY_DAYS * 24]

    def _unsaved(self) -> dict[tuple[str, str], _Sum]:
        totals = {key: _Sum(meter.total_bytes, meter.busy_s) for key, meter in self._by_source().items()}
        totals["hashing", ""] = _Sum(self._hashed.total_bytes, self._hashed.busy_s)
        totals |= self._noted
        nothing = _Sum()
        return {
            key: _Sum(
                each.amount - self._saved.get(key, nothing).amount,
                each.busy_s - self._saved.get(key, nothing).busy_s,
            )
            for key, each in totals.items()
        }

    def _hour(self) -> int:
        return int(self._wall() // HOUR_S)


SHOWN = ("hub", "peers", "cluster", "peer", "sent", "hashing")


def _order(key: tuple[str, str]) -> tuple[int, str]:
    return (SHOWN.index(key[0]) if key[0] in SHOWN else len(SHOWN), key[1])
