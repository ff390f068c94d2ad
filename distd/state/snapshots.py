"""Published snapshots in the database: what `ls` shows without walking the cache."""

from __future__ import annotations

import msgspec

from distd.core.refs import RepoType
from distd.state.database import Database


class SnapshotRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot this daemon published. `paths` null: every file of the manifest. Times are epoch seconds."""

    type: RepoType
    repo: str
    commit: str
    paths: tuple[str, ...] | None
    size_bytes: int
    files: int
    pinned: bool = False
    published_at: float
    last_used_at: float | None = None
    removing: bool = False
    """Its removal has begun, and is gone on with at the next start if it was cut short."""


class SnapshotTable:
    """Rows of snapshots, keyed by cache folder (`models--org--name`) and commit."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> dict[tuple[str, str], SnapshotRecord]:
        rows = await self._database.run(
            lambda db: db.execute("SELECT folder, commit_id, record FROM snapshots").fetchall()
        )
        return {
            (folder, commit): msgspec.json.decode(record, type=SnapshotRecord)
            for folder, commit, record in rows
        }

    async def save(self, folder: str, record: SnapshotRecord) -> None:
        """Inserts or replaces."""
        row = (folder, record.commit, msgspec.json.encode(record))
        await self._database.run(
            lambda db: db.execute("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?)", row)
        )

    async def delete(self, folder: str, commit: str) -> None:
        """Idempotent."""
        await self._database.run(
            lambda db: db.execute(
                "DELETE FROM snapshots WHERE folder = ? AND commit_id = ?", (folder, commit)
            )
        )
