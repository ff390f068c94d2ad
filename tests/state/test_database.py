"""The state database: made, migrated, refused, and never half written."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from distd.errors import NoSpace, StorageFailed
from distd.state.database import SCHEMA_VERSION, Database, DatabaseFromNewerVersion


def tables(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    try:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    finally:
        connection.close()


def set_version(path: Path, version: int) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version={version}")
    connection.close()


async def version_of(database: Database) -> int:
    return int((await database.run(lambda db: db.execute("PRAGMA user_version").fetchone()))[0])


async def test_a_new_file_is_migrated_from_nothing(tmp_path: Path) -> None:
    path = tmp_path / "distd.sqlite"
    database = await Database.open(str(path))
    assert await version_of(database) == SCHEMA_VERSION
    await database.close()
    assert tables(path) - {"sqlite_sequence"} == {
        *("pulls", "story", "snapshots", "settings", "prefetch", "rates", "audit")
    }


async def test_what_an_earlier_version_wrote_is_kept_and_gets_what_was_added(tmp_path: Path) -> None:
    path = tmp_path / "distd.sqlite"
    database = await Database.open(str(path))
    row = ("models--a--b", "0" * 40, b"{}")
    await database.run(lambda db: db.execute("INSERT INTO snapshots VALUES (?, ?, ?)", row))
    for added in ("settings", "prefetch", "rates", "audit"):
        await database.run(lambda db, name=added: db.execute(f"DROP TABLE {name}"))
    await database.close()
    set_version(path, 1)
    database = await Database.open(str(path))
    assert await version_of(database) == SCHEMA_VERSION
    assert await database.run(lambda db: db.execute("SELECT * FROM snapshots").fetchall()) == [row]
    await database.close()
    assert {"settings", "rates", "audit"} <= tables(path)


async def test_an_empty_file_counts_as_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "distd.sqlite"
    path.touch()
    database = await Database.open(str(path))
    assert await version_of(database) == SCHEMA_VERSION
    await database.close()


async def test_what_was_written_is_there_after_opening_again(tmp_path: Path) -> None:
    path = str(tmp_path / "distd.sqlite")
    database = await Database.open(path)
    await database.run(lambda db: db.execute("INSERT INTO snapshots VALUES ('f', 'c', 'r')"))
    await database.close()
    again = await Database.open(path)
    assert await again.run(lambda db: db.execute("SELECT * FROM snapshots").fetchall()) == [("f", "c", "r")]
    await again.close()


async def test_a_database_of_a_newer_version_is_refused_with_advice_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "distd.sqlite"
    set_version(path, SCHEMA_VERSION + 1)
    before = path.read_bytes()
    with pytest.raises(DatabaseFromNewerVersion) as refused:
        await Database.open(str(path))
    assert refused.value.facts() == {"path": str(path), "found": SCHEMA_VERSION + 1}
    assert "install the newer distd again, or move the file away" in str(refused.value)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["distd.sqlite"]


async def test_a_transaction_that_fails_changes_nothing(database: Database) -> None:
    def two_then_fail(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO snapshots VALUES ('f', 'c1', 'r')")
        db.execute("INSERT INTO snapshots VALUES ('f', 'c1', 'again')")

    with pytest.raises(StorageFailed) as failed:
        await database.run(two_then_fail)
    assert "distd.sqlite" in failed.value.path
    assert await database.run(lambda db: db.execute("SELECT count(*) FROM snapshots").fetchone()) == (0,)


async def test_an_error_of_the_caller_passes_through_and_rolls_back(database: Database) -> None:
    def insert_then_raise(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO snapshots VALUES ('f', 'c1', 'r')")
        raise LookupError("seven")

    with pytest.raises(LookupError):
        await database.run(insert_then_raise)
    assert await database.run(lambda db: db.execute("SELECT count(*) FROM snapshots").fetchone()) == (0,)


async def test_writes_keep_the_order_of_their_calls(database: Database) -> None:
    done: list[int] = []
    await asyncio.gather(*(database.run(lambda db, n=n: done.append(n)) for n in range(200)))  # type: ignore[misc]  # n is bound
    assert done == list(range(200))


async def test_a_file_that_is_no_database_or_cannot_be_made_is_a_storage_failure(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is no database, however long it may be. " * 100)
    for path in (tmp_path / "text", tmp_path / "missing" / "distd.sqlite", tmp_path):
        with pytest.raises(StorageFailed) as failed:
            await Database.open(str(path))
        assert failed.value.path == str(path)


async def test_a_full_disk_is_told_as_such_and_nothing_changes(database: Database) -> None:
    await database.run(lambda db: db.execute("CREATE TABLE filler (content BLOB)"))
    await database.run(lambda db: db.execute("PRAGMA max_page_count = 1"))  # sqlite's own way to have no room
    with pytest.raises(NoSpace) as full:
        await database.run(lambda db: db.execute("INSERT INTO filler VALUES (zeroblob(100000))"))
    assert full.value.needed_bytes > 0
    assert await database.run(lambda db: db.execute("SELECT count(*) FROM filler").fetchone()) == (0,)
