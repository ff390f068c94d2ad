"""A daemon in memory behind a real server, and a client that speaks to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from distd.api.server import serve
from tests.api.described import is_described
from tests.api.memory import MemoryDaemon


@pytest.fixture
def daemon() -> MemoryDaemon:
    return MemoryDaemon()


@pytest.fixture
async def client(daemon: MemoryDaemon) -> AsyncIterator[aiohttp.ClientSession]:
    """Speaks to a writable server on loopback without a token. Every refusal has to be one that is described."""
    undescribed: list[str] = []

    async def look(_: object, __: object, ended: aiohttp.TraceRequestEndParams) -> None:
        status, url = ended.response.status, str(ended.url)
        if status >= 400 and status != 405 and not is_described(ended.method, url, status):
            undescribed.append(f"{ended.method} {url} answered {status}")

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(look)
    app = daemon.app()
    async with (
        serve(app, "127.0.0.1:0") as bound,
        aiohttp.ClientSession(bound.url, trace_configs=[trace]) as session,
    ):
        yield session
    assert not undescribed
