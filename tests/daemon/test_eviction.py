"""A full cache: what goes for a pull, what stays, and what is said. One daemon for all, with a quota."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.daemon import DaemonProcess
from tests.daemon.repos import MIB, HubRepo, Repos, assert_all_visible_is_right, assert_same_files
from tests.hub import HubProcess

QUOTA_BYTES = 10 * MIB


@pytest.fixture(scope="module")
def running(hub: HubProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    directory = tmp_path_factory.mktemp("evicting")
    with DaemonProcess(directory, hub.url, {"cache.max_bytes": QUOTA_BYTES}) as running:
        yield running


@pytest.fixture
def daemon(running: DaemonProcess) -> Iterator[DaemonProcess]:
    yield running
    for name in held(running):
        running.delete(f"/v1/models/model/{name}/pin")
        running.delete(f"/v1/models/model/{name}")


def held(daemon: DaemonProcess) -> set[str]:
    return {model["repo"] for model in daemon.get("/v1/models")["items"]}


def snapshot(daemon: DaemonProcess, repo: HubRepo) -> Path:
    return daemon.hub_dir / repo.folder / "snapshots" / repo.commit


def kept(daemon: DaemonProcess) -> dict[str, str]:
    told = daemon.post("/v1/gc", {"dry_run": True, "free_bytes": 1 << 50})
    assert told["enough"] is False
    return {each["repo"]: each["reason"] for each in told["kept"]}


def events(daemon: DaemonProcess, pull: dict[str, Any]) -> dict[str, str]:
    return {entry["event"]: entry["text"] for entry in daemon.story(pull["id"])}


def test_a_pull_evicts_what_was_not_used_for_longest(daemon: DaemonProcess, repos: Repos) -> None:
    first, pinned, opened, last, huge = (repos.make(weight_mib=size) for size in (3, 2, 2, 5, 9))
    daemon.pulled(first.id)
    daemon.pulled(pinned.id, pin=True)
    daemon.pulled(opened.id)

    weights = next(snapshot(daemon, opened).glob("*.safetensors"))
    with weights.open("rb"):
        plan = daemon.get(f"/v1/plan?repo={last.id}")
        assert plan["disk"]["fits"] is True
        assert plan["disk"]["evicts_bytes"] >= 2 * MIB
        assert held(daemon) == {first.id, pinned.id, opened.id}, "a plan removes nothing"

        view = daemon.pulled(last.id)
        assert held(daemon) == {pinned.id, opened.id, last.id}
        assert f"{first.id}@" in events(daemon, view)["evicted"]
        assert not snapshot(daemon, first).exists()
        assert daemon.metrics().value("distd_snapshots_evicted_total") == 1
        assert sum(path.stat().st_size for path in daemon.store_dir.glob("blobs/*")) <= QUOTA_BYTES

        assert kept(daemon) == {pinned.id: "pinned", opened.id: "open in a program"}
        error = daemon.pull(huge.id)["error"]
        assert error["code"] == "no_space"
        assert "could be evicted" in error["detail"]
        assert huge.sent_bytes() == 0
        assert held(daemon) == {pinned.id, opened.id, last.id}, "what would not be enough is left alone"
    assert_same_files(Path(view["snapshot_path"]), last.directory)
    assert_all_visible_is_right(daemon.hub_dir, daemon.store_dir)


def test_a_read_and_a_question_for_the_path_are_uses_and_a_dry_run_removes_nothing(
    daemon: DaemonProcess, repos: Repos
) -> None:
    read, asked, idle = (repos.make(weight_mib=1) for _ in range(3))
    for repo in (read, asked, idle):
        daemon.pulled(repo.id)
    for path in snapshot(daemon, read).glob("*.safetensors"):
        path.read_bytes()
    daemon.get(f"/v1/models/model/{asked.id}?use=main")
    daemon.restart()

    assert kept(daemon) == {read.id: "used within the last hour", asked.id: "used within the last hour"}
    told = daemon.post("/v1/gc", {"dry_run": True, "free_bytes": MIB})
    assert [each["repo"] for each in told["evicted"]] == [idle.id]
    assert held(daemon) == {read.id, asked.id, idle.id}
    (model,) = (m for m in daemon.get("/v1/models")["items"] if m["repo"] == read.id)
    assert model["revisions"][0]["last_used_at"] is not None
    told = daemon.post("/v1/gc", {"free_bytes": MIB})
    assert told["enough"] is True
    assert told["freed_bytes"] >= MIB
    assert held(daemon) == {read.id, asked.id}


def test_blobs_of_what_was_removed_from_the_cache_go_first_unless_they_are_pinned(
    daemon: DaemonProcess, repos: Repos
) -> None:
    loose, pinned, other = (repos.make(weight_mib=2) for _ in range(3))
    daemon.pulled(loose.id)
    daemon.pulled(pinned.id, pin=True)
    daemon.pulled(other.id)
    for repo in (loose, pinned):
        shutil.rmtree(daemon.hub_dir / repo.folder)  # as `hf cache rm`

    told = daemon.post("/v1/gc", {})
    assert told["unpublished_blobs"] > 0
    assert told["freed_bytes"] >= 2 * MIB
    assert told["evicted"] == []
    assert held(daemon) == {other.id}, "what somebody removed is not published again"
    assert not snapshot(daemon, loose).exists()
    before = pinned.sent_bytes()
    again = daemon.pulled(pinned.id)
    assert (again["bytes_reused"], pinned.sent_bytes()) == (pinned.size_bytes, before), "its blobs had stayed"
    assert kept(daemon)[pinned.id] == "pinned", "and so had the pin"


def test_a_moved_branch_pushes_its_old_commit_out_and_what_both_have_stays(
    hub: HubProcess, daemon: DaemonProcess, repos: Repos
) -> None:
    repo = repos.make(weight_mib=6)
    daemon.pulled(repo.id)
    (weights,) = (path.name for path in repo.directory.glob("*.safetensors"))
    commit = hub.commit(repo.id, {weights: repos.file("new.safetensors", 6 * MIB)})

    view = daemon.pulled(repo.id)

    assert view["commit"] == commit
    (model,) = daemon.get("/v1/models")["items"]
    assert [revision["commit"] for revision in model["revisions"]] == [commit]
    assert view["bytes_from_hub"] == 6 * MIB
    assert not snapshot(daemon, repo).exists()
    assert_all_visible_is_right(daemon.hub_dir, daemon.store_dir)
