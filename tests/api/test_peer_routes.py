"""Members are banned, let back and forgotten over HTTP."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from tests.api.memory import MemoryBanTable, MemoryDaemon, peer

Client = aiohttp.ClientSession


@pytest.fixture(autouse=True)
def others(daemon: MemoryDaemon) -> None:
    daemon.node.others = [peer("gpu-02"), peer("gpu-03", state="dead")]


async def asked(client: Client, method: str, path: str, **more: Any) -> tuple[int, Any]:
    async with client.request(method, path, **more) as response:
        return response.status, await response.json()


async def test_a_ban_is_listed_holds_over_a_restart_and_is_lifted(
    client: Client, daemon: MemoryDaemon
) -> None:
    status, word = await asked(client, "PUT", "/v1/peers/gpu-02/ban", json={"reason": "bad DIMM"})
    assert (status, word["ban"]["member"], word["ban"]["reason"]) == (200, "gpu-02", "bad DIMM")
    assert daemon.circle.banned == {"gpu-02": "bad DIMM"}
    again = await asked(client, "PUT", "/v1/peers/gpu-02/ban")
    assert again == (200, word)
    _, listed = await asked(client, "GET", "/v1/bans")
    assert listed == {"items": [word["ban"]], "next": None}
    daemon.circle.banned = {}
    await daemon.peering.open()
    assert daemon.circle.banned == {"gpu-02": "bad DIMM"}
    for _ in range(2):
        assert await asked(client, "DELETE", "/v1/peers/gpu-02/ban") == (200, {"ban": None})
    assert daemon.circle.banned == {}


async def test_with_nodes_a_ban_has_a_row_for_each_but_the_member_itself(client: Client) -> None:
    _, page = await asked(client, "PUT", "/v1/peers/gpu-02/ban?nodes=all")
    assert [(row["name"], row["error"], row["ban"]["member"]) for row in page["items"]] == [
        ("gpu-01", None, "gpu-02")
    ]
    _, page = await asked(client, "DELETE", "/v1/peers/gpu-02/ban?nodes=all")
    assert [(row["name"], row["error"], row["ban"]) for row in page["items"]] == [("gpu-01", None, None)]


async def test_a_node_without_a_cluster_is_not_taken_out_of_service(client: Client) -> None:
    _, view = await asked(client, "GET", "/v1/peers/gpu-01/drain")
    assert (view["state"], view["only_here"]) == ("in_service", [])
    status, problem = await asked(client, "PUT", "/v1/peers/gpu-01/drain")
    assert (status, problem["code"]) == (409, "conflict")
    assert "no cluster that could do without it" in problem["detail"]
    assert (await asked(client, "DELETE", "/v1/peers/gpu-01/drain"))[1]["state"] == "in_service"


async def test_only_a_member_that_is_gone_is_forgotten(client: Client, daemon: MemoryDaemon) -> None:
    assert (await asked(client, "DELETE", "/v1/peers/gpu-02"))[1]["code"] == "conflict"
    assert await asked(client, "DELETE", "/v1/peers/gpu-03") == (200, {"member": "gpu-03"})
    assert [each.name for each in daemon.node.others] == ["gpu-02"]


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("PUT", "/v1/peers/gpu-09/ban", "not_found"),
        ("PUT", "/v1/peers/gpu-01/ban", "invalid_request"),
        ("DELETE", "/v1/peers/gpu-09/ban", "not_found"),
        ("DELETE", "/v1/peers/gpu-09", "not_found"),
        ("DELETE", "/v1/peers/gpu-03?x=1", "invalid_request"),
    ],
)
async def test_what_cannot_be_done_is_a_problem(client: Client, method: str, path: str, code: str) -> None:
    assert (await asked(client, method, path))[1]["code"] == code


async def test_a_ban_that_would_not_outlive_a_restart_does_not_hold(
    client: Client, daemon: MemoryDaemon
) -> None:
    table = daemon.peering._table
    assert isinstance(table, MemoryBanTable)
    table.broken = True
    status, _ = await asked(client, "PUT", "/v1/peers/gpu-02/ban")
    assert (status, daemon.circle.banned) == (500, {})
    assert (await asked(client, "GET", "/v1/bans"))[1]["items"] == []
