"""Caches that the official client filled, taken over: what is linked, what is refused, and what is said. No Hub is asked for data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.daemon import DaemonProcess, Refused
from tests.daemon.repos import HubRepo, Repos, assert_all_visible_is_right, assert_same_files
from tests.daemon.test_archives import NO_HUB, distctl


def client_cache(source: DaemonProcess, repo: HubRepo, directory: Path, *, shared: bool = False) -> Path:
    """A cache of the client's form with this one repo: its own files, modes and links.

    `shared`: the large file lies in the cache's store of Xet files, two links away.
    """
    source.pulled(repo.id)
    hub_dir = directory / "old-hub"
    shutil.copytree(source.hub_dir / repo.folder, hub_dir / repo.folder, symlinks=True)
    for blob in (hub_dir / repo.folder / "blobs").iterdir():
        blob.chmod(0o644)
        if shared and len(blob.name) == 64:
            place = hub_dir / "blobs" / "ab" / ("ab" + "0" * 62)
            place.parent.mkdir(parents=True)
            blob.rename(place)
            blob.symlink_to(os.path.relpath(place, blob.parent))
    return hub_dir


def blobs_of(hub_dir: Path, repo: HubRepo) -> dict[str, Path]:
    return {path.name: path.resolve() for path in (hub_dir / repo.folder / "blobs").iterdir()}


@pytest.fixture(scope="module")
def adopter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A node without a Hub."""
    with DaemonProcess(tmp_path_factory.mktemp("adopting"), NO_HUB) as running:
        yield running


def test_a_cache_with_the_shared_xet_store_is_linked_and_published_without_a_hub(
    daemon: DaemonProcess, adopter: DaemonProcess, repos: Repos, tmp_path: Path
) -> None:
    repo = repos.make(weight_mib=2)
    hub_dir = client_cache(daemon, repo, tmp_path, shared=True)
    before = {path: path.read_bytes() for path in hub_dir.rglob("*") if path.is_file()}

    done = distctl(adopter, "adopt", str(hub_dir))

    assert done.returncode == 0, done.stderr
    assert repo.id in done.stdout
    snapshot = adopter.hub_dir / repo.folder / "snapshots" / repo.commit
    assert_same_files(snapshot, repo.directory)
    assert_all_visible_is_right(adopter.hub_dir, adopter.store_dir)
    for etag, path in blobs_of(hub_dir, repo).items():
        assert os.path.samefile(path, adopter.store_dir / "blobs" / etag), "linked, not copied"
    assert {path: path.read_bytes() for path in hub_dir.rglob("*") if path.is_file()} == before

    view = adopter.pulled(repo.id)
    assert view["bytes_reused"] == view["bytes_total"]
    again = adopter.post("/v1/adopt", {"path": str(hub_dir)})["snapshots"][0]
    assert (again["bytes_held"], again["bytes_linked"], again["refs"]) == (repo.size_bytes, 0, ["main"])


def test_a_wrong_file_is_named_and_not_published_and_the_rest_is(
    daemon: DaemonProcess, adopter: DaemonProcess, repos: Repos, tmp_path: Path
) -> None:
    repo = repos.make(weight_mib=2)
    hub_dir = client_cache(daemon, repo, tmp_path)
    bad = next(path for etag, path in blobs_of(hub_dir, repo).items() if len(etag) == 64)
    bad.write_bytes(bytes(bad.stat().st_size))

    told = adopter.post("/v1/adopt", {"path": str(hub_dir)})["snapshots"][0]

    assert told["wrong"]
    assert told["reason"]
    assert told["files_missing"] == len(told["wrong"])
    assert not (adopter.store_dir / "blobs" / bad.name).exists()
    (model,) = (each for each in adopter.get("/v1/models")["items"] if each["repo"] == repo.id)
    assert model["revisions"][0]["complete"] is False
    assert_all_visible_is_right(adopter.hub_dir, adopter.store_dir)


def test_from_another_disk_nothing_is_taken_unless_it_may_be_copied(
    daemon: DaemonProcess, adopter: DaemonProcess, repos: Repos, tmp_path: Path
) -> None:
    other_disk = Path("/dev/shm")
    if not os.access(other_disk, os.W_OK) or other_disk.stat().st_dev == adopter.store_dir.stat().st_dev:
        pytest.skip("there is no other file system to write to")
    repo = repos.make(weight_mib=1)
    elsewhere = other_disk / f"distd-{os.getpid()}"
    try:
        hub_dir = client_cache(daemon, repo, elsewhere)
        done = distctl(adopter, "adopt", str(hub_dir))
        assert done.returncode == 1
        assert "--copy" in done.stderr
        assert not (adopter.hub_dir / repo.folder).exists()
        assert list((adopter.store_dir / "scratch").iterdir()) == []

        told = adopter.post("/v1/adopt", {"path": str(hub_dir), "copy": True})["snapshots"][0]
        assert (told["bytes_copied"], told["bytes_not_taken"], told["reason"]) == (repo.size_bytes, 0, None)
        assert_same_files(Path(told["snapshot_path"]), repo.directory)
    finally:
        shutil.rmtree(elsewhere, ignore_errors=True)


@pytest.mark.parametrize("path", ["relative/hub", "/nowhere/at/all", "/proc/self"])
def test_what_is_no_cache_is_refused(adopter: DaemonProcess, path: str) -> None:
    with pytest.raises(Refused) as refused:
        adopter.post("/v1/adopt", {"path": path})
    assert (refused.value.status, refused.value.code) == (422, "invalid_request")
