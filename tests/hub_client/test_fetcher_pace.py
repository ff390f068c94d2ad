"""Fetches at a limited rate: all connections together, nothing lost, and little taken in ahead of the reader."""

from __future__ import annotations

import asyncio
import time

from distd.core.pacing import BURST_S, LINK_PER_CONTENT
from distd.hub.fetcher import RemoteFile
from distd.hub.receiving import BUFFER_BYTES_MAX, WAY_S, ReceiveAhead
from distd.pacing import Pacer
from tests.hub_client.conftest import MakeFetcher
from tests.hub_client.helpers import WEIGHTS_BYTES, fetched

RATE = 3_000_000
LINGERING_BYTES = 400_000
"""A read of each connection, beyond the burst."""


async def test_connections_share_one_rate_and_every_byte_arrives(
    make_fetcher: MakeFetcher, remote: RemoteFile, weights: bytes
) -> None:
    pace = Pacer()
    pace.set_rate(RATE)
    uses: list[bool] = []
    pace.on_use = lambda: uses.append(pace.in_use)
    fetcher = make_fetcher(pace=pace)
    await fetcher.open()
    began = time.monotonic()
    half = WEIGHTS_BYTES // 2
    parts = await asyncio.gather(
        fetched(fetcher, remote, 0, half), fetched(fetcher, remote, half, WEIGHTS_BYTES)
    )
    took_s = time.monotonic() - began
    assert b"".join(parts) == weights
    assert RATE * (took_s + BURST_S) + LINGERING_BYTES >= WEIGHTS_BYTES * LINK_PER_CONTENT
    assert uses == [True, False]


async def test_what_connections_take_in_at_once_is_paid_for_before_anything_is_read(
    make_fetcher: MakeFetcher, remote: RemoteFile
) -> None:
    pace = Pacer()
    pace.set_rate(RATE)
    fetcher = make_fetcher(pace=pace)
    await fetcher.open()
    span = 400_000
    began = time.monotonic()
    await asyncio.gather(
        *(fetched(fetcher, remote, start, start + span) for start in range(0, 4 * span, span))
    )
    took_s = time.monotonic() - began
    assert took_s >= 4 * span * LINK_PER_CONTENT / RATE, "no burst, and what the last ones held was paid for"
    unused = RATE * took_s - 4 * span * LINK_PER_CONTENT
    assert pace._bucket._credit_bytes <= unused + RATE * BURST_S, "given back once"


async def test_a_lifted_limit_lets_those_who_wait_go_at_once(
    make_fetcher: MakeFetcher, remote: RemoteFile, weights: bytes
) -> None:
    pace = Pacer()
    pace.set_rate(100_000)  # 30 s for all of it
    fetcher = make_fetcher(pace=pace)
    await fetcher.open()
    task = asyncio.create_task(fetched(fetcher, remote))
    await asyncio.sleep(0.3)
    assert not task.done()
    pace.set_rate(0)
    async with asyncio.timeout(5):
        assert await task == weights


async def test_a_connection_with_a_small_buffer_serves_one_more_span_without_a_limit_and_is_closed(
    make_fetcher: MakeFetcher, remote: RemoteFile, weights: bytes
) -> None:
    pace = Pacer()
    pace.set_rate(RATE)
    fetcher = make_fetcher(pace=pace)
    await fetcher.open()
    ahead: ReceiveAhead = fetcher._ahead
    span = 600_000  # more than arrives together with the head
    assert await fetched(fetcher, remote, 0, span) == weights[:span]
    bounded = set(ahead._bounded)
    assert bounded
    pace.set_rate(0)
    for start in (span, 2 * span):
        assert await fetched(fetcher, remote, start, start + span) == weights[start : start + span]
    assert all(transport.is_closing() for transport in bounded)


def test_where_the_limit_needs_more_than_a_program_may_ask_for_the_kernel_decides() -> None:
    pace = Pacer()
    ahead = ReceiveAhead(pace)
    pace.set_rate(BUFFER_BYTES_MAX / WAY_S + 1000)
    assert ahead._buffer_bytes() == 0
    pace.set_rate(BUFFER_BYTES_MAX / WAY_S - 1000)
    assert 0 < ahead._buffer_bytes() <= BUFFER_BYTES_MAX
