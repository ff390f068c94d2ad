"""One request is answered when the weights are there, or says on whom they are not."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from distd.core.refs import Repo
from distd.nodes import waiting
from tests.api.memory import COMMIT, MemoryDaemon

Client = aiohttp.ClientSession
WAIT = "/v1/models/model/acme/tiny/wait"
TINY = Repo("model", "acme/tiny")


async def test_it_is_answered_as_soon_as_it_is_published(client: Client, daemon: MemoryDaemon) -> None:
    waits = asyncio.create_task(client.get(f"{WAIT}?timeout=60s&revision={COMMIT}"))
    await asyncio.sleep(0.05)
    assert not waits.done()
    daemon.models.hold(TINY)
    async with await waits as response:
        view = await response.json()
    assert (response.status, view["repo"], view["revision"]) == (200, "acme/tiny", COMMIT)
    assert view["snapshot_path"].endswith(COMMIT)
    assert [node["name"] for node in view["nodes"]] == ["gpu-01"]


@pytest.mark.parametrize("query", ["", "&nodes=all", "&nodes=gpu-01"])
async def test_what_is_not_there_in_time_is_a_408_that_says_where(client: Client, query: str) -> None:
    async with client.get(f"{WAIT}?timeout=0s{query}") as response:
        problem = await response.json()
    assert (response.status, problem["code"], problem["retryable"]) == (408, "timed_out", True)
    assert problem["detail"] == "acme/tiny@main was not published within 0 s; not yet on gpu-01"


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("timeout=soon", "timeout"),
        ("timeout=2h", "at most 3600s"),
        ("nodes=gpu-09", "gpu-09"),
        ("tiemout=1s", "timeout"),
    ],
)
async def test_a_wait_that_makes_no_sense_is_refused_at_once(client: Client, query: str, says: str) -> None:
    async with client.get(f"{WAIT}?{query}") as response:
        assert response.status == 422
        assert says in (await response.json())["detail"]


async def test_those_who_wait_are_bounded(
    client: Client, daemon: MemoryDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "WAITERS_MAX", 0)
    async with client.get(WAIT) as response:
        assert (response.status, (await response.json())["code"]) == (409, "conflict")
