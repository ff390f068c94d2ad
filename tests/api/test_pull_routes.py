from __future__ import annotations

import aiohttp

from distd.api.schema import PullRequest
from tests.api.memory import COMMIT, MemoryDaemon

Client = aiohttp.ClientSession


async def start(client: Client, **body: object) -> str:
    async with client.post("/v1/pulls", json={"repo": "acme/tiny", **body}) as response:
        assert response.status == 202
        return (await response.json())["id"]


async def test_a_post_answers_202_with_the_location_of_the_pull(client: Client) -> None:
    async with client.post("/v1/pulls", json={"repo": "acme/tiny", "weights": "gguf"}) as response:
        assert response.status == 202
        pull = await response.json()
        assert response.headers["Location"] == f"/v1/pulls/{pull['id']}"
    async with client.get(response.headers["Location"]) as found:
        assert found.status == 200
        assert (await found.json())["weights"] == "gguf"
    assert pull["state"] == "queued"
    assert pull["eta_s"] is None


async def test_the_same_post_returns_the_unfinished_pull_and_a_new_one_afterwards(
    client: Client, daemon: MemoryDaemon
) -> None:
    first = await start(client)
    assert await start(client) == first
    daemon.pulls.complete(first)
    assert await start(client) != first


async def test_the_whole_request_reaches_the_daemon(client: Client, daemon: MemoryDaemon) -> None:
    body = {
        "repo": "acme/tiny",
        "type": "dataset",
        "revision": "refs/pr/1",
        "include": ["*.json"],
        "exclude": ["x*"],
        "weights": "all",
        "priority": -3,
        "nodes": ["all"],
        "zone": "z1",
        "at": "02:00",
        "pin": True,
    }
    async with client.post("/v1/pulls", json=body) as response:
        assert response.status == 202
    assert daemon.pulls.requests == [
        PullRequest(
            repo="acme/tiny",
            type="dataset",
            revision="refs/pr/1",
            include=("*.json",),
            exclude=("x*",),
            weights="all",
            priority=-3,
            nodes=("all",),
            zone="z1",
            at="02:00",
            pin=True,
        )
    ]


async def test_pulls_are_listed_in_pages_without_gaps_or_repeats(client: Client) -> None:
    started = [await start(client, priority=n) for n in range(5)]
    seen, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        async with client.get("/v1/pulls", params=params) as response:
            page = await response.json()
        seen += [pull["id"] for pull in page["items"]]
        cursor, pages = page["next"], pages + 1
    assert seen == sorted(started, reverse=True)
    assert pages == 3


async def test_pulls_can_be_listed_by_several_states(client: Client, daemon: MemoryDaemon) -> None:
    ids = [await start(client, priority=n) for n in range(3)]
    daemon.pulls.complete(ids[0])
    await daemon.pulls.control(ids[1], "pause")
    for query in ("state=complete,paused", "state=complete&state=paused"):
        async with client.get(f"/v1/pulls?{query}") as response:
            assert {p["id"] for p in (await response.json())["items"]} == set(ids[:2])
    async with client.get("/v1/pulls?state=done") as response:
        assert response.status == 422
        assert "one of queued, resolving" in (await response.json())["detail"]


async def test_a_pull_is_paused_resumed_and_cancelled(client: Client) -> None:
    pull_id = await start(client)
    for method, path, state in [
        ("POST", "/pause", "paused"),
        ("POST", "/resume", "downloading"),
        ("DELETE", "", "cancelled"),
        ("DELETE", "", "cancelled"),
    ]:
        async with client.request(method, f"/v1/pulls/{pull_id}{path}") as response:
            assert response.status == 200
            assert (await response.json())["state"] == state
    async with client.post(f"/v1/pulls/{pull_id}/resume") as response:
        assert response.status == 409
        assert (await response.json())["code"] == "conflict"


async def test_a_story_is_paged_and_its_last_page_says_so(client: Client, daemon: MemoryDaemon) -> None:
    pull_id = await start(client)
    for n in range(3):
        daemon.pulls.advance(pull_id, bytes_done=n)
    async with client.get(f"/v1/pulls/{pull_id}/story?limit=2") as response:
        first = await response.json()
    async with client.get(
        f"/v1/pulls/{pull_id}/story", params={"limit": 2, "cursor": first["next"]}
    ) as response:
        second = await response.json()
    assert [entry["seq"] for entry in first["items"] + second["items"]] == [1, 2, 3, 4]
    assert second["next"] is None
    assert first["items"][0]["event"] == "submitted"


async def test_a_plan_takes_repeated_globs_and_changes_nothing(client: Client, daemon: MemoryDaemon) -> None:
    query = "repo=acme/tiny&include=a&include=b&weights=all"
    async with client.get(f"/v1/plan?{query}") as response:
        plan = await response.json()
    assert response.status == 200
    assert plan["commit"] == COMMIT
    assert plan["bytes_total"] == plan["bytes_from_hub"] == 2_000_700
    assert daemon.pulls.pulls == {}


async def test_a_plan_of_an_unknown_repo_fails_as_the_pull_would(client: Client) -> None:
    async with client.get("/v1/plan?repo=acme/nothing") as response:
        assert response.status == 404
        problem = await response.json()
    assert problem["code"] == "repo_not_found"
    assert problem["type"] == "urn:distd:problem:repo_not_found"
    assert "acme/nothing" in problem["detail"]
