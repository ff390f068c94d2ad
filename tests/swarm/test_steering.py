"""One member stops, pauses or has no room: the others go on."""

from __future__ import annotations

from pathlib import Path

from tests.daemon.daemon import until
from tests.daemon.repos import MIB, Repos, assert_nothing_published
from tests.hub import HubProcess
from tests.swarm.fleet import Fleet, assert_copies_at_most, complete, hub_copies


def test_cancel_and_pause_on_one_member_leave_the_others_alone(
    hub: HubProcess, repos: Repos, tmp_path: Path
) -> None:
    repo = repos.make(weight_mib=64)
    hub.set(rate_bytes_per_s=12 * MIB)
    hub.reset_counters()
    with Fleet(tmp_path, hub, 3, each={2: {"cache.min_free_bytes": "900 TB"}}) as fleet:
        steady, moody, small = fleet.nodes
        pulls = fleet.submit(repo)

        full = fleet.wait({small: pulls.pop(small)})[0].view
        assert (full["state"], full["error"]["code"]) == ("failed", "no_space")

        fleet.await_share(pulls, 0.2)
        assert moody.post(f"/v1/pulls/{pulls[moody]}/pause")["state"] == "paused"
        fleet.await_share({steady: pulls[steady]}, 0.4)
        moody.post(f"/v1/pulls/{pulls[moody]}/resume")
        fleet.await_share({moody: pulls[moody]}, 0.5)
        assert moody.delete(f"/v1/pulls/{pulls[moody]}")["state"] == "cancelled"
        until(lambda: not list((moody.store_dir / "incoming").iterdir()), "the incoming files to go")
        assert_nothing_published(moody.hub_dir, repo)

        complete(fleet.wait({steady: pulls[steady]}), repo)
        print(f"paused, resumed and cancelled beside one: {hub_copies(repo):.3f} Hub copies")
        # What only the cancelled member held is fetched again, and by nobody else.
        assert_copies_at_most(repo, 1.5)
        again = fleet.wait(fleet.submit(repo, [moody]))
        complete(again, repo)
