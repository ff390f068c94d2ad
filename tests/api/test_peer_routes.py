"""Members are banned, let back and forgotten over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import aiohttp
import pytest

from distd.core.bans import Checked
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


async def test_who_was_banned_on_evidence_is_asked_again_and_let_back_when_it_is_well(
    client: Client, daemon: MemoryDaemon
) -> None:
    recheck = "/v1/peers/gpu-02/recheck"
    assert (await asked(client, "POST", recheck))[1]["code"] == "not_found"
    seen: list[tuple[str, ...]] = []
    found = [
        Checked("wrong", 3, "piece 7 is wrong"),
        Checked("unknown", 0, "silent"),
        Checked("clean", 8, "all right"),
    ]

    async def check(member: str, evidence: Sequence[str]) -> Checked:
        seen.append(tuple(evidence))
        return found.pop(0)

    daemon.peering.check = check
    await daemon.peering.ban("gpu-02", "sends wrong bytes", "distd", ("blob b: piece 1",))
    _, still = await asked(client, "POST", recheck)
    assert (still["verdict"], still["ban"]["evidence"][1].partition("Z: ")[2]) == (
        "wrong",
        "piece 7 is wrong",
    )
    _, still = await asked(client, "POST", recheck)
    assert (still["verdict"], len(still["ban"]["evidence"])) == ("unknown", 2)
    assert await asked(client, "POST", recheck) == (
        200,
        {"member": "gpu-02", "verdict": "clean", "copies": 8, "text": "all right", "ban": None},
    )
    assert [len(evidence) for evidence in seen] == [1, 2, 2]
    assert daemon.circle.banned == {}
    lifted = next(entry for entry in daemon.audit_table.entries if entry.deed == "unban")
    assert lifted.detail == "re-checked: all right; was: sends wrong bytes"

    await daemon.peering.ban("gpu-02", "bad DIMM", "alice")
    assert (await asked(client, "POST", recheck))[1]["code"] == "conflict"


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
