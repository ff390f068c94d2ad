from __future__ import annotations

import time
from pathlib import Path

import pytest

from distd.cli.client import TIMEOUT_S
from distd.core.refs import Repo
from distd.errors import StorageFailed
from tests.cli.serving import ServedDaemon, distctl


@pytest.fixture
def held(daemon: ServedDaemon) -> ServedDaemon:
    daemon.memory.models.hold(Repo("model", "acme/tiny"))
    return daemon


@pytest.mark.parametrize("error", [StorageFailed("blob", "input/output error"), OSError(5, "bug")])
def test_an_export_that_breaks_off_says_so_at_once_and_leaves_no_file(
    held: ServedDaemon, tmp_path: Path, error: Exception
) -> None:
    held.memory.archives.breaks = error
    began = time.monotonic()
    done = distctl(held, "export", "acme/tiny", str(tmp_path / "tiny.tar"))
    assert time.monotonic() - began < TIMEOUT_S / 2, "it waited for the rest"
    assert done.returncode == 3
    assert "broke off" in done.stderr
    assert not list(tmp_path.glob("tiny*"))
