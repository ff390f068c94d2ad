"""A file system that the kernel makes read-only in the middle of a pull: told, nothing lost, and on when it is writable."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from tests.daemon.daemon import DaemonProcess, Refused, until
from tests.daemon.repos import MIB, Repos, assert_all_visible_is_right, assert_same_files
from tests.hub import HubProcess

READ_ONLY = os.strerror(errno.EROFS)
ON_TMPFS = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
MOUNT_TMPFS = 'mount -t tmpfs none "$0" && exec "$@"'


def inside(daemon: DaemonProcess, *words: str) -> None:
    """Runs it where the daemon's mounts are, as the user that made them."""
    entering = ["nsenter", f"--target={daemon.pid}", "--user", "--mount", "--preserve-credentials"]
    done = subprocess.run([*entering, *words], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def not_ready(daemon: DaemonProcess) -> bool:
    try:
        daemon.get("/readyz?verbose")
    except Refused as unready:
        return "cannot be written" in unready.detail
    return False


def test_a_mount_made_read_only_in_mid_pull_is_told_and_goes_on_when_it_is_writable(
    hub: HubProcess, repos: Repos, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    wrapper = (*ON_TMPFS, MOUNT_TMPFS, str(state))
    if subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a tmpfs in a namespace of its own")
    held, repo = repos.make(weight_mib=1), repos.make(weight_mib=24, shards=6)
    with DaemonProcess(tmp_path, hub.url, {"hub.connections": 1}, wrapper=wrapper) as daemon:
        seen = Path(f"/proc/{daemon.pid}/root{state}")
        snapshot = seen / Path(daemon.pulled(held.id)["snapshot_path"]).relative_to(state)
        hub.set(rate_bytes_per_s=16 * MIB)
        pull = daemon.submit(repo.id)
        daemon.wait(pull["id"], lambda view: view["bytes_done"] >= 10 * MIB)
        # Over itself: what somebody writes to cannot be made read-only, a mount above it can.
        inside(daemon, "mount", "--bind", str(state), str(state))
        inside(daemon, "mount", "-o", "remount,bind,ro", str(state))
        view = daemon.wait(pull["id"])

        assert (view["state"], view["error"]["code"]) == ("failed", "internal")
        assert view["error"]["retryable"]
        assert READ_ONLY in view["error"]["detail"]
        assert not list((seen / "hub").glob(f"{repo.folder}/snapshots/*"))
        assert not_ready(daemon)
        again = daemon.pull(repo.id)
        assert READ_ONLY in again["error"]["detail"], "and again, as long as it is"
        with pytest.raises(Refused) as refused:
            daemon.delete(f"/v1/models/model/{held.id}")
        assert READ_ONLY in refused.value.detail
        assert_same_files(snapshot, held.directory)
        assert daemon.post(f"/v1/models/model/{held.id}/verify")["bad"] == []

        inside(daemon, "umount", str(state))
        hub.set(rate_bytes_per_s=None)
        until(lambda: not not_ready(daemon), "the node to be ready again")
        resumed = daemon.pulled(repo.id)
        assert resumed["bytes_reused"] >= view["bytes_done"] >= 10 * MIB
        assert_same_files(seen / Path(resumed["snapshot_path"]).relative_to(state), repo.directory)
        assert_all_visible_is_right(seen / "hub", seen / "store")
        assert "Traceback" not in daemon.log()
