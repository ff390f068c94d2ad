"""Who did what, in the database: bounded, newest last."""

from __future__ import annotations

from msgspec import Struct

from distd.state.database import Database

ENTRIES_KEPT = 10_000
"""Some megabytes; a year of a busy fleet's pulls and removals. The journal has what is older."""


class AuditEntry(Struct, frozen=True):
    """`time` in seconds since the epoch. `outcome` is `done` or a problem's code."""

    seq: int
    time: float
    actor: str
    deed: str
    subject: str
    outcome: str
    detail: str


class AuditTable:
    """Rows in the order in which they were written; numbers are never used again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, time: float, actor: str, deed: str, subject: str, outcome: str, detail: str) -> None:
        """Appends, and drops what is beyond `ENTRIES_KEPT`. Raises StorageFailed."""
        row = (time, actor, deed, subject, outcome, detail)
        await self._database.run(
            lambda db: (
                db.execute(
                    "INSERT INTO audit (time, actor, deed, subject, outcome, detail) VALUES (?, ?, ?, ?, ?, ?)",
                    row,
                ),
                db.execute(
                    "DELETE FROM audit WHERE seq <= (SELECT max(seq) FROM audit) - ?", (ENTRIES_KEPT,)
                ),
            )
        )

    async def page(
        self, before: int | None, limit: int, *, since: float = 0.0, deed: str = "", text: str = ""
    ) -> list[AuditEntry]:
        """Newest first, older than `before`. `deed` as a whole, `text` within actor or subject. Raises StorageFailed."""
        rows = await self._database.run(
            lambda db: db.execute(
                "SELECT seq, time, actor, deed, subject, outcome, detail FROM audit"
                " WHERE (? IS NULL OR seq < ?) AND time >= ? AND (? = '' OR deed = ?)"
                " AND (? = '' OR instr(actor, ?) OR instr(subject, ?)) ORDER BY seq DESC LIMIT ?",
                (before, before, since, deed, deed, text, text, text, limit),
            ).fetchall()
        )
        return [AuditEntry(*row) for row in rows]
