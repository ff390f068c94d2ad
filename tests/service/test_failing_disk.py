"""A file system that gives up under a running daemon, as ext4 does after an error of its disk: nothing that is open can be
written any more, the database included. Needs root for a loop device; `make packagetest` runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.daemon.daemon import DaemonProcess, Refused, until
from tests.daemon.repos import MIB, Repos
from tests.hub import HubProcess

MOUNT_IMAGE = 'mount -o loop "$0" "$1" && shift && exec "$@"'
IMAGE_MIB = 96


def test_a_file_system_that_gives_up_under_everything_that_is_open_is_told_and_a_restart_goes_on(
    hub: HubProcess, tmp_path: Path
) -> None:
    if not shutil.which("mkfs.ext4") or os.geteuid():
        pytest.skip("a file system in a file takes root and mkfs.ext4")
    image, state = tmp_path / "image", tmp_path / "state"
    state.mkdir()
    with image.open("wb") as file:
        file.truncate(IMAGE_MIB * MIB)
    wrapper = ("unshare", "--mount", "sh", "-c", MOUNT_IMAGE, str(image), str(state))
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    if subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no loop device")
    repo = Repos(hub, tmp_path / "repos").make(weight_mib=24, shards=6)
    with DaemonProcess(tmp_path, hub.url, {"hub.connections": 1}, wrapper=wrapper) as daemon:
        hub.set(rate_bytes_per_s=16 * MIB)
        pull = daemon.submit(repo.id)
        daemon.wait(pull["id"], lambda view: view["bytes_done"] >= 10 * MIB)
        abort = ["nsenter", f"--target={daemon.pid}", "--mount", "mount", "-o", "remount,abort", str(state)]
        subprocess.run(abort, check=True)
        view = daemon.wait(pull["id"])

        assert (view["state"], view["error"]["code"], view["error"]["retryable"]) == (
            "failed",
            "internal",
            True,
        )
        with pytest.raises(Refused) as refused:
            daemon.submit(repo.id)
        assert "distd.sqlite: disk I/O error" in refused.value.detail
        until(lambda: not daemon.get("/v1/status")["ready"], "the node to be not ready")
        assert daemon.get("/livez")

        daemon.restart()  # on the file system as it is after a check
        hub.set(rate_bytes_per_s=None)
        resumed = daemon.pulled(repo.id)
        assert resumed["bytes_reused"] >= 4 * MIB, "what had been verified was on the disk"
        assert "Traceback" not in daemon.log()
