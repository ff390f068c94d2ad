"""Limits set at run time, in the database: they outlive a restart."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from distd.core.limits import LimitKey, Override
from distd.state.database import Database

_OVERRIDES = dict[LimitKey, Override]


class LimitTable:
    """One small record under a name of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> dict[LimitKey, Override]:
        row = await self._database.run(
            lambda db: db.execute("SELECT value FROM settings WHERE name = 'limits'").fetchone()
        )
        return msgspec.json.decode(row[0], type=_OVERRIDES) if row else {}

    async def save(self, overrides: Mapping[LimitKey, Override]) -> None:
        """Replaces what was set before."""
        value = msgspec.json.encode(dict(overrides))
        await self._database.run(
            lambda db: db.execute("INSERT OR REPLACE INTO settings VALUES ('limits', ?)", (value,))
        )
