"""Who may read the cache, by the modes of its directory and of those above it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from distd.api.schema import Finding
from distd.diagnosis.readers import reader_findings, reads_findings


@pytest.fixture
def above() -> Iterator[Path]:
    """A directory below which a test makes the cache; unlike pytest's own, others may pass all above it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


def finding(above: Path, mode: int, above_mode: int = 0o755) -> Finding:
    hub_dir = above / "state" / "hub"
    hub_dir.mkdir(parents=True)
    os.chmod(hub_dir, mode)
    os.chmod(hub_dir.parent, above_mode)
    (found,) = reader_findings(str(hub_dir))
    return found


def test_a_cache_for_everybody_or_for_its_group_is_well(above: Path) -> None:
    assert finding(above, 0o755).detail == "every user can read the cache"


def test_the_group_that_can_read_it_is_named(above: Path) -> None:
    found = finding(above, 0o2750, 0o2750)
    assert found.outcome == "ok"
    assert "usermod -aG" in found.detail


def test_a_cache_for_the_daemon_alone_is_told_with_the_fix(above: Path) -> None:
    found = finding(above, 0o700)
    assert found.outcome == "warn"
    assert "only the daemon's user" in found.detail
    assert "chmod 2750" in found.fix


def test_a_directory_above_that_stops_the_group_is_named(above: Path) -> None:
    found = finding(above, 0o750, 0o700)
    assert found.outcome == "warn"
    assert f"may not pass {above}/state" in found.detail


def test_a_cache_that_is_not_there_is_told(above: Path) -> None:
    (found,) = reader_findings(str(above / "none"))
    assert found.outcome == "warn"


def test_a_disk_without_access_times_is_told_with_its_mount_and_what_stays_all_the_same(above: Path) -> None:
    (well,) = reads_findings(str(above), lambda _: True)
    (blind,) = reads_findings(str(above), lambda _: False)
    assert well.outcome == "ok"
    assert blind.outcome == "warn"
    assert "open or mapped stay" in blind.detail
    mount = blind.detail.split()[0]
    assert os.path.ismount(mount)
    assert f"remount,relatime {mount}," in blind.fix
    assert reads_findings(str(above / "none"))[0].fix == "check the mount"
