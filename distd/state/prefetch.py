"""Prefetch in the database: entries added at run time, and what is remembered of all."""

from __future__ import annotations

import msgspec

from distd.config.sections import PrefetchEntry
from distd.core.prefetch import Record
from distd.state.database import Database


class PrefetchTable:
    """Rows by entry id. `entry` is NULL for what the configuration declares, which knows it itself."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> dict[str, tuple[PrefetchEntry | None, Record]]:
        rows = await self._database.run(
            lambda db: db.execute("SELECT id, entry, record FROM prefetch").fetchall()
        )
        return {
            id_: (
                msgspec.json.decode(entry, type=PrefetchEntry) if entry is not None else None,
                msgspec.json.decode(record, type=Record),
            )
            for id_, entry, record in rows
        }

    async def save(self, id_: str, entry: PrefetchEntry | None, record: Record) -> None:
        """Inserts or replaces."""
        row = (id_, None if entry is None else msgspec.json.encode(entry), msgspec.json.encode(record))
        await self._database.run(
            lambda db: db.execute("INSERT OR REPLACE INTO prefetch VALUES (?, ?, ?)", row)
        )

    async def delete(self, id_: str) -> None:
        """Idempotent."""
        await self._database.run(lambda db: db.execute("DELETE FROM prefetch WHERE id = ?", (id_,)))
