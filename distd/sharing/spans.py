"""Spans from the Hub, piece by piece: bytes gathered, digested off the loop, and kept until they are placed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor

from distd.core.faults import FaultKind, FetchFailed
from distd.hub.fetcher import Fetcher, RemoteFile
from distd.sharing.reading import digests_of
from peers import member_events as event
from peers.blob import Blob
from peers.member_events import SpanFailure
from peers.piece_set import Span

log = logging.getLogger(__name__)

WAITING_BYTES_MAX = 64 * 2**20
"""Fetched pieces of one blob that wait to be written. A slow disk then slows the fetch, not the memory."""
PROGRESS_EVERY_S = 1.0
"""How often a slow piece is reported: the lead expects to hear of every lease within a few seconds."""

_FAILURES = {
    FaultKind.DENIED: SpanFailure.ACCESS_DENIED,
    FaultKind.RATE_LIMITED: SpanFailure.RATE_LIMITED,
    FaultKind.WRONG_LENGTH: SpanFailure.CONTENT_CHANGED,
    FaultKind.WRONG_ETAG: SpanFailure.CONTENT_CHANGED,
    FaultKind.GONE: SpanFailure.CONTENT_CHANGED,
}
"""What the machine has to decide about a fault; all others are a Hub that may answer next time."""


class HubSpans:
    """The Hub's side of one blob on this node: runs fetches, holds what they brought until it is taken."""

    def __init__(
        self,
        blob: Blob,
        remote: RemoteFile,
        fetcher: Fetcher,
        threads: Executor,
        *,
        feed: Callable[[event.MemberEvent], None],
        fetched: Callable[[event.HubPieceFetched], bool],
        received: Callable[[int], None],
        dropped: Callable[[int], None],
    ) -> None:
        self._blob = blob
        self._remote = remote
        self._fetcher = fetcher
        self._threads = threads
        self._feed = feed
        self._fetched = fetched
        self._received = received
        self._dropped = dropped
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._waiting: dict[int, deque[bytearray]] = {}
        self._waiting_bytes = 0
        self._room = asyncio.Condition()

    def start(self, fetch: int, span: Span) -> None:
        """Fetches the pieces of `span` in file order; SpanProgressed, HubPieceFetched or SpanFailed follow."""
        task = asyncio.create_task(self._run(fetch, span))
        self._tasks[fetch] = task
        task.add_done_callback(lambda _: self._tasks.pop(fetch, None))

    def stop(self, fetch: int) -> None:
        """Closes the fetch's connection. Idempotent."""
        if task := self._tasks.get(fetch):
            task.cancel()

    def take(self, piece: int) -> bytearray:
        """The bytes of a fetched piece, the oldest if it was fetched twice; they are the caller's now.

        Call `placed` when they are written, or could not be. Raises KeyError.
        """
        waiting = self._waiting[piece]
        data = waiting.popleft()
        if not waiting:
            del self._waiting[piece]
        self._waiting_bytes -= len(data)
        return data

    async def placed(self) -> None:
        """What was taken is out of the way: room for another."""
        async with self._room:
            self._room.notify_all()

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._waiting.clear()
        self._waiting_bytes = 0

    async def _run(self, fetch: int, span: Span) -> None:
        start = span.start * self._blob.piece_len_bytes
        end = min(span.stop * self._blob.piece_len_bytes, self._blob.size_bytes)
        gatherer = _Gatherer(self, fetch, span.start)
        try:
            await self._fetcher.fetch(self._remote, start, end, gatherer.take)
        except FetchFailed as failure:
            fault = failure.fault
            kind = _FAILURES.get(fault.kind, SpanFailure.HUB_UNREACHABLE)
            self._feed(event.SpanFailed(fetch, kind, fault.retry_after_s or 0.0))
        except Exception:
            # The lease must not wait for a fetch that is no more; a later one may go well.
            log.exception("fetching %s from the Hub failed", span)
            self._feed(event.SpanFailed(fetch, SpanFailure.HUB_UNREACHABLE))
        finally:
            if gatherer.unfinished_bytes:
                self._dropped(gatherer.unfinished_bytes)

    async def arrived(self, fetch: int, piece: int, data: bytearray) -> None:
        """A piece is whole: digest it, tell the machine, and keep it if the machine wants it placed.

        It may not: the lease is gone, or the disk has these bytes, or the ledger other ones.
        """
        loop = asyncio.get_running_loop()
        digests = await loop.run_in_executor(self._threads, digests_of, data)
        async with self._room:
            await self._room.wait_for(self._has_room)
            if self._fetched(event.HubPieceFetched(fetch, piece, digests)):
                self._waiting.setdefault(piece, deque()).append(data)
                self._waiting_bytes += len(data)

    def counted(self, fetch: int, done_bytes: int, size_bytes: int, *, tell: bool) -> None:
        self._received(size_bytes)
        if tell:
            self._feed(event.SpanProgressed(fetch, done_bytes))

    def piece_bytes(self, piece: int) -> int:
        return self._blob.piece_bytes(piece)

    def _has_room(self) -> bool:
        return self._waiting_bytes + self._blob.piece_len_bytes <= WAITING_BYTES_MAX


class _Gatherer:
    """Cuts one fetch's stream into pieces."""

    def __init__(self, spans: HubSpans, fetch: int, first_piece: int) -> None:
        self._spans = spans
        self._fetch = fetch
        self._piece = first_piece
        self._data = bytearray()
        self._done_bytes = 0
        self._told_at = time.monotonic()

    @property
    def unfinished_bytes(self) -> int:
        """Of the piece that was arriving."""
        return len(self._data)

    async def take(self, chunk: bytes) -> None:
        self._done_bytes += len(chunk)
        now = time.monotonic()
        tell = now - self._told_at >= PROGRESS_EVERY_S
        if tell:
            self._told_at = now
        self._spans.counted(self._fetch, self._done_bytes, len(chunk), tell=tell)
        view = memoryview(chunk)
        while view:
            size = self._spans.piece_bytes(self._piece)
            part = view[: size - len(self._data)]
            self._data += part
            view = view[len(part) :]
            if len(self._data) == size:
                whole, self._data = self._data, bytearray()
                await self._spans.arrived(self._fetch, self._piece, whole)
                self._piece += 1
