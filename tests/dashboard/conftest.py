"""One browser for a module, and daemons in memory behind real listeners."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.cli.serving import ServedDaemon
from tests.dashboard.browser import CHROMIUM, MISSING, chromium
from tests.dashboard.scene import Scene


@pytest.fixture(autouse=True)
def loop_is_never_held() -> None:
    """Not here: the driver of the browser runs a test within callbacks of its own loop."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip(MISSING)
    with chromium() as browser:
        yield browser


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    daemon = ServedDaemon(tmp_path)
    yield Scene(daemon)
    daemon.close()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Scene]:
    """A daemon with a token."""
    daemon = ServedDaemon(tmp_path, token="s3cret")
    yield Scene(daemon)
    daemon.close()
