"""What the tests of this folder share beside fixtures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from distd.core.faults import FetchFailed, FetchFault
from distd.hub.fetcher import Fetcher, RemoteFile

TOKEN = "hf_valid"
WEIGHTS = "model.safetensors"
WEIGHTS_BYTES = 3_000_017
SMALL = "config.json"


@dataclass
class Collected:
    """A sink that keeps what it got."""

    data: bytearray = field(default_factory=bytearray)

    async def __call__(self, part: bytes) -> None:
        self.data += part


async def fetched(fetcher: Fetcher, remote: RemoteFile, start: int = 0, end: int | None = None) -> bytes:
    sink = Collected()
    await fetcher.fetch(remote, start, remote.file.size_bytes if end is None else end, sink)
    return bytes(sink.data)


async def failed(
    fetcher: Fetcher,
    remote: RemoteFile,
    start: int = 0,
    end: int | None = None,
    sink: Collected | None = None,
) -> FetchFault:
    """The fault that the fetch ends with; its being none fails the test."""
    with pytest.raises(FetchFailed) as caught:
        await fetcher.fetch(
            remote, start, remote.file.size_bytes if end is None else end, sink or Collected()
        )
    assert str(caught.value) == caught.value.fault.detail
    return caught.value.fault


async def eventually(condition: Callable[[], bool], within_s: float = 5.0) -> None:
    """Waits until the condition holds; its not doing so in time fails the test."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  # what the Hub counts has no event to wait for
            await asyncio.sleep(0.01)
