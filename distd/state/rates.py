"""Rate history in the database: a row an hour, source and peer, for as long as is kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from distd.state.database import Database

HOUR_S = 3600
KEPT_DAYS = 90
"""A season: whether the link is what it was. With 100 peers in use all the time that is 430,000 rows, some 30 MB."""
ROWS_READ_MAX = 100_000
"""Of one question; the newest."""


@dataclass(frozen=True, slots=True)
class RateRow:
    """`amount` (bytes, or how many) in `busy_s` seconds of use. `hour` counts from the epoch."""

    hour: int
    source: str
    peer: str
    amount: float
    busy_s: float


class RateTable:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, rows: Iterable[RateRow]) -> None:
        """Adds to what the hours have, and forgets what is too old. Raises StorageFailed; then nothing changed."""
        values = [(row.hour, row.source, row.peer, row.amount, row.busy_s) for row in rows]
        if not values:
            return
        oldest = max(value[0] for value in values) - KEPT_DAYS * 24
        await self._database.run(
            lambda db: (
                db.executemany(
                    "INSERT INTO rates VALUES (?, ?, ?, ?, ?) ON CONFLICT (hour, source, peer)"
                    " DO UPDATE SET amount = amount + excluded.amount, busy_s = busy_s + excluded.busy_s",
                    values,
                ),
                db.execute("DELETE FROM rates WHERE hour < ?", (oldest,)),
            )
        )

    async def since(self, hour: int, peer: str | None = None) -> list[RateRow]:
        """From that hour on, oldest first; of one peer where it is named."""
        rows = await self._database.run(
            lambda db: db.execute(
                "SELECT * FROM rates WHERE hour >= :hour AND (:peer IS NULL OR peer = :peer)"
                " ORDER BY hour DESC, source, peer LIMIT :most",
                {"hour": hour, "peer": peer, "most": ROWS_READ_MAX},
            ).fetchall()
        )
        return sorted((RateRow(*row) for row in rows), key=lambda row: (row.hour, row.source, row.peer))
