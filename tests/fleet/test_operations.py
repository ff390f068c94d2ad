"""One request, several members: a row for each, and one that is dead is a row with its reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.daemon.daemon import Refused, until
from tests.daemon.repos import Repos
from tests.fleet.conftest import Fleet
from tests.fleet.test_fleet_pulls import distctl, submitted

View = dict[str, Any]


def rows_of(fleet: Fleet, path: str) -> dict[str, View]:
    return {row["name"]: row for row in fleet.members[0].get(path)["items"]}


def test_every_member_is_asked_how_it_stands_and_what_it_holds(fleet: Fleet, repos: Repos) -> None:
    repo = repos.make(weight_mib=1)
    n0 = fleet.members[0]
    n0.pulled(repo.id, nodes=["n0", "n1"])
    status = rows_of(fleet, "/v1/status?nodes=all")
    assert {name: (row["zone"], row["state"], row["status"]["node"]) for name, row in status.items()} == {
        "n0": ("rack-0", "alive", "n0"),
        "n1": ("rack-1", "alive", "n1"),
        "n2": ("rack-1", "alive", "n2"),
    }
    held = rows_of(fleet, "/v1/models?nodes=all")
    assert [[model["repo"] for model in held[name]["models"]] for name in ("n0", "n1", "n2")] == [
        [repo.id],
        [repo.id],
        [],
    ]
    ran = distctl(n0, "status", "--zone", "rack-1")
    assert (ran.returncode, [line.split()[0] for line in ran.stdout.splitlines()]) == (
        0,
        ["NODE", "n1", "n2"],
    )
    ran = distctl(n0, "ls", "--nodes", "n1,n2", "--quiet")
    assert (ran.returncode, ran.stdout) == (0, f"n1 {repo.id}\n")


def test_what_one_member_refuses_is_told_and_the_others_do_it(fleet: Fleet, repos: Repos) -> None:
    repo = repos.make(weight_mib=1)
    n0 = fleet.members[0]
    n0.pulled(repo.id, nodes=["all"])
    assert distctl(n0, "pin", repo.id, "--nodes", "n1").returncode == 0
    ran = distctl(n0, "rm", "--nodes", "all", "--json", repo.id)
    rows = {row["name"]: row for row in json.loads(ran.stdout)["items"]}
    assert {name: len(row["removed"]) for name, row in rows.items()} == {"n0": 1, "n1": 0, "n2": 1}
    assert rows["n1"]["error"]["code"] == "conflict"
    assert ran.returncode == 1
    assert "removing failed on 1 of 3 nodes: n1" in ran.stderr
    audit = fleet.members[1].get(f"/v1/audit?text={repo.id}")["items"]
    assert [(entry["deed"], entry["outcome"]) for entry in audit] == [
        ("remove", "conflict"),
        ("pin", "done"),
        ("pull", "done"),
    ]
    ran = distctl(n0, "audit", "--deed", "remove")
    assert f"remove  {repo.id}  done     nodes=all" in ran.stdout
    assert distctl(n0, "unpin", repo.id, "--nodes", "n1").returncode == 0
    ran = distctl(n0, "rm", "--zone", "rack-1", repo.id)
    assert ran.returncode == 1
    assert "n2  Not found" in ran.stderr
    with pytest.raises(Refused, match="not_found"):
        fleet.members[1].get(f"/v1/models/model/{repo.id}")


def test_one_request_waits_until_every_member_has_it(fleet: Fleet, repos: Repos) -> None:
    repo = repos.make(weight_mib=1)
    n0, n1, _ = fleet.members
    n1.pulled(repo.id)
    wait = f"/v1/models/model/{repo.id}/wait"
    with pytest.raises(Refused) as refused:
        n0.get(f"{wait}?nodes=all&timeout=0s")
    assert (refused.value.status, refused.value.code) == (408, "timed_out")
    assert refused.value.detail.endswith("not yet on n0, n2")
    assert n0.get(f"{wait}?nodes=n1")["snapshot_path"] is None
    submitted(n0, repo.id, nodes=["all"])
    view = n0.get(f"{wait}?nodes=all&timeout=25s")
    assert [(node["name"], node["commit"]) for node in view["nodes"]] == [
        (name, repo.commit) for name in ("n0", "n1", "n2")
    ]
    assert view["snapshot_path"].endswith(repo.commit)


def test_a_drained_node_has_given_what_only_it_had_and_takes_nothing_more(fleet: Fleet, repos: Repos) -> None:
    n0, n1, n2 = fleet.members
    only_there = repos.make(weight_mib=17)
    n2.pulled(only_there.id)
    lone = repos.make(weight_mib=40)
    n2.ask("PUT", "/v1/limits", {"hub_down": 2_000_000})
    paused = submitted(n2, lone.id)
    until(lambda: n2.get(f"/v1/pulls/{paused}")["bytes_done"] > 0, "the pull to be under way", 30.0)

    ran = distctl(n0, "peers", "drain", "n2", "--wait", "--timeout", "60s")
    assert ran.returncode == 0, ran.stderr
    assert "n2 is drained" in ran.stderr
    assert f"paused until it is back in service: {paused}" in ran.stderr
    takers = [
        member
        for member in (n0, n1)
        if any(m["repo"] == only_there.id for m in member.get("/v1/models")["items"])
    ]
    assert len(takers) == 1
    (taken,) = (
        pull
        for pull in takers[0].get("/v1/pulls")["items"]
        if pull["repo"] == only_there.id and not pull["nodes"]
    )
    assert taken["bytes_from_hub"] == 0

    with pytest.raises(Refused, match="out of service"):
        n2.submit(repos.make(weight_mib=1).id)
    until(lambda: row_of(n0, "n2")["draining"], "others to hear of it", 15.0)
    everybody = n0.pulled(repos.make(weight_mib=1).id, nodes=["all"])
    assert [node["name"] for node in everybody["nodes"]] == ["n0", "n1"]
    (row,) = (peer for peer in n0.get("/v1/peers")["items"] if peer["name"] == "n2")
    assert (row["draining"], row["fetches_hub"]) == (True, False)
    assert "out of service" in distctl(n0, "peers").stdout
    assert "service  drained" in distctl(n2, "status").stdout
    audit: list[dict[str, Any]] = n2.get("/v1/audit?deed=drain")["items"]
    assert [entry["actor"] for entry in audit] == ["member n0 (somebody at 127.0.0.1)"]

    n2.terminate()
    n2.start()
    fleet.met()
    assert n2.get("/v1/status")["service"] != "in_service"
    until(lambda: row_of(n0, "n2")["draining"], "others to hear that it is still out of service", 15.0)
    assert distctl(n2, "peers", "undrain").returncode == 0
    assert n2.get("/v1/status")["service"] == "in_service"
    until(lambda: n2.get(f"/v1/pulls/{paused}")["state"] != "paused", "its pull to go on", 15.0)
    until(lambda: not row_of(n0, "n2")["draining"], "others to hear of it", 15.0)


def row_of(daemon: Any, name: str) -> dict[str, Any]:
    (row,) = (peer for peer in daemon.get("/v1/peers")["items"] if peer["name"] == name)
    return dict(row)


def test_a_member_banned_everywhere_is_left_out_until_it_is_let_back(fleet: Fleet, repos: Repos) -> None:
    n0, n1, n2 = fleet.members
    ran = distctl(n0, "peers", "ban", "n2", "--nodes", "all", "--reason", "bad DIMM")
    assert ran.returncode == 0, ran.stderr
    assert [line.split()[0] for line in ran.stderr.splitlines()] == ["n0", "n1"]
    for member in (n0, n1):
        (ban,) = member.get("/v1/bans")["items"]
        assert (ban["member"], ban["reason"]) == ("n2", "bad DIMM")
        (banned,) = (peer for peer in member.get("/v1/peers")["items"] if peer["name"] == "n2")
        assert banned["ban"] == "bad DIMM"
    by = "member n0 (somebody at 127.0.0.1)"
    assert n1.get("/v1/bans")["items"][0]["by"] == by
    assert [(each["actor"], each["subject"]) for each in n1.get("/v1/audit?deed=ban")["items"]] == [
        (by, "n2")
    ]
    row = rows_of(fleet, "/v1/status?nodes=n2")["n2"]
    assert "n2 is banned here (bad DIMM)" in row["error"]["detail"]
    refused = {row["name"]: row for row in n2.get("/v1/status?nodes=n0,n1")["items"]}
    assert all("banned (bad DIMM)" in row["error"]["detail"] for row in refused.values())
    assert distctl(n0, "peers", "forget", "n2").returncode == 1
    repo = repos.make(weight_mib=1)
    everybody = n0.pulled(repo.id, nodes=["all"])
    assert [node["name"] for node in everybody["nodes"]] == ["n0", "n1"]
    assert distctl(n0, "wait", repo.id, "--nodes", "all", "--timeout", "10s").returncode == 0
    assert distctl(n0, "peers", "unban", "n2", "--nodes", "n0,n1").returncode == 0
    fleet.met()


def test_a_dead_member_is_a_row_with_its_reason(fleet: Fleet) -> None:
    n0 = fleet.members[0]
    fleet.members[2].kill9()
    ran = distctl(n0, "status", "--nodes", "all")
    assert ran.returncode == 1
    (line,) = (line for line in ran.stdout.splitlines() if line.startswith("n2"))
    assert "Node not reachable" in line
    row = rows_of(fleet, "/v1/models?nodes=all")["n2"]
    assert (row["models"], row["error"]["code"]) == ([], "internal")


def test_a_member_that_left_is_forgotten_and_a_live_one_is_not(fleet: Fleet) -> None:
    n0 = fleet.members[0]
    assert distctl(n0, "peers", "forget", "n1").returncode == 1
    fleet.members[1].terminate()

    def states() -> dict[str, str]:
        return {peer["name"]: peer["state"] for peer in n0.get("/v1/peers")["items"]}

    until(lambda: states()["n1"] == "left", "its goodbye", 30.0)
    assert distctl(n0, "peers", "forget", "n1").returncode == 0
    assert "n1" not in states()
