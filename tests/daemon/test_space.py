"""Pulls that do not fit: said before the first byte, or at the latest when the disk is full, with the numbers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.daemon.daemon import DaemonProcess, until
from tests.daemon.repos import MIB, Repos, assert_nothing_published, assert_same_files
from tests.hub import HubProcess

ON_TMPFS = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
DISK_BYTES = 32 * MIB
MOUNT = f'mount -t tmpfs -o size={DISK_BYTES} none "$0" && exec "$@"'


def fill_the_disk(filler: Path) -> None:
    with (
        open("/dev/zero", "rb") as zeros,
        filler.open("wb", buffering=0) as file,
        pytest.raises(OSError, match="No space"),
    ):
        shutil.copyfileobj(zeros, file, MIB)


def numbers(detail: str) -> list[int]:
    return [int(number) for number in re.findall(r"\((\d+) bytes\)", detail)]


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"cache.min_free_bytes": "900 TB"}, "cache.min_free_bytes"),
        ({"cache.max_bytes": "3 MB"}, "cache.max_bytes"),
    ],
    ids=["reserve", "quota"],
)
def test_pull_that_does_not_fit_is_refused_before_the_first_byte(
    hub: HubProcess, repos: Repos, tmp_path: Path, settings: dict[str, object], key: str
) -> None:
    repo = repos.make(weight_mib=4)
    with DaemonProcess(tmp_path, hub.url, {"cache.min_free_bytes": 0} | settings, wait_ready=False) as daemon:
        plan = daemon.get(f"/v1/plan?repo={repo.id}")
        view = daemon.pull(repo.id)

        assert plan["disk"]["fits"] is False
        assert view["state"] == "failed"
        assert (view["error"]["code"], view["error"]["retryable"]) == ("no_space", True)
        assert key in view["error"]["detail"]
        assert numbers(view["error"]["detail"])[0] == repo.size_bytes
        assert repo.sent_bytes() == 0
        assert not list(daemon.store_dir.glob("incoming/*"))
        assert_nothing_published(daemon.hub_dir, repo)


def test_disk_that_fills_under_a_pull_fails_it_and_room_lets_it_go_on(
    hub: HubProcess, repos: Repos, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    if subprocess.run([*ON_TMPFS, MOUNT, str(state), "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a tmpfs in a namespace of its own")
    repo = repos.make(weight_mib=16, shards=8)
    huge = repos.make(weight_mib=40)
    settings = {"hub.connections": 1}
    with DaemonProcess(tmp_path, hub.url, settings, wrapper=(*ON_TMPFS, MOUNT, str(state))) as daemon:
        inside = Path(f"/proc/{daemon.pid}/root{state}")
        error = daemon.pull(huge.id)["error"]
        assert error["code"] == "no_space"
        needed, free = numbers(error["detail"])
        assert needed == huge.size_bytes > free
        assert huge.sent_bytes() == 0

        hub.set(rate_bytes_per_s=8 * MIB)
        pull = daemon.submit(repo.id)
        daemon.wait(pull["id"], lambda view: view["bytes_done"] >= 4 * MIB)
        fill_the_disk(inside / "filler")
        view = daemon.wait(pull["id"])

        assert view["state"] == "failed"
        assert view["error"]["code"] == "no_space", view["error"]
        assert numbers(view["error"]["detail"])[1] < 2 * MIB
        assert not list((inside / "hub").glob("*/snapshots/*"))
        assert daemon.get("/livez")
        (inside / "filler").unlink()
        hub.set(rate_bytes_per_s=None)
        again = daemon.pulled(repo.id)
        assert again["bytes_reused"] >= 4 * MIB
        assert_same_files(inside / Path(again["snapshot_path"]).relative_to(state), repo.directory)


def test_the_reserve_is_kept_between_pulls_when_something_else_fills_the_disk(
    hub: HubProcess, repos: Repos, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    if subprocess.run([*ON_TMPFS, MOUNT, str(state), "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a tmpfs in a namespace of its own")
    oldest, pinned, opened, newer = (repos.make(weight_mib=4) for _ in range(4))
    settings = {"cache.min_free_bytes": 4 * MIB}
    with DaemonProcess(tmp_path, hub.url, settings, wrapper=(*ON_TMPFS, MOUNT, str(state))) as daemon:

        def held() -> set[str]:
            return {model["repo"] for model in daemon.get("/v1/models")["items"]}

        inside = Path(f"/proc/{daemon.pid}/root{state}")
        daemon.pulled(pinned.id, pin=True)
        for repo in (oldest, opened, newer):
            daemon.pulled(repo.id)
        free = shutil.disk_usage(inside).free
        with ExitStack() as readers:
            for repo in (opened, newer):
                (weights,) = (inside / "hub" / repo.folder).glob("snapshots/*/*.safetensors")
                readers.enter_context(weights.open("rb"))
            with (inside / "filler").open("wb") as filler:
                os.posix_fallocate(filler.fileno(), 0, free - 3 * MIB)
            until(lambda: held() == {pinned.id, opened.id, newer.id}, "the oldest to go")
            assert shutil.disk_usage(inside).free >= 4 * MIB
            assert daemon.metrics().value("distd_snapshots_evicted_total") == 1
            assert f"evicted {oldest.id}@" in daemon.log()

            with (inside / "more").open("wb") as filler:
                os.posix_fallocate(filler.fileno(), 0, shutil.disk_usage(inside).free)
            until(lambda: "nothing is evicted" in daemon.log(), "the daemon to say that it cannot help")
            assert held() == {pinned.id, opened.id, newer.id}, "what would not be enough is left alone"
