from __future__ import annotations

import aiohttp
import pytest

from distd.core.refs import Repo
from tests.api.memory import MemoryDaemon

Client = aiohttp.ClientSession


async def test_gc_says_what_went_and_needs_no_body(client: Client, daemon: MemoryDaemon) -> None:
    async with client.post("/v1/gc") as response:
        told = await response.json()
    assert (response.status, told["dry_run"], told["enough"]) == (200, False, True)
    assert told["evicted"][0]["repo"] == "acme/old"
    async with client.post("/v1/gc", json={"dry_run": True, "free_bytes": 5000}) as response:
        assert (await response.json())["enough"] is False
    assert daemon.housekeeping.asked == [(False, 0), (True, 5000)]


@pytest.mark.parametrize("body", [{"dryrun": True}, {"free_bytes": -1}, {"free_bytes": "5 GB"}, []])
async def test_a_body_that_is_not_understood_removes_nothing(
    client: Client, daemon: MemoryDaemon, body: object
) -> None:
    async with client.post("/v1/gc", json=body) as response:
        assert (response.status, (await response.json())["code"]) == (422, "invalid_request")
    assert daemon.housekeeping.asked == []


async def test_who_asks_for_a_path_to_load_it_says_so(client: Client, daemon: MemoryDaemon) -> None:
    repo = Repo("model", "acme/tiny")
    daemon.models.hold(repo)
    async with client.get("/v1/models/model/acme/tiny?use=main") as response:
        assert response.status == 200
    async with client.get("/v1/models/model/acme/tiny?use=..") as response:
        assert response.status == 422
    assert daemon.models.used == [(repo, "main")]
