"""Pulls and their stories in the database, bounded.

Pulls on several nodes are rows of the same table: numbers, history and stories are common to both. Their
record is a `FleetRecord`, told apart by its parts.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from typing import Any

import msgspec

from distd.api.schema import PullRequest
from distd.core.fleet import FleetRecord
from distd.core.pull import FINISHED, PullRecord
from distd.state.database import Database

FINISHED_PULLS_MAX = 1000
"""History that an operator may look back on; a fleet that pulls ten models a day keeps three months."""
STORY_ENTRIES_MAX = 1000
"""Entries of one story; later ones push out the oldest. A pull that needs more repeats itself."""


@dataclass(frozen=True, slots=True)
class StoryLine:
    seq: int
    time: float
    event: str
    text: str


class _Kind(msgspec.Struct):
    parts: dict[str, Any] | None = None


class PullTable:
    """Rows of pulls. Every method awaits the database thread; order of calls is order of writes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> list[tuple[PullRequest, PullRecord]]:
        """This node's pulls, oldest first."""
        return [
            (request, msgspec.json.decode(record, type=PullRecord))
            for request, record, is_fleet in await self._rows()
            if not is_fleet
        ]

    async def load_fleets(self) -> list[tuple[PullRequest, FleetRecord]]:
        """Pulls on several nodes, oldest first."""
        return [
            (request, msgspec.json.decode(record, type=FleetRecord))
            for request, record, is_fleet in await self._rows()
            if is_fleet
        ]

    async def last_number(self) -> int:
        """The highest number of any pull; 0 when there is none."""
        (number,) = await self._database.run(
            lambda db: db.execute("SELECT max(number) FROM pulls").fetchone()
        )
        return int(number or 0)

    async def _rows(self) -> list[tuple[PullRequest, bytes, bool]]:
        rows = await self._database.run(
            lambda db: db.execute("SELECT request, record FROM pulls ORDER BY number").fetchall()
        )
        return [
            (
                msgspec.json.decode(request, type=PullRequest),
                record,
                msgspec.json.decode(record, type=_Kind).parts is not None,
            )
            for request, record in rows
        ]

    async def save(self, request: PullRequest, record: PullRecord | FleetRecord) -> None:
        """Inserts or replaces. The oldest finished pulls beyond the bound are forgotten."""
        finished = record.state in FINISHED
        row = (record.id, record.number, finished, msgspec.json.encode(request), msgspec.json.encode(record))

        def write(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT INTO pulls (id, number, finished, request, record) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET finished = excluded.finished, record = excluded.record",
                row,
            )
            if finished:
                db.execute(
                    "DELETE FROM pulls WHERE finished AND number <= ("
                    "SELECT number FROM pulls WHERE finished ORDER BY number DESC LIMIT 1 OFFSET ?)",
                    (FINISHED_PULLS_MAX,),
                )

        await self._database.run(write)

    async def tell(self, pull_id: str, event: str, text: str) -> None:
        """Appends a line to the pull's story."""
        now = time.time()

        def write(db: sqlite3.Connection) -> None:
            (last,) = db.execute("SELECT max(seq) FROM story WHERE pull_id = ?", (pull_id,)).fetchone()
            seq = (last or 0) + 1
            db.execute("INSERT INTO story VALUES (?, ?, ?, ?, ?)", (pull_id, seq, now, event, text))
            db.execute("DELETE FROM story WHERE pull_id = ? AND seq <= ?", (pull_id, seq - STORY_ENTRIES_MAX))

        await self._database.run(write)

    async def story(self, pull_id: str, after_seq: int, limit: int) -> list[StoryLine]:
        rows = await self._database.run(
            lambda db: db.execute(
                "SELECT seq, time, event, text FROM story WHERE pull_id = ? AND seq > ? ORDER BY seq LIMIT ?",
                (pull_id, after_seq, limit),
            ).fetchall()
        )
        return [StoryLine(*row) for row in rows]
