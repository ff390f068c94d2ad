from __future__ import annotations

import aiohttp
import pytest

from distd.api.schema import BadFile
from distd.core.refs import Repo
from tests.api.memory import COMMIT, MemoryDaemon

Client = aiohttp.ClientSession
TINY = "/v1/models/model/acme/tiny"


@pytest.fixture(autouse=True)
def held(daemon: MemoryDaemon) -> None:
    for repo in (Repo("model", "acme/tiny"), Repo("model", "gpt2"), Repo("dataset", "acme/tiny")):
        daemon.models.hold(repo)


async def test_models_are_listed_in_pages(client: Client) -> None:
    async with client.get("/v1/models?limit=2") as response:
        first = await response.json()
    async with client.get("/v1/models", params={"limit": 2, "cursor": first["next"]}) as response:
        second = await response.json()
    listed = [(model["type"], model["repo"]) for model in first["items"] + second["items"]]
    assert listed == [("dataset", "acme/tiny"), ("model", "acme/tiny"), ("model", "gpt2")]
    assert second["next"] is None


async def test_a_repo_without_an_org_is_named_by_an_underscore(client: Client) -> None:
    async with client.get("/v1/models/model/_/gpt2") as response:
        assert (await response.json())["repo"] == "gpt2"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/models/model/acme/none", 404, "not_found"),
        ("/v1/models/models/acme/tiny", 422, "invalid_request"),
        ("/v1/models/model/acme/a%2Fb", 422, "invalid_request"),
        ("/v1/models/model/acme/a%00b", 422, "invalid_request"),
        ("/v1/models/model/acme/tiny?revision=main", 422, "invalid_request"),
    ],
)
async def test_a_wrong_name_is_a_problem(client: Client, path: str, status: int, code: str) -> None:
    async with client.get(path) as response:
        assert (response.status, (await response.json())["code"]) == (status, code)


async def test_pinned_models_are_not_removed_until_unpinned(client: Client, daemon: MemoryDaemon) -> None:
    async with client.put(f"{TINY}/pin") as response:
        assert (await response.json())["revisions"][0]["pinned"] is True
    async with client.delete(TINY) as response:
        assert response.status == 409
    async with client.delete(f"{TINY}/pin?revision=main") as response:
        assert (await response.json())["revisions"][0]["pinned"] is False
    async with client.delete(f"{TINY}?revision={COMMIT}") as response:
        assert await response.json() == {"removed": [COMMIT], "freed_bytes": 1000}
    assert Repo("model", "acme/tiny") not in daemon.models.models


async def test_a_revision_must_be_one_and_a_held_one(client: Client) -> None:
    for query, status in [("revision=../x", 422), ("revision=", 422), ("revision=dev", 404)]:
        async with client.delete(f"{TINY}?{query}") as response:
            assert response.status == status


async def test_verify_reports_the_files_that_lost_their_hash(client: Client, daemon: MemoryDaemon) -> None:
    daemon.models.bad = (BadFile(COMMIT, "model.safetensors", "a" * 64, "b" * 64),)
    async with client.post(f"{TINY}/verify") as response:
        report = await response.json()
    assert report["bad"] == [
        {"commit": COMMIT, "path": "model.safetensors", "expected": "a" * 64, "actual": "b" * 64}
    ]


async def test_with_nodes_the_answer_is_a_row_for_each(client: Client) -> None:
    async with client.get("/v1/models?nodes=all") as response:
        (row,) = (await response.json())["items"]
    assert (row["name"], row["state"], row["error"], row["more"]) == ("gpu-01", "alive", None, False)
    assert [model["repo"] for model in row["models"]] == ["acme/tiny", "acme/tiny", "gpt2"]
    async with client.put(f"{TINY}/pin?nodes=gpu-01&revision=main") as response:
        (row,) = (await response.json())["items"]
    assert row["model"]["revisions"][0]["pinned"] is True
    async with client.delete(f"{TINY}?nodes=all") as response:
        (row,) = (await response.json())["items"]
        assert response.status == 200
    assert (row["removed"], row["error"]["code"]) == ([], "conflict")


@pytest.mark.parametrize(
    "query", ["nodes=", "nodes=a,,b", "nodes=gpu-09", "zone=", "zone=z", "nodes=all&limit=2"]
)
async def test_nobody_meant_is_a_problem(client: Client, query: str) -> None:
    async with client.get(f"/v1/models?{query}") as response:
        assert (response.status, (await response.json())["code"]) == (422, "invalid_request")
