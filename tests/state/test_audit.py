from __future__ import annotations

from pathlib import Path

import pytest

from distd.state import audit
from distd.state.audit import AuditTable
from distd.state.database import Database


async def test_the_audit_is_bounded_and_its_numbers_go_on_over_restarts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "ENTRIES_KEPT", 3)
    path = str(tmp_path / "distd.sqlite")
    database = await Database.open(path)
    table = AuditTable(database)
    for number in range(5):
        await table.add(float(number), "alice", "pull", f"acme/{number}", "done", "")
    await database.close()
    database = await Database.open(path)
    table = AuditTable(database)
    assert [entry.subject for entry in await table.page(None, 10)] == ["acme/4", "acme/3", "acme/2"]
    await table.add(9.0, "bob", "remove", "acme/4", "done", "nodes=all")
    found = await table.page(None, 10, text="bob")
    assert [(entry.seq, entry.actor, entry.detail) for entry in found] == [(6, "bob", "nodes=all")]
    assert [entry.seq for entry in await table.page(6, 1)] == [5]
    assert [entry.seq for entry in await table.page(None, 10, since=4.0, deed="pull")] == [5]
    await database.close()
