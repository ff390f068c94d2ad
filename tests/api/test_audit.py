"""Who changed what is written down, whoever came in by whichever way; and nothing else is."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from distd.actors import acting
from distd.api.access import READING_METHODS
from distd.api.server import serve
from distd.core.refs import Repo
from tests.api.memory import MemoryDaemon

Client = aiohttp.ClientSession
TINY = "/v1/models/model/acme/tiny"


def told(daemon: MemoryDaemon) -> list[tuple[str, ...]]:
    return [
        (entry.actor, entry.deed, entry.subject, entry.outcome, entry.detail)
        for entry in daemon.audit_table.entries
    ]


async def test_what_was_changed_and_what_was_refused_is_written_down(
    client: Client, daemon: MemoryDaemon
) -> None:
    daemon.models.hold(Repo("model", "acme/tiny"))
    await client.get("/v1/status")
    await client.post("/v1/pulls", json={"repo": "acme/tiny", "revision": "main", "nodes": []})
    await client.put(f"{TINY}/pin?revision=main")
    await client.delete(TINY)
    await client.post("/v1/pulls", json={"repo": "acme/tiny", "wieghts": "all"})
    await client.delete("/v1/nothing")
    me = "somebody at 127.0.0.1"
    assert told(daemon) == [
        (me, "pull", "acme/tiny@main", "done", '{"repo": "acme/tiny", "revision": "main", "nodes": []}'),
        (me, "pin", "acme/tiny@main", "done", "revision=main"),
        (me, "remove", "acme/tiny", "conflict", ""),
    ]
    async with client.get("/v1/audit?text=acme&limit=2") as response:
        page = await response.json()
    assert [entry["deed"] for entry in page["items"]] == ["remove", "pin"]
    async with client.get("/v1/audit", params={"cursor": page["next"]}) as response:
        assert [entry["deed"] for entry in (await response.json())["items"]] == ["pull"]


async def test_a_user_of_the_socket_is_named_by_the_kernel(daemon: MemoryDaemon, tmp_path: Path) -> None:
    daemon.models.hold(Repo("model", "acme/tiny"))
    path = str(tmp_path / "api.sock")
    async with (
        serve(daemon.app(), "", path),
        Client("http://localhost", connector=aiohttp.UnixConnector(path)) as session,
    ):
        await session.put(f"{TINY}/pin")
    assert [entry[:3] for entry in told(daemon)] == [(getpass.getuser(), "pin", "acme/tiny")]


async def test_the_holder_of_the_token_is_named_and_who_lacks_it_has_asked_for_nothing(
    daemon: MemoryDaemon,
) -> None:
    daemon.models.hold(Repo("model", "acme/tiny"))
    async with serve(daemon.app(token="s3cret"), "127.0.0.1:0") as bound, Client(bound.url) as session:
        await session.put(f"{TINY}/pin")
        await session.put(f"{TINY}/pin", headers={"Authorization": "Bearer s3cret"})
    assert [entry[:2] for entry in told(daemon)] == [("api-token", "pin")]


async def test_what_cannot_be_written_down_is_done_and_logged(
    client: Client, daemon: MemoryDaemon, caplog: pytest.LogCaptureFixture
) -> None:
    daemon.audit_table.broken = True
    daemon.models.hold(Repo("model", "acme/tiny"))
    async with client.put(f"{TINY}/pin") as response:
        assert response.status == 200
    assert "the audit has no entry of this" in caplog.text


async def test_the_log_has_it_in_fields(daemon: MemoryDaemon, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"), acting("member gpu-02 (alice)"):
        await daemon.audit.note("remove", "acme/tiny", "done")
    (record,) = caplog.records
    found: dict[str, Any] = record.__dict__
    assert [found[name] for name in ("event", "actor", "deed", "subject", "outcome")] == [
        "audit",
        "member gpu-02 (alice)",
        "remove",
        "acme/tiny",
        "done",
    ]


async def test_every_route_that_changes_something_has_a_word_of_its_own(daemon: MemoryDaemon) -> None:
    app = daemon.app()
    known = {"type": "model", "org": "acme", "name": "none", "id": "none"}
    changing = [
        (route.method, route.resource.canonical.format(**known))
        for route in app.router.routes()
        if route.method not in READING_METHODS and route.resource is not None
    ]
    async with serve(app, "127.0.0.1:0") as bound, Client(bound.url) as session:
        for method, path in changing:
            async with session.request(method, path) as response:
                assert response.status < 500, path
    deeds = {entry.deed for entry in daemon.audit_table.entries}
    assert len(deeds) > 8
    assert not any(deed.startswith(("POST", "PUT", "DELETE")) for deed in deeds)
