"""Neighbouring wire versions side by side: a fleet upgraded one by one in the middle of a pull, and put back."""

from __future__ import annotations

import os
from pathlib import Path

from distd.config.sections import WIRE_VERSION
from tests.daemon.repos import MIB, Repos
from tests.hub import HubProcess
from tests.swarm.fleet import Fleet, assert_copies_at_most, complete, hub_copies

OLDER = WIRE_VERSION - 1
STRICT = bool(os.environ.get("SWARM_STRICT"))
WEIGHT_MIB = 128 if STRICT else 18
"""A restart costs what its connections had begun, some pieces of 1 MiB: little of a large model, much of a small one."""


def test_half_of_a_fleet_is_upgraded_in_the_middle_of_a_pull_and_put_back(
    hub: HubProcess, repos: Repos, tmp_path: Path
) -> None:
    repo, later, last = (repos.make(weight_mib=mib) for mib in (WEIGHT_MIB, 20, 20))
    hub.set(rate_bytes_per_s=6 * MIB)
    hub.reset_counters()
    with Fleet(tmp_path, hub, 2, settings={"cluster.wire_version": OLDER}) as fleet:
        upgraded, _ = fleet.nodes
        pulls = fleet.submit(repo)
        fleet.await_share(pulls, 0.1)
        upgraded.change("cluster.wire_version", WIRE_VERSION)
        upgraded.restart()
        fleet.await_company()
        assert "complete" not in {node.view(pull)["state"] for node, pull in pulls.items()}
        complete(fleet.wait(pulls), repo)
        print(f"upgraded in the middle: {hub_copies(repo):.4f} Hub copies")
        assert_copies_at_most(repo, 1.05)
        hub.set(rate_bytes_per_s=20 * MIB)
        complete(fleet.wait(fleet.submit(later)), later)
        print(f"two versions side by side: {hub_copies(later):.4f} Hub copies")
        assert_copies_at_most(later, 1.05)
        if not STRICT:
            return
        upgraded.change("cluster.wire_version", OLDER)
        upgraded.restart()
        fleet.await_company()
        complete(fleet.wait(fleet.submit(last)), last)
        print(f"put back: {hub_copies(last):.4f} Hub copies")
        assert_copies_at_most(last, 1.05)
