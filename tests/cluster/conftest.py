"""A cluster in one process: real servers on loopback, with the membership table running faster than the clock."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.cluster.worlds import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    try:
        yield world
    finally:
        await world.end()
