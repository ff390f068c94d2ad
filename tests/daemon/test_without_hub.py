"""What a node gets that has never seen a Hub: snapshots as one file, and caches that the official client filled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.daemon import DaemonProcess, Refused
from tests.daemon.repos import MIB, HubRepo, Repos, assert_all_visible_is_right, assert_same_files

NO_HUB = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A node on an island."""
    settings = {"cache.max_bytes": 20 * MIB}
    with DaemonProcess(tmp_path_factory.mktemp("far"), NO_HUB, settings) as daemon:
        yield daemon


def distctl(daemon: DaemonProcess, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "distd.cli", "--url", daemon.url, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def exported(
    daemon: DaemonProcess, repos: Repos, tmp_path_factory: pytest.TempPathFactory
) -> tuple[HubRepo, Path]:
    repo = repos.make(weight_mib=2)
    daemon.pulled(repo.id)
    file = tmp_path_factory.mktemp("usb") / "model.tar"
    done = distctl(daemon, "export", repo.id, str(file))
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in file.parent.iterdir()) == ["model.tar"]
    return repo, file


def test_a_node_without_a_hub_imports_verified_and_every_client_loads_it(
    far: DaemonProcess, exported: tuple[HubRepo, Path]
) -> None:
    repo, file = exported
    done = distctl(far, "import", str(file))
    assert done.returncode == 0, done.stderr
    snapshot = Path(done.stdout.strip())
    assert_same_files(snapshot, repo.directory)
    assert_all_visible_is_right(far.hub_dir, far.store_dir)
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            f"from huggingface_hub import snapshot_download; print(snapshot_download({repo.id!r}))",
        ],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(far.directory),
            "HF_HUB_CACHE": str(far.hub_dir),
            "HF_HUB_OFFLINE": "1",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert Path(loaded.stdout.strip()) == snapshot

    view = far.pulled(repo.id)
    assert view["bytes_reused"] == view["bytes_total"], "its branch is known here, as if it had been pulled"


def test_a_wrong_byte_and_a_cut_publish_nothing_and_say_what_is_wrong(
    far: DaemonProcess, daemon: DaemonProcess, repos: Repos, tmp_path: Path
) -> None:
    repo = repos.make(weight_mib=3)
    daemon.pulled(repo.id)
    file = tmp_path / "model.tar"
    assert distctl(daemon, "export", repo.id, str(file)).returncode == 0
    wrong, cut = tmp_path / "wrong.tar", tmp_path / "cut.tar"
    shutil.copy(file, wrong)
    with wrong.open("r+b") as raw:
        raw.seek(-MIB, os.SEEK_END)
        byte = raw.read(1)
        raw.seek(-1, os.SEEK_CUR)
        raw.write(bytes([byte[0] ^ 1]))
    cut.write_bytes(file.read_bytes()[: 2 * MIB])

    done = distctl(far, "import", str(wrong))
    assert done.returncode == 6, done.stderr
    assert "expected" in done.stderr
    done = distctl(far, "import", str(cut))
    assert (done.returncode, "cut off" in done.stderr) == (2, True), done.stderr
    done = distctl(far, "import", str(Path(__file__)))
    assert (done.returncode, "not a tar" in done.stderr) == (2, True), done.stderr
    assert not (far.hub_dir / repo.folder).exists()
    assert list((far.store_dir / "scratch").iterdir()) == []

    done = subprocess.run(
        [sys.executable, "-m", "distd.cli", "--url", far.url, "import", "-"],
        input=file.read_bytes(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert_same_files(Path(done.stdout.decode().strip()), repo.directory)


def test_what_does_not_fit_is_refused_before_it_is_sent(
    far: DaemonProcess, daemon: DaemonProcess, repos: Repos, tmp_path: Path
) -> None:
    repo = repos.make(weight_mib=24)
    daemon.pulled(repo.id)
    assert distctl(daemon, "export", repo.id, str(tmp_path / "large.tar")).returncode == 0
    done = distctl(far, "import", str(tmp_path / "large.tar"))
    assert done.returncode == 7, done.stderr
    assert distctl(daemon, "export", "acme/none", str(tmp_path / "none.tar")).returncode == 4
    assert not (tmp_path / "none.tar").exists()


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


def test_a_cache_with_the_shared_xet_store_is_linked_and_published_without_a_hub(
    daemon: DaemonProcess, far: DaemonProcess, repos: Repos, tmp_path: Path
) -> None:
    repo = repos.make(weight_mib=2)
    hub_dir = client_cache(daemon, repo, tmp_path, shared=True)
    before = {path: path.read_bytes() for path in hub_dir.rglob("*") if path.is_file()}

    done = distctl(far, "adopt", str(hub_dir))

    assert done.returncode == 0, done.stderr
    assert repo.id in done.stdout
    snapshot = far.hub_dir / repo.folder / "snapshots" / repo.commit
    assert_same_files(snapshot, repo.directory)
    assert_all_visible_is_right(far.hub_dir, far.store_dir)
    for etag, path in blobs_of(hub_dir, repo).items():
        assert os.path.samefile(path, far.store_dir / "blobs" / etag), "linked, not copied"
    assert {path: path.read_bytes() for path in hub_dir.rglob("*") if path.is_file()} == before

    again = far.post("/v1/adopt", {"path": str(hub_dir)})["snapshots"][0]
    assert (again["bytes_held"], again["bytes_linked"], again["refs"]) == (repo.size_bytes, 0, ["main"])


def test_a_wrong_file_is_named_and_not_published_and_the_rest_is(
    daemon: DaemonProcess, far: DaemonProcess, repos: Repos, tmp_path: Path
) -> None:
    repo = repos.make(weight_mib=2)
    hub_dir = client_cache(daemon, repo, tmp_path)
    bad = next(path for etag, path in blobs_of(hub_dir, repo).items() if len(etag) == 64)
    bad.write_bytes(bytes(bad.stat().st_size))

    told = far.post("/v1/adopt", {"path": str(hub_dir)})["snapshots"][0]

    assert told["wrong"]
    assert told["reason"]
    assert told["files_missing"] == len(told["wrong"])
    assert not (far.store_dir / "blobs" / bad.name).exists()
    (model,) = (each for each in far.get("/v1/models")["items"] if each["repo"] == repo.id)
    assert model["revisions"][0]["complete"] is False
    assert_all_visible_is_right(far.hub_dir, far.store_dir)


def test_from_another_disk_nothing_is_taken_unless_it_may_be_copied(
    daemon: DaemonProcess, far: DaemonProcess, repos: Repos, tmp_path: Path
) -> None:
    other_disk = Path("/dev/shm")
    if not os.access(other_disk, os.W_OK) or other_disk.stat().st_dev == far.store_dir.stat().st_dev:
        pytest.skip("there is no other file system to write to")
    repo = repos.make(weight_mib=1)
    elsewhere = other_disk / f"distd-{os.getpid()}"
    try:
        hub_dir = client_cache(daemon, repo, elsewhere)
        done = distctl(far, "adopt", str(hub_dir))
        assert done.returncode == 1
        assert "--copy" in done.stderr
        assert not (far.hub_dir / repo.folder).exists()
        assert list((far.store_dir / "scratch").iterdir()) == []

        told = far.post("/v1/adopt", {"path": str(hub_dir), "copy": True})["snapshots"][0]
        assert (told["bytes_copied"], told["bytes_not_taken"], told["reason"]) == (repo.size_bytes, 0, None)
        assert_same_files(Path(told["snapshot_path"]), repo.directory)
    finally:
        shutil.rmtree(elsewhere, ignore_errors=True)


@pytest.mark.parametrize("path", ["relative/hub", "/nowhere/at/all", "/proc/self"])
def test_what_is_no_cache_is_refused(far: DaemonProcess, path: str) -> None:
    with pytest.raises(Refused) as refused:
        far.post("/v1/adopt", {"path": path})
    assert (refused.value.status, refused.value.code) == (422, "invalid_request")
