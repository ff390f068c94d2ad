from __future__ import annotations

from pathlib import Path

import pytest

from distd.core.refs import Repo
from tests.cli.serving import ServedDaemon, distctl


@pytest.fixture
def held(daemon: ServedDaemon) -> ServedDaemon:
    daemon.memory.models.hold(Repo("model", "acme/tiny"))
    return daemon


def test_an_export_that_breaks_off_leaves_no_file(held: ServedDaemon, tmp_path: Path) -> None:
    held.memory.archives.breaks = True
    done = distctl(held, "export", "acme/tiny", str(tmp_path / "tiny.tar"))
    assert done.returncode == 3
    assert "broke off" in done.stderr
    assert not list(tmp_path.glob("tiny*"))
