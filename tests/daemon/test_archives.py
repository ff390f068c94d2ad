"""Snapshots as one file: written by one node, taken in by one that has never seen a Hub."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.daemon import DaemonProcess
from tests.daemon.repos import MIB, HubRepo, Repos, assert_all_visible_is_right, assert_same_files

NO_HUB = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A node on an island."""
    settings = {"cache.max_bytes": 40 * MIB}
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
    repo = repos.make(weight_mib=4, shards=2)
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
    again = distctl(far, "import", str(file), "--json")
    assert f'"bytes_reused": {repo.size_bytes}' in again.stdout, again.stderr


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
    repo = repos.make(weight_mib=48)
    daemon.pulled(repo.id)
    assert distctl(daemon, "export", repo.id, str(tmp_path / "large.tar")).returncode == 0
    done = distctl(far, "import", str(tmp_path / "large.tar"))
    assert done.returncode == 7, done.stderr
    assert distctl(daemon, "export", "acme/none", str(tmp_path / "none.tar")).returncode == 4
    assert not (tmp_path / "none.tar").exists()
