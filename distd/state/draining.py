"""Whether this node is out of service, in the database: it outlives restarts."""

from __future__ import annotations

import msgspec

from distd.draining import DrainRecord
from distd.state.database import Database


class DrainTable:
    """One small record under a name of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> DrainRecord | None:
        row = await self._database.run(
            lambda db: db.execute("SELECT value FROM settings WHERE name = 'drain'").fetchone()
        )
        return msgspec.json.decode(row[0], type=DrainRecord) if row else None

    async def save(self, record: DrainRecord | None) -> None:
        """None: in service, nothing is kept."""
        if record is None:
            await self._database.run(lambda db: db.execute("DELETE FROM settings WHERE name = 'drain'"))
            return
        value = msgspec.json.encode(record)
        await self._database.run(
            lambda db: db.execute("INSERT OR REPLACE INTO settings VALUES ('drain', ?)", (value,))
        )
