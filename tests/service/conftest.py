"""A Hub for a module, and the other side of the service manager's protocol."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub import HubProcess
from tests.service.manager import FakeManager

collect_ignore = [] if os.environ.get("PACKAGE_TEST") else ["test_package.py", "test_failing_disk.py"]
"""Building the package takes half a minute, and both need root: `make packagetest`."""


@pytest.fixture(scope="module")
def hub() -> Iterator[HubProcess]:
    with HubProcess() as hub:
        yield hub


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[FakeManager]:
    with FakeManager(tmp_path / "notify", watchdog_s=0.6) as manager:
        yield manager
