from __future__ import annotations

import aiohttp

from distd import __version__
from distd.api.schema import Finding
from tests.api.memory import MemoryDaemon, peer

Client = aiohttp.ClientSession


async def test_the_daemon_is_alive_even_when_it_is_not_ready(client: Client, daemon: MemoryDaemon) -> None:
    daemon.node.unready = ["the disk is full"]
    for path in ("/livez", "/healthz"):
        async with client.get(path) as response:
            assert (response.status, await response.text()) == (200, "ok\n")


async def test_readiness_gives_its_reasons_only_when_asked(client: Client, daemon: MemoryDaemon) -> None:
    async with client.get("/readyz") as response:
        assert (response.status, await response.text()) == (200, "ready\n")
    daemon.node.unready = ["the disk is full"]
    async with client.get("/readyz") as response:
        assert (response.status, await response.text()) == (503, "not ready\n")
    async with client.get("/readyz?verbose") as response:
        assert (response.status, await response.text()) == (503, "not ready\nthe disk is full\n")


async def test_status_names_node_version_and_active_pulls(client: Client) -> None:
    async with client.post("/v1/pulls", json={"repo": "acme/tiny"}):
        pass
    async with client.get("/v1/status") as response:
        status = await response.json()
    assert (status["node"], status["version"]) == ("gpu-01", __version__)
    assert [pull["repo"] for pull in status["active_pulls"]] == ["acme/tiny"]


async def test_the_members_of_the_cluster_are_listed_in_pages(client: Client, daemon: MemoryDaemon) -> None:
    daemon.node.others = [peer("gpu-03", state="dead", trouble="no answer in time"), peer("gpu-02")]
    seen, cursor = [], None
    for _ in range(2):
        params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        async with client.get("/v1/peers", params=params) as response:
            page = await response.json()
        seen += page["items"]
        cursor = page["next"]
    assert cursor is None
    assert [(item["name"], item["is_self"], item["state"]) for item in seen] == [
        ("gpu-01", True, "alive"),
        ("gpu-02", False, "alive"),
        ("gpu-03", False, "dead"),
    ]
    assert seen[2]["trouble"] == "no answer in time"
    async with client.get("/v1/status") as response:
        assert (await response.json())["cluster"] == {"name": "", "members": 3, "reachable": 2}


async def test_the_doctor_answers_with_findings(client: Client, daemon: MemoryDaemon) -> None:
    daemon.node.findings = [Finding("disk", "fail", "2 GB free", "remove models")]
    async with client.get("/v1/doctor") as response:
        page = await response.json()
    assert page == {
        "items": [{"name": "disk", "outcome": "fail", "detail": "2 GB free", "fix": "remove models"}],
        "next": None,
    }


async def test_the_index_lists_every_route_as_json_and_is_the_dashboard_for_a_browser(client: Client) -> None:
    async with client.get("/") as response:
        listed = (await response.json())["routes"]
    assert ("POST", "/v1/pulls") in {(route["method"], route["path"]) for route in listed}
    served = [route for route in MemoryDaemon().app().router.routes() if route.method != "HEAD"]
    assert len(listed) == len(served)
    async with client.get("/", headers={"Accept": "text/html,*/*"}) as response:
        assert response.content_type == "text/html"
        html = await response.text()
    assert "<title>distd</title>" in html


async def test_answers_are_never_cached_and_do_not_name_the_library(client: Client) -> None:
    for path in ("/v1/status", "/nowhere"):
        async with client.get(path) as response:
            assert response.headers["Cache-Control"] == "no-store"
            assert response.headers["Server"] == f"distd/{__version__}"


async def test_every_get_route_answers_head_too(client: Client) -> None:
    async with client.head("/v1/status") as response:
        assert response.status == 200
        assert await response.read() == b""
