"""When each stored file was last hashed again, and which are to be replaced, in the database: two small records."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from distd.state.database import Database


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """A rotten blob. `pulls` are the last ones that were to replace it, none yet before the first try."""

    pulls: tuple[str, ...] = ()
    tried_at: float = 0.0


class ScrubTable:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> dict[str, float]:
        """Etag to epoch seconds."""
        row = await _load(self._database, "scrub")
        return msgspec.json.decode(row, type=dict[str, float]) if row else {}

    async def save(self, checked_at: Mapping[str, float]) -> None:
        """Replaces what was saved before."""
        await _save(self._database, "scrub", msgspec.json.encode(dict(checked_at)))


class RepairTable:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> dict[str, Repair]:
        """By etag. Raises StorageFailed."""
        row = await _load(self._database, "repairs")
        return msgspec.json.decode(row, type=dict[str, Repair]) if row else {}

    async def save(self, repairs: Mapping[str, Repair]) -> None:
        """Replaces what was saved before. Raises StorageFailed."""
        await _save(self._database, "repairs", msgspec.json.encode(dict(repairs)))


async def _load(database: Database, name: str) -> bytes | None:
    row = await database.run(
        lambda db: db.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
    )
    return row[0] if row else None


async def _save(database: Database, name: str, value: bytes) -> None:
    await database.run(lambda db: db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value)))
