"""A daemon in memory behind a real server, and a client that speaks to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from distd.api.server import serve
from tests.api.memory import MemoryDaemon


@pytest.fixture
def daemon() -> MemoryDaemon:
    return MemoryDaemon()


@pytest.fixture
async def client(daemon: MemoryDaemon) -> AsyncIterator[aiohttp.ClientSession]:
    """Speaks to a writable server on loopback without a token."""
    app = daemon.app()
    async with serve(app, "127.0.0.1:0") as bound, aiohttp.ClientSession(bound.url) as session:
        yield session
