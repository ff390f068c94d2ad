"""A disk that fails under a daemon: a clear error, nothing lost, and everything goes on when it is well again."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.daemon import DaemonProcess, Refused
from tests.daemon.faulty_disk import FaultyDisk
from tests.daemon.repos import (
    MIB,
    Repos,
    assert_all_visible_is_right,
    assert_nothing_published,
    assert_same_files,
)
from tests.hub import HubProcess


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> FaultyDisk:
    return FaultyDisk(tmp_path_factory.mktemp("disk"))


@pytest.fixture(scope="module")
def daemon(
    hub: HubProcess, disk: FaultyDisk, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DaemonProcess]:
    directory = tmp_path_factory.mktemp("daemon")
    with DaemonProcess(directory, hub.url, environment=disk.environment) as daemon:
        yield daemon
        disk.heal()


@pytest.mark.parametrize("error", [errno.EIO, errno.EROFS, errno.ENOSPC], ids=["broken", "read-only", "full"])
def test_writes_that_fail_in_mid_pull_are_told_and_what_was_stored_counts_afterwards(
    hub: HubProcess, repos: Repos, disk: FaultyDisk, daemon: DaemonProcess, error: int
) -> None:
    repo = repos.make(weight_mib=18)
    hub.set(rate_bytes_per_s=16 * MIB)
    pull = daemon.submit(repo.id)
    daemon.wait(pull["id"], lambda view: view["bytes_done"] >= 6 * MIB)
    disk.fail(error, "w", "/incoming/")
    view = daemon.wait(pull["id"])

    assert view["state"] == "failed"
    assert view["error"]["code"] == ("no_space" if error == errno.ENOSPC else "internal")
    assert view["error"]["retryable"]
    assert "/incoming/" in view["error"]["detail"], view["error"]
    if error != errno.ENOSPC:
        assert os.strerror(error) in view["error"]["detail"]
    assert_nothing_published(daemon.hub_dir, repo)
    assert daemon.get("/readyz")

    disk.heal()
    hub.set(rate_bytes_per_s=None)
    again = daemon.pulled(repo.id)
    assert again["bytes_reused"] >= 4 * MIB
    assert_same_files(Path(again["snapshot_path"]), repo.directory)
    assert_all_visible_is_right(daemon.hub_dir, daemon.store_dir)
    assert "Traceback" not in daemon.log()
    assert "Warning" not in daemon.log()


def test_one_file_that_cannot_be_read_is_named_and_the_others_are_served(
    repos: Repos, disk: FaultyDisk, daemon: DaemonProcess
) -> None:
    broken, well = repos.make(weight_mib=2), repos.make(weight_mib=2)
    for repo in (broken, well):
        daemon.pulled(repo.id)
    (weights,) = [file for file in daemon.pulled(broken.id)["files"] if file["size"] > MIB]
    disk.fail(errno.EIO, "r", weights["etag"])

    with pytest.raises(Refused) as refused:
        daemon.post(f"/v1/models/model/{broken.id}/verify")
    assert os.strerror(errno.EIO) in refused.value.detail
    assert weights["path"] in refused.value.detail or weights["etag"] in refused.value.detail
    assert daemon.post(f"/v1/models/model/{well.id}/verify")["bad"] == []
    assert daemon.pulled(well.id)["bytes_reused"] == well.size_bytes

    disk.heal()
    assert daemon.post(f"/v1/models/model/{broken.id}/verify")["bad"] == []


def test_a_database_that_cannot_be_written_refuses_pulls_and_takes_them_again_later(
    repos: Repos, disk: FaultyDisk, daemon: DaemonProcess
) -> None:
    repo = repos.make(weight_mib=1)
    disk.fail(errno.EIO, "w", "distd.sqlite")
    with pytest.raises(Refused) as refused:
        daemon.submit(repo.id)
    assert (refused.value.status, refused.value.code) == (500, "internal")
    assert "distd.sqlite" in refused.value.detail
    assert daemon.get("/v1/pulls?state=queued")["items"] == []

    disk.heal()
    daemon.pulled(repo.id)
