"""Pulls, stories and snapshots in the database, and how many of them are kept."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest

from distd.api.schema import PullRequest
from distd.core.fleet import FleetRecord, Part, Report
from distd.core.pull import BlobNeed, PullRecord, PullState
from distd.errors import Problem, StorageFailed
from distd.state import pulls as module
from distd.state.database import Database
from distd.state.pulls import PullTable
from distd.state.snapshots import SnapshotRecord, SnapshotTable

REQUEST = PullRequest(repo="org/name", include=("*.json",), weights="all", priority=3, pin=True)
FULL = PullRecord(
    id="p1",
    number=1,
    state="failed",
    created_at=1000.5,
    commit="c0" * 20,
    complete_repo=True,
    bytes_total=200,
    reused_bytes=50,
    needs=(BlobNeed("aa" * 32, 100, "a", 10), BlobNeed("bb" * 32, 50, "b", 0)),
    got={"bb" * 32: {"hub": 40, "peers": 10}},
    start_at=1001.0,
    started_at=1002.0,
    finished_at=1003.0,
    problem=Problem("no_space", "Not enough disk space", "it is full", True),
)


def record(number: int, state: PullState = "complete") -> PullRecord:
    return PullRecord(f"p{number}", number, state, 1000.0)


@pytest.fixture
def table(database: Database) -> PullTable:
    return PullTable(database)


async def numbers(table: PullTable) -> list[int]:
    return [record.number for _, record in await table.load()]


async def test_a_pull_comes_back_with_every_fact(table: PullTable) -> None:
    await table.save(REQUEST, FULL)
    assert await table.load() == [(REQUEST, FULL)]


async def test_pulls_on_several_nodes_share_the_numbers_and_are_told_apart(table: PullTable) -> None:
    part = Part(tried=True, report=Report("7-ab", "failed", problem=FULL.problem), told="pause")
    fleet = FleetRecord("p2", 2, "downloading", 1000.0, {"n1": part, "n2": Part()}, wish="pause")
    named = PullRequest(repo="org/name", nodes=("n1", "n2"))
    assert await table.last_number() == 0
    await table.save(REQUEST, FULL)
    await table.save(named, fleet)
    await table.tell("p2", "submitted", "on n1, n2")
    assert await table.load() == [(REQUEST, FULL)]
    assert await table.load_fleets() == [(named, fleet)]
    assert await table.last_number() == 2


async def test_saving_again_replaces_the_record(table: PullTable) -> None:
    await table.save(REQUEST, FULL)
    changed = replace(FULL, state="complete", problem=None, snapshot_path="/snap")
    await table.save(REQUEST, changed)
    assert await table.load() == [(REQUEST, changed)]


async def test_pulls_come_back_oldest_first(table: PullTable) -> None:
    for number in (3, 1, 2):
        await table.save(REQUEST, record(number))
    assert await numbers(table) == [1, 2, 3]


async def test_the_oldest_finished_pulls_beyond_the_bound_are_forgotten_with_their_stories(
    table: PullTable, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FINISHED_PULLS_MAX", 3)
    await table.save(REQUEST, record(1, "downloading"))
    for number in range(2, 8):
        await table.save(REQUEST, record(number))
        await table.tell(f"p{number}", "planned", "text")
    assert await numbers(table) == [1, 5, 6, 7]
    told = await database.run(lambda db: db.execute("SELECT DISTINCT pull_id FROM story").fetchall())
    assert sorted(told) == [("p5",), ("p6",), ("p7",)]


async def test_unfinished_pulls_are_never_forgotten(
    table: PullTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FINISHED_PULLS_MAX", 1)
    for number in range(1, 6):
        await table.save(REQUEST, record(number, "paused"))
    await table.save(REQUEST, record(6))
    await table.save(REQUEST, record(7))
    assert await numbers(table) == [1, 2, 3, 4, 5, 7]


async def test_a_story_is_read_in_order_and_page_by_page(table: PullTable) -> None:
    await table.save(REQUEST, record(1))
    for number in range(1, 6):
        await table.tell("p1", "event", f"line {number}")
    lines = await table.story("p1", 0, 3)
    assert [(line.seq, line.text) for line in lines] == [(1, "line 1"), (2, "line 2"), (3, "line 3")]
    assert [line.seq for line in await table.story("p1", lines[-1].seq, 3)] == [4, 5]
    assert await table.story("p1", 5, 3) == []
    assert [line.time for line in lines] == sorted(line.time for line in lines)


async def test_a_story_keeps_its_latest_lines_and_their_numbers(
    table: PullTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STORY_ENTRIES_MAX", 4)
    await table.save(REQUEST, record(1))
    await table.save(REQUEST, record(2))
    for number in range(1, 11):
        await table.tell("p1", "event", f"line {number}")
        await table.tell("p2", "event", "another story")
    assert [(line.seq, line.text) for line in await table.story("p1", 0, 100)] == [
        (number, f"line {number}") for number in range(7, 11)
    ]


async def test_saving_a_pull_again_keeps_its_story(table: PullTable) -> None:
    await table.save(REQUEST, record(1, "downloading"))
    await table.tell("p1", "planned", "text")
    await table.save(REQUEST, record(1))
    assert len(await table.story("p1", 0, 10)) == 1


async def test_a_line_for_a_pull_that_is_not_there_is_refused(table: PullTable) -> None:
    with pytest.raises(StorageFailed):
        await table.tell("p9", "planned", "text")
    assert await table.story("p9", 0, 10) == []


async def test_two_pulls_with_one_number_are_refused(table: PullTable) -> None:
    await table.save(REQUEST, record(1))
    with pytest.raises(StorageFailed):
        await table.save(REQUEST, replace(record(1), id="other"))
    assert await numbers(table) == [1]


def snapshot(commit: str, **changes: object) -> SnapshotRecord:
    facts: dict[str, object] = {"paths": None, "size_bytes": 10, "files": 2, "published_at": 1000.5} | changes
    return SnapshotRecord(type="model", repo="org/name", commit=commit, **facts)  # type: ignore[arg-type]  # the facts are its fields


async def test_snapshots_come_back_by_folder_and_commit(database: Database) -> None:
    table = SnapshotTable(database)
    whole = snapshot("c1")
    part = snapshot("c2", paths=("a", "b"), pinned=True, last_used_at=2000.0)
    await table.save("models--org--name", whole)
    await table.save("models--org--name", part)
    await table.save("datasets--org--name", whole)
    assert await table.load() == {
        ("models--org--name", "c1"): whole,
        ("models--org--name", "c2"): part,
        ("datasets--org--name", "c1"): whole,
    }


async def test_a_snapshot_is_replaced_and_deleted_as_often_as_one_likes(database: Database) -> None:
    table = SnapshotTable(database)
    await table.save("f", snapshot("c1"))
    await table.save("f", snapshot("c1", pinned=True))
    await table.save("f", snapshot("c2"))
    assert (await table.load())["f", "c1"].pinned
    await table.delete("f", "c1")
    await table.delete("f", "c1")
    assert list(await table.load()) == [("f", "c2")]


async def test_a_record_of_a_later_version_is_read_without_what_is_unknown(database: Database) -> None:
    table = PullTable(database)
    await table.save(REQUEST, record(1))

    def add_a_field(db: sqlite3.Connection) -> None:
        db.execute('UPDATE pulls SET record = replace(CAST(record AS TEXT), \'{"id"\', \'{"later":1,"id"\')')

    await database.run(add_a_field)
    assert await table.load() == [(REQUEST, record(1))]
