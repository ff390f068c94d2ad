"""The state database: pulls, their stories, and published snapshots with pins and last use.

SQLite in WAL mode behind one thread: callers await, writes keep their order, and nothing holds the
event loop. `synchronous=NORMAL` loses at most the last moments at a power failure, never the file;
what is held is told by the disk, not by this database.
"""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from distd.errors import DistdError, StorageFailed
from distd.store.disk import disk_error

_STEPS: tuple[str, ...] = (
    """
CREATE TABLE pulls (
    id TEXT PRIMARY KEY,
    number INTEGER NOT NULL UNIQUE,
    finished INTEGER NOT NULL,
    request BLOB NOT NULL,
    record BLOB NOT NULL
);
CREATE TABLE story (
    pull_id TEXT NOT NULL REFERENCES pulls (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    time REAL NOT NULL,
    event TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (pull_id, seq)
) WITHOUT ROWID;
CREATE TABLE snapshots (
    folder TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (folder, commit_id)
) WITHOUT ROWID;
""",
    """
CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;
""",
    """
CREATE TABLE prefetch (
    id TEXT PRIMARY KEY,
    entry BLOB,
    record BLOB NOT NULL
) WITHOUT ROWID;
""",
    """
CREATE TABLE rates (
    hour INTEGER NOT NULL,
    source TEXT NOT NULL,
    peer TEXT NOT NULL,
    amount REAL NOT NULL,
    busy_s REAL NOT NULL,
    PRIMARY KEY (hour, source, peer)
) WITHOUT ROWID;
""",
    """
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    time REAL NOT NULL,
    actor TEXT NOT NULL,
    deed TEXT NOT NULL,
    subject TEXT NOT NULL,
    outcome TEXT NOT NULL,
    detail TEXT NOT NULL
);
""",
)
"""Step by step, what each version of the schema adds to the one before; a step that was released stays as it is."""
SCHEMA_VERSION = len(_STEPS)
WRITE_BYTES = 1 << 20
"""What a transaction may need on the disk, with its share of the log: some pages. For people who make room."""

T = TypeVar("T")


@dataclass
class DatabaseFromNewerVersion(DistdError):
    """The database was written by a later distd; using it could lose what that version added."""

    path: str
    found: int
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "State database is newer than this version"

    def __str__(self) -> str:
        return (
            f"{self.path} has schema version {self.found}, this distd knows up to {SCHEMA_VERSION}: install the newer"
            " distd again, or move the file away to start without pull history (held content is kept)"
        )


class Database:
    """Open with `await Database.open(path)`, close with `await close()`; `run` executes on its thread."""

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor, path: str) -> None:
        self._connection = connection
        self._thread = thread
        self._path = path

    @classmethod
    async def open(cls, path: str) -> Database:
        """Creates or migrates the file. Raises StorageFailed, NoSpace or DatabaseFromNewerVersion."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="database")
        try:
            connection = await asyncio.get_running_loop().run_in_executor(thread, _connect, path)
        except sqlite3.Error as error:
            thread.shutdown(wait=False)
            raise _told(path, error) from error
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(connection, thread, path)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs `work` in one transaction on the database thread. Raises StorageFailed or NoSpace; then nothing changed."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, work)

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown(wait=True)

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with self._connection:
                return work(self._connection)
        except sqlite3.Error as error:
            raise _told(self._path, error) from error


def _told(path: str, error: sqlite3.Error) -> DistdError:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return disk_error(OSError(errno.ENOSPC, str(error)), path, WRITE_BYTES)
    return StorageFailed(path, str(error))


def _connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise DatabaseFromNewerVersion(path, version)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        if version < SCHEMA_VERSION:
            steps = "".join(_STEPS[version:])
            connection.executescript(f"BEGIN;{steps}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
    except BaseException:
        connection.close()
        raise
    return connection
