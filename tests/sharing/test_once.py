"""The Hub is asked once for the whole cluster: requests, bytes of small files, access, and its absence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.daemon.daemon import DaemonProcess, check_complete, until
from tests.daemon.repos import HubRepo, Repos, assert_same_files
from tests.hub import HubProcess
from tests.sharing.fleet import address, fleet, member, until_all_know

RESOLVES_MORE_MAX = 1
"""A fleet may ask for one URL more than a lone node: a member whose question to the owner meets a busy moment."""


PUBLIC_BYTES_MAX = 10_000
REFUSED_MAX = 2 * 2 * 8
"""Two members without access, each with the requests that its eight connections have under way when it learns that,
and once more when that is forgotten."""


def refused(hub: HubProcess) -> int:
    """Requests that the Hub answered with 401 or 403."""
    return sum(each["count"] for each in hub.counters(last=0)["requests"] if each["status"] in (401, 403))


def requests(hub: HubProcess, kind: str, status_below: int = 400) -> int:
    return sum(
        each["count"]
        for each in hub.counters(last=0)["requests"]
        if each["kind"] == kind and 0 < each["status"] < status_below
    )


def pull_all(daemons: list[DaemonProcess], repo: HubRepo, **request: Any) -> list[dict[str, Any]]:
    """All begin at the same time; every pull completes with the right files."""
    ids = [daemon.submit(repo.id, **request)["id"] for daemon in daemons]
    views = [daemon.wait(pull_id) for daemon, pull_id in zip(daemons, ids, strict=True)]
    for view in views:
        assert view["state"] == "complete", view["error"]
        check_complete(view)
        assert_same_files(Path(view["snapshot_path"]), repo.directory)
    return views


def test_four_nodes_ask_the_hub_as_often_as_one(hub: HubProcess, repos: Repos, tmp_path: Path) -> None:
    one, four = (repos.make(weight_mib=40, shards=2, small_files=10) for _ in range(2))
    with fleet(tmp_path / "one", hub, 1) as daemons:
        hub.reset_counters()
        pull_all(daemons, one)
        alone = {kind: requests(hub, kind) for kind in ("api", "resolve")}
    with fleet(tmp_path / "four", hub, 4) as daemons:
        hub.reset_counters()
        pull_all(daemons, four)
        together = {kind: requests(hub, kind) for kind in ("api", "resolve")}
    assert alone["api"] > 0
    assert together["api"] == alone["api"]
    assert alone["resolve"] <= together["resolve"] <= alone["resolve"] + RESOLVES_MORE_MAX
    assert four.sent_bytes() == four.size_bytes


def test_small_files_cross_the_link_once_and_come_to_the_others_from_members(
    hub: HubProcess, repos: Repos, tmp_path: Path
) -> None:
    repo = repos.make(weight_mib=1, small_files=60, small_file_bytes=40_000)
    with fleet(tmp_path, hub, 3) as daemons:
        hub.reset_counters()
        views = pull_all(daemons, repo)
        scrapes = [daemon.metrics() for daemon in daemons]
    for view, scrape in zip(views, scrapes, strict=True):
        received = scrape.by_label("distd_peer_received_bytes_total")
        assert sum(received.values()) == view["bytes_from_peers"]
    sent = sum(sum(scrape.by_label("distd_peer_sent_bytes_total").values()) for scrape in scrapes)
    assert sent == sum(view["bytes_from_peers"] for view in views)
    assert sum(scrape.value("distd_hub_received_bytes_total") for scrape in scrapes) == repo.size_bytes
    assert repo.sent_bytes() == repo.size_bytes
    # What an owner fetched for others before its own plan was made counts as reused there.
    kept = sum(view["bytes_from_hub"] + view["bytes_reused"] for view in views)
    assert kept == repo.size_bytes
    assert all(view["bytes_from_peers"] > 0 for view in views)


def test_when_an_owner_dies_in_mid_batch_the_others_finish(
    hub: HubProcess, repos: Repos, tmp_path: Path
) -> None:
    repo = repos.make(weight_mib=1, small_files=40, small_file_bytes=200_000)
    with fleet(tmp_path, hub, 3) as daemons:
        hub.reset_counters()
        hub.set(rate_bytes_per_s=2e6)
        ids = [daemon.submit(repo.id)["id"] for daemon in daemons]
        until(lambda: repo.sent_bytes() > repo.size_bytes // 4, "a quarter of the bytes")
        daemons[1].kill9()
        hub.set(rate_bytes_per_s=None)
        for number in (0, 2):
            view = daemons[number].wait(ids[number])
            assert view["state"] == "complete", view["error"]
            assert_same_files(Path(view["snapshot_path"]), repo.directory)
        daemons[1].start()


def test_what_a_killed_member_had_begun_for_another_is_gone_after_its_start(
    hub: HubProcess, repos: Repos, tmp_path: Path
) -> None:
    repo = repos.make(weight_mib=1, small_files=12, small_file_bytes=2_000_000)
    with fleet(tmp_path, hub, 2) as (asking, serving):
        hub.set(rate_bytes_per_s=2e6)
        pull = asking.submit(repo.id)["id"]

        def parts() -> list[str]:
            return [path.name for path in (serving.store_dir / "incoming").iterdir()]

        until(
            lambda: serving.metrics().value("distd_hub_received_bytes_total") > 1_000_000, "a file on its way"
        )
        serving.kill9()
        left = parts()
        hub.set(rate_bytes_per_s=None)
        view = asking.wait(pull)
        assert view["state"] == "complete", view["error"]
        assert left, "killed while it fetched"

        serving.start()

        assert parts() == [], "nobody waits for it any more"


def test_a_node_that_may_not_fetch_completes_beside_one_that_does(
    hub: HubProcess, repos: Repos, tmp_path: Path
) -> None:
    large, small = repos.make(weight_mib=20, small_files=10), repos.make(weight_mib=1, small_files=10)
    with fleet(tmp_path, hub, 2, settings={1: {"hub.fetch": "false"}}) as daemons:
        views = pull_all(daemons, large)
        assert views[1]["bytes_from_hub"] == 0
        assert views[1]["bytes_from_peers"] == views[1]["bytes_total"]
        # Small blobs come through their owner, who need not pull them itself.
        (view,) = pull_all(daemons[1:], small)
        assert view["bytes_from_peers"] == view["bytes_total"]
        assert len(daemons[0].get("/v1/pulls")["items"]) == 1
    # A member that finds its owner busy may ask the Hub for a small file itself.
    assert large.size_bytes <= large.sent_bytes() <= large.size_bytes + PUBLIC_BYTES_MAX
    assert small.size_bytes <= small.sent_bytes() <= small.size_bytes + PUBLIC_BYTES_MAX


def test_with_the_hub_gone_a_new_node_gets_everything_from_a_member_that_has_it(
    hub: HubProcess, repos: Repos, tmp_path: Path
) -> None:
    repo = repos.make(weight_mib=20, small_files=10)
    with fleet(tmp_path, hub, 2, settings={1: {"hub.give_up_after": "2s"}}) as (first, second):
        first.pulled(repo.id)
        hub.reset_counters()
        plan = second.get(f"/v1/plan?repo={repo.id}")
        # It owns some of the small ones, and has fetched those for the first.
        assert plan["bytes_from_peers"] + plan["bytes_reused"] == plan["bytes_total"] == repo.size_bytes
        assert plan["bytes_from_peers"] > repo.size_bytes / 2
        assert plan["bytes_from_hub"] == 0
        hub.go_away()
        third = member(tmp_path, hub, "n2", address(first), {"hub.give_up_after": "2s"})
        with third:
            until_all_know([first, second, third])
            view = third.pulled(repo.id)
            assert view["commit"] == repo.commit
            assert view["bytes_from_peers"] == view["bytes_total"]
            assert_same_files(Path(view["snapshot_path"]), repo.directory)
    assert hub.counters(last=0)["body_bytes"] == 0


def test_one_member_with_access_to_a_gated_repo_is_enough(
    hub: HubProcess, repos: Repos, tmp_path: Path
) -> None:
    gate: dict[str, Any] = {"gated": "manual", "readers": ["hf_reader"]}
    small = repos.make(weight_mib=1, small_files=10, hub_options=gate)
    large = repos.make(weight_mib=20, hub_options=gate)
    with fleet(tmp_path, hub, 3, tokens={2: "hf_reader", 0: "", 1: ""}) as daemons:
        hub.reset_counters()
        views = pull_all(daemons, small)
        # README.md and LICENSE of a gated repo are for everybody: whoever owns them fetches them.
        assert all(view["bytes_from_hub"] < PUBLIC_BYTES_MAX for view in views[:2])
        assert views[2]["bytes_from_peers"] < PUBLIC_BYTES_MAX
        # Of a large file the others may fetch parts as well, by the URL that the member with access hands out.
        pull_all(daemons, large)
    assert small.size_bytes <= small.sent_bytes() <= small.size_bytes + PUBLIC_BYTES_MAX
    # A member that finds its owner busy may ask the Hub for a small file itself.
    assert large.size_bytes <= large.sent_bytes() <= large.size_bytes + PUBLIC_BYTES_MAX
    assert refused(hub) <= 2 * REFUSED_MAX


def test_when_no_member_has_access_the_pull_says_so_and_the_hub_is_left_in_peace(
    hub: HubProcess, repos: Repos, tmp_path: Path
) -> None:
    repo = repos.make(weight_mib=1, hub_options={"gated": "manual", "readers": ["hf_other"]})
    with fleet(tmp_path, hub, 2, tokens={0: "", 1: ""}) as daemons:
        hub.reset_counters()
        views = [daemon.pull(repo.id) for daemon in daemons]
    assert [view["error"]["code"] for view in views] == ["access_denied", "access_denied"]
    assert hub.counters(last=0)["requests_total"] <= 4 * len(daemons)


def test_a_used_up_quota_is_waited_for_and_the_hub_not_asked_by_every_member(
    hub: HubProcess, repos: Repos, tmp_path: Path
) -> None:
    repo = repos.make(weight_mib=1, small_files=5)
    with fleet(tmp_path, hub, 3) as daemons:
        hub.reset_counters()
        hub.add_fault("rate_limited", on="resolve", retry_s=2, times=1)
        pull_all(daemons, repo)
    limited = sum(each["count"] for each in hub.counters(last=0)["requests"] if each["status"] == 429)
    assert limited == 1
    assert repo.sent_bytes() == repo.size_bytes
