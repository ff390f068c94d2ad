"""Somebody sets the clock of a running server, far ahead and far back: pulls go on, records stay in order."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.daemon.daemon import DaemonProcess
from tests.daemon.repos import MIB, Repos, assert_same_files
from tests.hub import HubProcess

DAY_S = 86_400


class MovedClock:
    def __init__(self, directory: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("the clock is moved by a library that has to be compiled: no cc")
        library, self._offset = directory / "moved_clock.so", directory / "offset"
        source = Path(__file__).with_name("moved_clock.c")
        subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
        self.environment = {"LD_PRELOAD": str(library), "MOVED_CLOCK": str(self._offset)}

    def move(self, seconds: int) -> None:
        prepared = self._offset.with_suffix(".new")
        prepared.write_text(str(seconds))
        os.replace(prepared, self._offset)


def test_a_clock_set_in_mid_pull_neither_stops_it_nor_what_follows(
    hub: HubProcess, repos: Repos, tmp_path: Path
) -> None:
    clock = MovedClock(tmp_path)
    repo, later = repos.make(weight_mib=16), repos.make(weight_mib=1)
    hub.set(rate_bytes_per_s=12 * MIB)
    with DaemonProcess(tmp_path, hub.url, environment=clock.environment) as daemon:
        pull = daemon.submit(repo.id)
        daemon.wait(pull["id"], lambda view: view["bytes_done"] >= 3 * MIB)
        clock.move(400 * DAY_S)
        daemon.wait(pull["id"], lambda view: view["bytes_done"] >= 8 * MIB)
        clock.move(-400 * DAY_S)
        ahead = daemon.wait(pull["id"])
        assert ahead["state"] == "complete", ahead["error"]
        assert ahead["finished_at"] < ahead["created_at"], "the clock really was moved"
        assert_same_files(Path(ahead["snapshot_path"]), repo.directory)

        daemon.restart()
        assert daemon.pulled(later.id)["bytes_from_hub"] == later.size_bytes
        clock.move(0)
        listed = [view["repo"] for view in daemon.get("/v1/pulls")["items"]]
        assert listed == [later.id, repo.id], "in the order in which they were asked for"
        assert daemon.pulled(repo.id)["bytes_reused"] == repo.size_bytes
        assert "Traceback" not in daemon.log()
