"""The worlds as fixtures: a test that takes `world` runs in both, one that takes `real_world` in the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from peers.settings import EngineOptions
from tests.peers.worlds import MemoryWorld, RealWorld, World


@pytest.fixture(params=["libtorrent", "memory"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    made: World = (
        RealWorld(tmp_path, EngineOptions("127.0.0.1")) if request.param == "libtorrent" else MemoryWorld()
    )
    yield made
    await made.end()


@pytest.fixture
async def real_world(tmp_path: Path) -> AsyncIterator[RealWorld]:
    made = RealWorld(tmp_path, EngineOptions("127.0.0.1"))
    yield made
    await made.end()
