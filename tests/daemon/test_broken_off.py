"""A snapshot on its way out or in when either end goes: nothing half is left, and the one that stays lets go at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.daemon import DaemonProcess, until
from tests.daemon.repos import MIB, HubRepo, Repos, assert_all_visible_is_right, assert_same_files
from tests.daemon.valve import Valve

WEIGHT_MIB = 24
"""More than sockets on the way take in: the daemon stands in the middle of a file."""
PASSED_BYTES = 2 * MIB
GONE_S = 5.0
NO_HUB = "http://127.0.0.1:9"
INTERRUPTED, UNREACHABLE = 130, 3


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A node on an island."""
    with DaemonProcess(tmp_path_factory.mktemp("far"), NO_HUB) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def held(daemon: DaemonProcess, repos: Repos) -> HubRepo:
    repo = repos.make(weight_mib=WEIGHT_MIB)
    daemon.pulled(repo.id)
    return repo


def distctl(url: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "distd.cli", "--url", url, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def open_below(daemon: DaemonProcess, directory: Path) -> list[str]:
    """Files there that the daemon has open."""
    found = []
    for link in Path(f"/proc/{daemon.pid}/fd").iterdir():
        try:
            found.append(os.readlink(link))
        except FileNotFoundError:
            continue  # closed meanwhile
    return [path for path in found if path.startswith(str(directory))]


def ended(client: subprocess.Popen[str], status: int) -> None:
    out, err = client.communicate(timeout=GONE_S)
    assert client.returncode == status, err
    assert "Traceback" not in err
    assert out == ""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_export_that_is_stopped_leaves_nothing_and_the_daemon_lets_go(
    daemon: DaemonProcess, held: HubRepo, tmp_path: Path, sent: signal.Signals
) -> None:
    kept = tmp_path / "model.tar"
    kept.write_bytes(b"of last week")
    seen = daemon.log_file.stat().st_size
    with Valve(daemon.url, PASSED_BYTES) as valve:
        client = distctl(valve.url, "export", held.id, str(kept))
        until(valve.held.is_set, "the export to stand in the middle")
        assert open_below(daemon, daemon.store_dir / "blobs")
        client.send_signal(sent)
        ended(client, INTERRUPTED)
        valve.open()
    assert [path.name for path in tmp_path.iterdir()] == ["model.tar"]
    assert kept.read_bytes() == b"of last week"
    until(lambda: not open_below(daemon, daemon.store_dir / "blobs"), "the daemon to close the file", GONE_S)
    until(lambda: "the client left in the middle" in daemon.log(seen), "the daemon to say so", GONE_S)
    assert "Traceback" not in daemon.log(seen)


@pytest.fixture(scope="module")
def archive(daemon: DaemonProcess, held: HubRepo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("usb") / "model.tar"
    ended(distctl(daemon.url, "--quiet", "export", held.id, str(file)), 0)
    return file


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_import_that_is_stopped_leaves_nothing_and_the_daemon_lets_go(
    far: DaemonProcess, held: HubRepo, archive: Path, sent: signal.Signals
) -> None:
    scratch = far.store_dir / "scratch"
    seen = far.log_file.stat().st_size
    with Valve(far.url, PASSED_BYTES) as valve:
        client = distctl(valve.url, "import", str(archive))
        until(valve.held.is_set, "the import to stand in the middle")
        until(lambda: list(scratch.iterdir()), "a file that is being taken")
        client.send_signal(sent)
        ended(client, INTERRUPTED)
        valve.open()
    until(lambda: not list(scratch.iterdir()), "the daemon to remove what it has of it", GONE_S)
    until(lambda: "the client left in the middle" in far.log(seen), "the daemon to say so", GONE_S)
    assert not open_below(far, far.store_dir / "scratch")
    assert not (far.hub_dir / held.folder).exists()
    assert "Traceback" not in far.log(seen)


def test_a_daemon_that_dies_in_an_export_leaves_no_file_and_one_that_starts_again_gives_it(
    daemon: DaemonProcess, held: HubRepo, tmp_path: Path
) -> None:
    with Valve(daemon.url, PASSED_BYTES) as valve:
        client = distctl(valve.url, "export", held.id, str(tmp_path / "model.tar"))
        until(valve.held.is_set, "the export to stand in the middle")
        daemon.kill9()
        valve.open()
        ended(client, UNREACHABLE)
    assert list(tmp_path.iterdir()) == []
    daemon.start()
    ended(distctl(daemon.url, "--quiet", "export", held.id, str(tmp_path / "model.tar")), 0)
    assert [path.name for path in tmp_path.iterdir()] == ["model.tar"]


def test_a_daemon_that_dies_in_an_import_keeps_nothing_of_it_and_takes_it_again(
    far: DaemonProcess, held: HubRepo, archive: Path
) -> None:
    scratch = far.store_dir / "scratch"
    with Valve(far.url, PASSED_BYTES) as valve:
        client = distctl(valve.url, "import", str(archive))
        until(valve.held.is_set, "the import to stand in the middle")
        until(lambda: list(scratch.iterdir()), "a file that is being taken")
        far.kill9()
        valve.open()
        ended(client, UNREACHABLE)
    far.start()
    assert list(scratch.iterdir()) == []
    assert not (far.hub_dir / held.folder).exists()
    done = distctl(far.url, "import", str(archive))
    out, err = done.communicate(timeout=60)
    assert done.returncode == 0, err
    assert_same_files(Path(out.strip()), held.directory)
    assert_all_visible_is_right(far.hub_dir, far.store_dir)
