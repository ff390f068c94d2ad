"""Causes that come and go: a token that stops being good in mid-pull, a lost database, a disk that cannot be written."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.daemon.daemon import CHECKOUT, DaemonProcess
from tests.daemon.repos import MIB, Repos, assert_nothing_published, assert_same_files
from tests.hub import HubProcess

READER, REVOKED = "hf_reader_of_gated", "hf_not_any_more"
URL_LIFE_S = 1
"""Signed URLs end soon, so that the token is asked for again while the file is still arriving."""


def test_a_token_revoked_in_mid_pull_is_told_and_a_good_one_goes_on(
    hub: HubProcess, repos: Repos, tmp_path: Path
) -> None:
    repo = repos.make(weight_mib=24, hub_options={"gated": "manual", "readers": [READER]})
    hub.set(rate_bytes_per_s=4 * MIB, url_life_s=URL_LIFE_S)
    with DaemonProcess(tmp_path, hub.url, {"hub.connections": 1}, token=READER) as daemon:
        pull = daemon.submit(repo.id)
        daemon.wait(pull["id"], lambda view: view["bytes_done"] >= 4 * MIB)
        daemon.set_token(REVOKED)
        failed = daemon.wait(pull["id"])
        assert failed["state"] == "failed"
        assert failed["error"]["code"] == "access_denied"
        assert "token" in failed["error"]["detail"]
        assert_nothing_published(daemon.hub_dir, repo)

        daemon.set_token(READER)
        hub.set(rate_bytes_per_s=None, url_life_s=3600)
        again = daemon.pulled(repo.id)
        assert again["bytes_reused"] >= 4 * MIB
        assert_same_files(Path(again["snapshot_path"]), repo.directory)
        assert READER not in daemon.log()


def test_a_lost_database_costs_records_and_not_a_byte_from_the_hub(
    hub: HubProcess, repos: Repos, tmp_path: Path
) -> None:
    repo = repos.make(weight_mib=2)
    with DaemonProcess(tmp_path, hub.url) as daemon:
        daemon.pulled(repo.id)
        daemon.terminate()
        for file in daemon.state_dir.glob("distd.sqlite*"):
            file.unlink()
        hub.reset_counters()
        daemon.start()
        again = daemon.pulled(repo.id)
        assert again["bytes_reused"] == again["bytes_total"] == repo.size_bytes
        assert repo.sent_bytes() == 0


def test_a_cache_deleted_under_a_running_daemon_is_made_again_from_the_store(
    hub: HubProcess, repos: Repos, tmp_path: Path
) -> None:
    repo = repos.make(weight_mib=2)
    with DaemonProcess(tmp_path, hub.url) as daemon:
        daemon.pulled(repo.id)
        shutil.rmtree(daemon.hub_dir)
        hub.reset_counters()
        again = daemon.pulled(repo.id)
        assert_same_files(Path(again["snapshot_path"]), repo.directory)
        assert repo.sent_bytes() == 0


def test_a_disk_that_cannot_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    read_only = 'mount -t tmpfs none "$0" && mount -o remount,ro "$0" && exec "$@"'
    words = [sys.executable, "-m", "distd", f"--set=node.state_dir={tmp_path}/mounted/state"]
    (tmp_path / "mounted").mkdir()
    done = subprocess.run(
        [
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            read_only,
            str(tmp_path / "mounted"),
            *words,
        ],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr
    assert "Traceback" not in done.stderr
