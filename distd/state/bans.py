"""Banned members, in the database: a ban outlives a restart."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from distd.core.bans import Ban
from distd.state.database import Database


class BanTable:
    """One small record under a name of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> list[Ban]:
        row = await self._database.run(
            lambda db: db.execute("SELECT value FROM settings WHERE name = 'bans'").fetchone()
        )
        return msgspec.json.decode(row[0], type=list[Ban]) if row else []

    async def save(self, bans: Iterable[Ban]) -> None:
        """Replaces what was saved before."""
        value = msgspec.json.encode(list(bans))
        await self._database.run(
            lambda db: db.execute("INSERT OR REPLACE INTO settings VALUES ('bans', ?)", (value,))
        )
