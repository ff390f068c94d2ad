"""When each stored file was last hashed again, in the database: one small record."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from distd.state.database import Database


class ScrubTable:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> dict[str, float]:
        """Etag to epoch seconds."""
        row = await self._database.run(
            lambda db: db.execute("SELECT value FROM settings WHERE name = 'scrub'").fetchone()
        )
        return msgspec.json.decode(row[0], type=dict[str, float]) if row else {}

    async def save(self, checked_at: Mapping[str, float]) -> None:
        """Replaces what was saved before."""
        value = msgspec.json.encode(dict(checked_at))
        await self._database.run(
            lambda db: db.execute("INSERT OR REPLACE INTO settings VALUES ('scrub', ?)", (value,))
        )
