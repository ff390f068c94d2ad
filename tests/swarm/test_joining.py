"""Nodes that come later: in the middle, and when all have it and the Hub gives nothing any more."""

from __future__ import annotations

from pathlib import Path

from tests.daemon.daemon import DaemonProcess
from tests.daemon.repos import MIB, Repos
from tests.hub import HubProcess
from tests.swarm.fleet import Fleet, assert_copies_at_most, complete, hub_copies


def test_node_that_joins_in_the_middle_takes_from_the_others(
    hub: HubProcess, repos: Repos, tmp_path: Path
) -> None:
    repo = repos.make(weight_mib=64)
    hub.set(rate_bytes_per_s=12 * MIB)
    hub.reset_counters()
    with Fleet(tmp_path, hub, 2) as fleet:
        pulls = fleet.submit(repo)
        fleet.await_share(pulls, 0.4)
        (late,) = fleet.add()
        assert all(node.view(pull)["state"] == "downloading" for node, pull in pulls.items())
        pulls |= fleet.submit(repo, [late])
        complete(fleet.wait(pulls), repo)
        print(f"joined in the middle: {hub_copies(repo):.4f} Hub copies")
        assert_copies_at_most(repo, 1.01)

        # All have published: the content comes from members, though the Hub sends none of it.
        hub.add_fault("status", on="body", path="*", status=503, times=None)
        sent = repo.sent_bytes()
        (last,) = fleet.add()
        ended = fleet.wait(fleet.submit(repo, [last]))
        complete(ended, repo)
        assert repo.sent_bytes() == sent
        assert ended[0].view["bytes_from_peers"] == repo.size_bytes


def test_second_member_in_the_middle_of_a_lone_pull(hub: HubProcess, repos: Repos, tmp_path: Path) -> None:
    repo = repos.make(weight_mib=64)
    alone = repos.make(weight_mib=16, shards=2)
    hub.reset_counters()
    with Fleet(tmp_path, hub, 1) as fleet:
        first: DaemonProcess = fleet.nodes[0]
        ended = fleet.wait(fleet.submit(alone))
        complete(ended, alone)
        assert hub_copies(alone) == 1
        assert ended[0].view["bytes_from_hub"] == alone.size_bytes

        hub.set(rate_bytes_per_s=12 * MIB)
        pulls = fleet.submit(repo)
        fleet.await_share(pulls, 0.2)
        (second,) = fleet.add()
        assert first.view(pulls[first])["state"] == "downloading"
        pulls |= fleet.submit(repo, [second])
        complete(fleet.wait(pulls), repo)
        print(f"second member in the middle of a lone pull: {hub_copies(repo):.4f} Hub copies")
        # What the lone node's connections were in the middle of is fetched again: it changed its way.
        assert_copies_at_most(repo, 1.2)
