"""Prefetch on a daemon that is alone: entries of the configuration and added ones, a branch that moves, a restart."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.daemon import DaemonProcess, Refused, until
from tests.daemon.repos import Repos
from tests.hub import HubProcess

RUN_S = 20.0


def entry_of(daemon: DaemonProcess, repo: str) -> dict[str, Any]:
    (entry,) = [each for each in daemon.get("/v1/prefetch")["items"] if each["repo"] == repo]
    return entry


def until_complete(daemon: DaemonProcess, repo: str, commit: str) -> dict[str, Any]:
    return until(
        lambda: (entry := entry_of(daemon, repo))["last_commit"] == commit and not entry["running"] and entry,
        f"{repo} to be kept present",
        RUN_S,
    )


def test_a_declared_repo_is_pulled_and_its_branch_followed(
    hub: HubProcess, repos: Repos, tmp_path: Path
) -> None:
    first, second = repos.make(weight_mib=1), repos.make(weight_mib=1)
    config = tmp_path / "config.toml"
    config.write_text(f'[[prefetch]]\nrepo = "{first.id}"\npin = true\n')
    with DaemonProcess(tmp_path, hub.url, wrapper=("env", f"DISTD_CONFIG={config}")) as daemon:
        entry = until_complete(daemon, first.id, first.commit)
        assert (entry["declared"], entry["last_outcome"]) == (True, "complete")
        assert entry["why"] == "kept present, looked for a new commit"
        assert entry["next_run_at"] > entry["last_run_at"]
        pull = daemon.view(entry["last_pull_id"])
        assert (pull["commit"], pull["priority"], pull["pin"]) == (first.commit, -10, True)

        moved = hub.commit(first.id, {"more.txt": repos.file("more.txt", 1000)})
        daemon.post(f"/v1/prefetch/{entry['id']}/run")
        until_complete(daemon, first.id, moved)
        (model,) = daemon.get("/v1/models")["items"]
        pinned = {revision["commit"]: revision["pinned"] for revision in model["revisions"]}
        assert pinned == {first.commit: False, moved: True}  # the old one stays, unprotected

        with pytest.raises(Refused) as refused:
            daemon.delete(f"/v1/prefetch/{entry['id']}")
        assert refused.value.code == "conflict"

        config.write_text(f'[[prefetch]]\nrepo = "{second.id}"\n')
        os.kill(daemon.pid, signal.SIGHUP)
        until_complete(daemon, second.id, second.commit)
        assert [each["repo"] for each in daemon.get("/v1/prefetch")["items"]] == [second.id]

        daemon.restart()
        assert entry_of(daemon, second.id)["last_commit"] == second.commit  # remembered, and not due again


def test_what_is_added_survives_a_restart_is_tried_again_and_can_be_removed(
    hub: HubProcess, repos: Repos, tmp_path: Path
) -> None:
    repo = repos.make(weight_mib=1)
    with DaemonProcess(tmp_path, hub.url) as daemon:
        entry = daemon.post("/v1/prefetch", {"repo": repo.id, "schedule": "0 3 1 1 *"})
        assert daemon.post("/v1/prefetch", {"repo": repo.id, "schedule": "0 3 1 1 *"}) == entry
        assert (entry["last_outcome"], entry["why"]) == (None, "scheduled")
        lost = daemon.post("/v1/prefetch", {"repo": "acme/is-not-there"})
        failed = until(
            lambda: (e := entry_of(daemon, "acme/is-not-there"))["last_outcome"] and not e["running"] and e,
            "a run",
            RUN_S,
        )
        assert failed["last_outcome"] == "failed"
        assert "acme/is-not-there" in failed["last_detail"]
        assert failed["why"] == "failed 1 x, tried again"
        assert daemon.delete(f"/v1/prefetch/{lost['id']}")["repo"] == "acme/is-not-there"
        daemon.restart()
        assert [each["id"] for each in daemon.get("/v1/prefetch")["items"]] == [entry["id"]]
        daemon.post(f"/v1/prefetch/{entry['id']}/run")
        until_complete(daemon, repo.id, repo.commit)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"repo": "a/b", "schedule": "at night"}, "write five fields as in cron"),
        ({"repo": "a/b", "schedule": "0 0 31 2 *"}, "never comes"),
        ({"repo": "not a repo"}, "not a repo"),
        ({"repo": "a/b", "scedule": "* * * * *"}, "did you mean 'schedule'"),
    ],
)
def test_an_entry_that_makes_no_sense_is_refused(
    daemon: DaemonProcess, body: dict[str, Any], said: str
) -> None:
    with pytest.raises(Refused) as refused:
        daemon.post("/v1/prefetch", body)
    assert refused.value.code == "invalid_request"
    assert said in refused.value.detail
    assert daemon.get("/v1/prefetch")["items"] == []
