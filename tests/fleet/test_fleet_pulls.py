"""One request, three daemons: every part completes, is steered, survives restarts, and is told apart when it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from distd.core.fleet import SILENT_MAX_S
from tests.daemon.daemon import FINISHED, DaemonProcess, Refused, until
from tests.daemon.repos import MIB, Repos, assert_same_files
from tests.fleet.conftest import Fleet

View = dict[str, Any]

SMALL_FILES_MAX_BYTES = 20_000
"""All files of a test repo that are no weights."""

RATES = "rate_hub_bytes_per_s", "rate_peers_bytes_per_s"


def nodes_of(view: View) -> dict[str, View]:
    return {node["name"]: node for node in view["nodes"]}


def states_of(view: View) -> dict[str, str]:
    return {node["name"]: node["state"] for node in view["nodes"]}


def column(view: View, name: str) -> list[Any]:
    return [node[name] for node in view["nodes"]]


def submitted(daemon: DaemonProcess, repo: str, **request: Any) -> str:
    """Unlike `DaemonProcess.submit` it takes a pull in which that node has no part."""
    return str(daemon.post("/v1/pulls", {"repo": repo, **request})["id"])


def reached(daemon: DaemonProcess, pull_id: str, holds: Any, timeout_s: float = 30.0) -> View:
    def look() -> View | None:
        view: View = daemon.get(f"/v1/pulls/{pull_id}")
        return view if holds(view) else None

    return until(look, f"pull {pull_id}", timeout_s)


def ended(daemon: DaemonProcess, pull_id: str, timeout_s: float = 30.0) -> View:
    return reached(daemon, pull_id, lambda view: view["state"] in FINISHED, timeout_s)


def heard_of(daemon: DaemonProcess) -> list[View]:
    """The members as `daemon` lists them, once gossip has had an answer from each: a pull may end before."""

    def look() -> list[View] | None:
        peers = daemon.get("/v1/peers")["items"]
        return peers if all(peer["rtt_s"] is not None for peer in peers) else None

    return until(look, "a round of gossip with every member", 30.0)


def distctl(daemon: DaemonProcess, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "distd.cli", "--url", daemon.url, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_pull_on_all_nodes_fetches_every_byte_once_and_ends_on_each(fleet: Fleet, repos: Repos) -> None:
    repo = repos.make(weight_mib=24)
    fleet.hub.reset_counters()
    ran = distctl(fleet.members[0], "pull", repo.id, "--nodes", "all", "--json")
    assert ran.returncode == 0, ran.stderr
    pull = json.loads(ran.stdout)
    assert states_of(pull) == {"n0": "complete", "n1": "complete", "n2": "complete"}
    for node in pull["nodes"]:
        by_source = node["bytes_from_hub"], node["bytes_from_peers"], node["bytes_reused"]
        assert sum(by_source) == node["bytes_done"] == node["bytes_total"] == repo.size_bytes
    assert repo.sent_bytes() == repo.size_bytes
    # What a member fetched for others before its own part was planned counts as held there already.
    by_hub = sum(node["bytes_from_hub"] for node in pull["nodes"])
    assert by_hub <= repo.size_bytes
    assert by_hub >= repo.size_bytes - SMALL_FILES_MAX_BYTES
    for index, member in enumerate(fleet.members):
        snapshot = member.hub_dir / repo.folder / "snapshots" / repo.commit
        assert nodes_of(pull)[f"n{index}"]["snapshot_path"] == str(snapshot)
        assert_same_files(snapshot, repo.directory)
        own = member.get(f"/v1/pulls/{nodes_of(pull)[f'n{index}']['pull_id']}")
        assert (own["state"], own["nodes"]) == ("complete", [])
    events = [entry["event"] for entry in fleet.members[0].story(pull["id"])]
    assert sorted(events) == sorted(["submitted", *["node_started", "node_complete"] * 3, "complete"])


@pytest.mark.usefixtures("slowly")
def test_members_and_what_flows_between_them_are_listed(fleet: Fleet, repos: Repos) -> None:
    n0 = fleet.members[0]
    pull_id = submitted(n0, repos.make(weight_mib=16).id, nodes=["all"])
    # Who fetches how much is the lead's choice: a member may get its whole part from others, or from the Hub.
    moving = reached(n0, pull_id, lambda view: all(any(column(view, rate)) for rate in RATES))
    for node in moving["nodes"]:
        assert node["rate_bytes_per_s"] == pytest.approx(sum(node[rate] for rate in RATES))
    assert any(member.get("/v1/status")["rates"]["peers_bytes_per_s"] > 0 for member in fleet.members)
    assert ended(n0, pull_id)["state"] == "complete"
    peers = {peer["name"]: peer for peer in heard_of(fleet.members[0])}
    assert {name: (peer["zone"], peer["state"], peer["is_self"]) for name, peer in peers.items()} == {
        "n0": ("rack-0", "alive", True),
        "n1": ("rack-1", "alive", False),
        "n2": ("rack-1", "alive", False),
    }
    assert all(peer["rtt_s"] >= 0 and abs(peer["clock_skew_s"]) < 5 for peer in peers.values())
    assert sum(peer["received_bytes"] + peer["sent_bytes"] for peer in peers.values()) > 0
    status = fleet.members[0].get("/v1/status")["cluster"]
    assert status == {"name": "fleet", "members": 3, "reachable": 3}


def test_wait_ends_when_every_member_named_has_it(fleet: Fleet, repos: Repos) -> None:
    fleet.met()
    repo = repos.make(weight_mib=1)
    coordinator = fleet.members[0]
    fleet.members[1].pulled(repo.id)
    nodes = coordinator.get(f"/v1/models/model/{repo.id}/nodes")["items"]
    assert {node["name"]: (node["commit"], node["complete"]) for node in nodes} == {
        "n0": (None, None),
        "n1": (repo.commit, True),
        "n2": (None, None),
    }
    assert distctl(coordinator, "wait", repo.id, "--nodes", "n1", "--timeout", "10s").returncode == 0
    ran = distctl(coordinator, "wait", repo.id, "--nodes", "all", "--timeout", "0")
    assert (ran.returncode, ran.stdout) == (9, "")
    assert "not yet on n0, n2" in ran.stderr
    coordinator.pulled(repo.id, nodes=["all"])
    ran = distctl(coordinator, "wait", f"{repo.id}@{repo.commit}", "--nodes", "all", "--timeout", "10s")
    assert ran.returncode == 0
    assert ran.stdout.strip().endswith(f"snapshots/{repo.commit}")


def test_held_content_is_counted_as_reused_on_every_node(fleet: Fleet, repos: Repos) -> None:
    repo = repos.make()
    assert ended(fleet.members[1], submitted(fleet.members[1], repo.id, zone="rack-1"))["state"] == "complete"
    again = ended(fleet.members[1], submitted(fleet.members[1], repo.id, nodes=["n2", "n1"]))
    assert states_of(again) == {"n1": "complete", "n2": "complete"}
    assert all(node["bytes_reused"] == repo.size_bytes for node in again["nodes"])


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"nodes": ["n1", "n9"]}, "no member of the cluster is called 'n9'; members: n0, n1, n2"),
        ({"zone": "rack-7"}, "zones: 'rack-0', 'rack-1'; members: n0, n1, n2"),
        ({"nodes": ["n0"], "zone": "rack-1"}, "n0 is not in zone 'rack-1'; members there: n1, n2"),
    ],
)
def test_an_unknown_name_is_refused_with_the_names_that_exist(
    fleet: Fleet, repos: Repos, request_: View, says: str
) -> None:
    with pytest.raises(Refused) as refused:
        submitted(fleet.members[0], "acme/whatever", **request_)
    assert (refused.value.status, refused.value.code) == (422, "invalid_request")
    assert says in refused.value.detail


@pytest.mark.usefixtures("slowly")
def test_a_node_that_is_not_named_has_no_part_and_steers_those_that_are(fleet: Fleet, repos: Repos) -> None:
    repo = repos.make(weight_mib=16)
    n0 = fleet.members[0]
    pull_id = submitted(n0, repo.id, nodes=["n2"], zone="rack-1")
    assert submitted(n0, repo.id, nodes=["n2"]) == pull_id
    started = reached(n0, pull_id, lambda view: view["nodes"][0]["bytes_done"] > MIB)
    assert (started["bytes_done"], started["files"]) == (0, [])
    assert n0.post(f"/v1/pulls/{pull_id}/pause")["nodes"][0]["state"] == "paused"
    assert reached(n0, pull_id, lambda view: view["state"] == "paused")
    part = fleet.members[2].view(started["nodes"][0]["pull_id"])
    assert part["state"] == "paused"
    n0.post(f"/v1/pulls/{pull_id}/resume")
    reached(n0, pull_id, lambda view: view["state"] == "downloading")
    assert n0.delete(f"/v1/pulls/{pull_id}")["state"] == "cancelled"
    assert fleet.members[2].view(part["id"])["state"] == "cancelled"
    assert n0.delete(f"/v1/pulls/{pull_id}")["state"] == "cancelled"
    with pytest.raises(Refused, match="conflict"):
        n0.post(f"/v1/pulls/{pull_id}/resume")
    listed = [view["id"] for view in n0.get("/v1/pulls")["items"] if view["repo"] == repo.id]
    assert listed == [pull_id]


def test_a_repo_that_nobody_has_fails_on_every_node_with_its_reason(fleet: Fleet) -> None:
    ran = distctl(fleet.members[0], "pull", "acme/nothing", "--nodes", "all")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "Failed on 3 of 3 nodes" in ran.stderr
    assert "  n2  failed  Repository not found" in ran.stderr


@pytest.mark.usefixtures("slowly")
def test_a_killed_coordinator_goes_on_with_what_it_coordinated(fleet: Fleet, repos: Repos) -> None:
    repo = repos.make(weight_mib=24)
    n0 = fleet.members[0]
    pull_id = submitted(n0, repo.id, nodes=["all"])
    before = reached(n0, pull_id, lambda view: all(node["bytes_done"] > MIB for node in view["nodes"]))
    addresses = fleet.addresses(n0)
    n0.kill9()
    joined = ",".join(fleet.addresses(member)["cluster"] for member in fleet.members[1:])
    fleet.members[0] = DaemonProcess(
        fleet.directory / "n0",
        fleet.hub.url,
        {
            "node.name": "n0",
            "cluster.listen": addresses["cluster"],
            "cluster.join": joined,
            "cluster.name": "fleet",
            "swarm.listen": "127.0.0.1:0",
        },
    )
    fleet.members[0].start()
    fleet.hub.set(rate_bytes_per_s=None)
    after = ended(fleet.members[0], pull_id)
    assert (after["state"], after["error"]) == ("complete", None)
    assert {node["name"]: node["pull_id"] for node in before["nodes"]} == {
        node["name"]: node["pull_id"] for node in after["nodes"]
    }


@pytest.mark.usefixtures("slowly")
def test_a_node_that_dies_is_failed_after_a_bound_while_the_others_complete(
    fleet: Fleet, repos: Repos
) -> None:
    fleet.met()
    repo = repos.make(weight_mib=24)
    n0 = fleet.members[0]
    pull_id = submitted(n0, repo.id, nodes=["all"])
    reached(n0, pull_id, lambda view: all(node["bytes_done"] > 0 for node in view["nodes"]))
    fleet.members[2].kill9()
    fleet.hub.set(rate_bytes_per_s=None)
    told = reached(n0, pull_id, lambda view: nodes_of(view)["n2"]["stalled_reason"])
    assert "no answer for" in nodes_of(told)["n2"]["stalled_reason"]
    assert told["state"] not in FINISHED
    view = ended(n0, pull_id, SILENT_MAX_S + 20)
    assert states_of(view) == {"n0": "complete", "n1": "complete", "n2": "failed"}
    assert view["state"] == "failed"
    assert "n2 gave no answer for 20 s" in view["error"]["detail"]
    with pytest.raises(Refused, match="n2 is not reachable; members: n0, n1"):
        submitted(n0, repo.id, nodes=["n2"])
    fleet.members.pop()
