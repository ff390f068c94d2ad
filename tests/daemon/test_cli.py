"""`distctl` against a real daemon and a Hub: what is printed where, and every exit code a pull can end with."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.daemon import DaemonProcess
from tests.daemon.repos import Repos
from tests.hub import HubProcess

MIB = 1 << 20


def distctl(daemon: DaemonProcess, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "distd.cli", "--url", daemon.url, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
        env={"PATH": "/usr/bin:/bin", "NO_COLOR": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def test_pull_prints_the_snapshot_path_last_and_everything_else_on_stderr(
    repos: Repos, daemon: DaemonProcess
) -> None:
    repo = repos.make(weight_mib=2)

    done = distctl(daemon, "pull", repo.id)

    assert done.returncode == 0
    (path,) = done.stdout.splitlines()
    assert (Path(path) / "config.json").is_file()
    assert "hub" in done.stderr
    assert distctl(daemon, "path", repo.id).stdout == f"{path}\n"
    assert distctl(daemon, "verify", repo.id).returncode == 0


def test_json_of_a_pull_is_one_document(repos: Repos, daemon: DaemonProcess) -> None:
    repo = repos.make(weight_mib=2)

    pull = json.loads(distctl(daemon, "--json", "pull", repo.id).stdout)

    assert pull["state"] == "complete"
    assert pull["bytes_from_hub"] + pull["bytes_from_peers"] + pull["bytes_reused"] == pull["bytes_total"]
    story = json.loads(distctl(daemon, "story", pull["id"], "--json").stdout)
    assert story["items"][-1]["event"] == "complete"


def test_plan_names_what_is_left_out_and_changes_nothing(repos: Repos, daemon: DaemonProcess) -> None:
    repo = repos.make(weight_mib=2, formats=("safetensors", "bin"))

    done = distctl(daemon, "plan", repo.id)

    assert done.returncode == 0
    assert "left out" in done.stdout
    assert "a copy of the safetensors weights" in done.stdout
    assert repo.sent_bytes() == 0


@pytest.mark.parametrize(
    ("name", "status", "says"),
    [
        ("acme/there-is-none", 4, "no repository"),
        ("not a name", 2, "not a repo name"),
    ],
)
def test_what_does_not_exist_is_said(daemon: DaemonProcess, name: str, status: int, says: str) -> None:
    done = distctl(daemon, "pull", name)
    assert (done.returncode, done.stdout) == (status, "")
    assert says in done.stderr


def test_revision_and_file_that_do_not_exist_exit_4(repos: Repos, daemon: DaemonProcess) -> None:
    repo = repos.make(weight_mib=2)
    assert distctl(daemon, "pull", f"{repo.id}@nowhere").returncode == 4
    assert distctl(daemon, "pull", repo.id, "--include", "*.none").returncode == 4
    assert distctl(daemon, "path", repo.id).returncode == 4


def test_gated_repo_exits_5_and_says_how_to_get_in(repos: Repos, daemon: DaemonProcess) -> None:
    repo = repos.make(weight_mib=2, hub_options={"gated": "manual"})
    done = distctl(daemon, "pull", repo.id)
    assert done.returncode == 5
    assert "Ask for access" in done.stderr


def test_content_that_is_always_wrong_exits_6_with_both_hashes(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess
) -> None:
    repo = repos.make(weight_mib=2)
    hub.add_fault("wrong_byte", on="body", path=f"{repo.id}/*.safetensors", at=1000, times=None)

    done = distctl(daemon, "pull", repo.id)

    assert done.returncode == 6
    assert "model.safetensors: expected" in done.stderr


@pytest.fixture
def full(hub: HubProcess, tmp_path: Path) -> Iterator[DaemonProcess]:
    with DaemonProcess(
        tmp_path / "full", hub.url, {"cache.min_free_bytes": "1000 TB"}, wait_ready=False
    ) as daemon:
        yield daemon


def test_no_space_exits_7_with_the_numbers_before_anything_is_fetched(
    repos: Repos, full: DaemonProcess
) -> None:
    repo = repos.make(weight_mib=2)
    done = distctl(full, "pull", repo.id)
    assert done.returncode == 7
    assert "cache.min_free_bytes" in done.stderr
    assert repo.sent_bytes() == 0


@pytest.fixture
def hubless(tmp_path: Path) -> Iterator[DaemonProcess]:
    settings = {"hub.give_up_after": "1s"}
    with DaemonProcess(tmp_path / "hubless", "http://127.0.0.1:9", settings) as daemon:
        yield daemon


def test_dead_hub_exits_8(hubless: DaemonProcess) -> None:
    done = distctl(hubless, "pull", "acme/anything")
    assert done.returncode == 8
    assert "hub.endpoint" in done.stderr


def test_no_daemon_exits_3(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "distd.cli", "--url", "http://127.0.0.1:9", "status"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 3
    assert "is distd running" in done.stderr
