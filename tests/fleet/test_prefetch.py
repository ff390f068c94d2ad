"""Prefetch in a cluster: members that declare the same pull once for all of them that are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.daemon.daemon import DaemonProcess, until
from tests.daemon.repos import Repos
from tests.hub import HubProcess
from tests.swarm.fleet import Fleet

RUN_S = 60.0


def entry_of(node: DaemonProcess) -> dict[str, Any]:
    (entry,) = node.get("/v1/prefetch")["items"]
    return entry


def test_what_all_declare_is_pulled_once_for_all(hub: HubProcess, repos: Repos, tmp_path: Path) -> None:
    repo = repos.make(weight_mib=1)
    with Fleet(tmp_path, hub, 3) as fleet:
        for node in fleet.nodes:
            node.post("/v1/prefetch", {"repo": repo.id, "schedule": "0 0 1 1 *"})
        (id_,) = {entry_of(node)["id"] for node in fleet.nodes}  # the same everywhere
        away = fleet.nodes[2]
        away.kill9()
        fleet.await_company(2)
        first = fleet.nodes[0]
        first.post(f"/v1/prefetch/{id_}/run")
        done = until(
            lambda: (entry := entry_of(first))["last_outcome"] and not entry["running"] and entry,
            "the run to end",
            RUN_S,
        )
        assert done["last_outcome"] == "complete", done["last_detail"]
        pull = first.view(done["last_pull_id"])
        assert [node["name"] for node in pull["nodes"]] == ["n0", "n1"]
        assert all(node["state"] == "complete" for node in pull["nodes"])
        (other,) = fleet.nodes[1].get("/v1/pulls")["items"]
        assert other["commit"] == repo.commit
    assert repo.sent_bytes("model.safetensors") <= 1.01 * 2**20
