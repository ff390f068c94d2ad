"""Scrubbing: stored files are hashed again in the background, and what the disk lost is fetched anew and replaced.

A file is read twice before it is called rotten. That it is to be replaced is written down, its right pieces are put aside, it leaves the store,
so that it is served to nobody, and a pull of each snapshot that has it fetches the rest from members or the Hub and replaces it in the
cache (`distd/repairs.py`); programs that have the old file open keep reading that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor

from distd.api.housekeeping_schema import ScrubView
from distd.core.scrub import RATE_MAX_BYTES_PER_S, next_due, rate_bytes_per_s
from distd.core.tally import Tally
from distd.errors import DistdError
from distd.pulls.views import rfc3339
from distd.repairs import Repairs
from distd.state.database import Database
from distd.state.scrub import ScrubTable
from distd.store.blobs import BlobStore
from distd.store.reread import reread, yield_disk
from distd.store.salvage import salvage
from distd.store.workers import StopFlag, finished

log = logging.getLogger(__name__)

BEGIN_AFTER_S = 1.0
"""A start has better to do."""
LOOK_EVERY_S = 60.0
"""How soon a new or changed store is noticed when nothing is due."""
SAVE_EVERY_S = 60.0
"""What was checked since is checked once more after a crash."""


class ScrubService:
    """Call `open`, then run `watch` as a task; an interval of 0 is for ever. Cancel it before the pulls are closed."""

    def __init__(
        self,
        interval_s: float,
        blobs: BlobStore,
        repairs: Repairs,
        database: Database,
        tally: Tally,
    ) -> None:
        self._interval_s = interval_s
        self._blobs = blobs
        self._repairs = repairs
        self._table = ScrubTable(database)
        self._tally = tally
        self._checked_at: dict[str, float] = {}
        self._saved_at = 0.0

    def view(self) -> ScrubView | None:
        """None when nothing is scrubbed."""
        if not self._interval_s:
            return None
        oldest = min(self._checked_at.values(), default=None)
        return ScrubView(
            self._interval_s, rfc3339(oldest), self._tally.scrubbed_bytes, self._tally.files_rotten
        )

    async def watch(self) -> None:
        """Hashes what is due and has replaced what is rotten, for ever; without an interval, only what is left of earlier runs."""
        if not self._interval_s and not self._repairs.etags():
            return
        await asyncio.sleep(BEGIN_AFTER_S)
        # A thread of its own: its idle disk time is not for those who wait for theirs.
        thread = ThreadPoolExecutor(1, thread_name_prefix="scrub", initializer=yield_disk)
        try:
            self._checked_at = await self._table.load()
            cut_short = self._repairs.etags()
            while True:
                try:
                    while cut_short:
                        await self._resume(thread, cut_short.pop())
                    await self._repairs.go_on()
                    await asyncio.sleep(await self._step(thread) if self._interval_s else LOOK_EVERY_S)
                except (DistdError, OSError) as error:
                    log.error("scrubbing: %s", error)
                    await asyncio.sleep(LOOK_EVERY_S)
        finally:
            thread.shutdown(wait=False)

    async def _resume(self, thread: ThreadPoolExecutor, etag: str) -> None:
        """A kill came while the blob was to be replaced. If it is in the store, nobody knows whether before or after."""
        if stored := (await asyncio.to_thread(self._stored)).get(etag):
            await self._check(thread, etag, stored[0], RATE_MAX_BYTES_PER_S)

    async def _step(self, thread: ThreadPoolExecutor) -> float:
        """Checks the next file that is due; returns how long nothing is."""
        sizes = await asyncio.to_thread(self._stored)
        self._checked_at = {
            etag: self._checked_at.get(etag, written_at) for etag, (_, written_at) in sizes.items()
        }
        now = time.time()
        due = next_due(self._checked_at, self._interval_s, now)
        if due.etag is None:
            await self._save()
            return min(LOOK_EVERY_S, due.at - now)
        total_bytes = sum(size for size, _ in sizes.values())
        await self._check(
            thread, due.etag, sizes[due.etag][0], rate_bytes_per_s(total_bytes, self._interval_s)
        )
        self._checked_at[due.etag] = time.time()
        if time.monotonic() - self._saved_at > SAVE_EVERY_S:
            await self._save()
        return 0.0

    def _stored(self) -> dict[str, tuple[int, float]]:
        """Size of each blob and when it was written, which is when it was last hashed."""
        found = {}
        for etag in self._blobs.blobs():
            try:
                stats = self._blobs.path(etag).stat()
            except FileNotFoundError:
                continue
            found[etag] = (stats.st_size, stats.st_mtime)
        return found

    async def _save(self) -> None:
        self._saved_at = time.monotonic()
        await self._table.save(self._checked_at)

    async def _check(self, thread: ThreadPoolExecutor, etag: str, size_bytes: int, rate: float) -> None:
        path = self._blobs.path(etag)
        for again in (False, True):
            stop = StopFlag()
            read = self._blobs.fingerprint(etag, size_bytes)
            try:
                actual = await finished(thread.submit(reread, stop, path, read, rate), on_cancel=stop.set)
            except FileNotFoundError:
                return  # removed meanwhile
            except OSError as error:
                actual = f"not readable: {error.strerror}"
            self._tally.scrubbed(size_bytes)
            if actual == etag:
                if again:
                    log.warning("%s was read with wrong bytes once, and right the second time", path)
                if await asyncio.to_thread(self._blobs.known_pieces, etag) is None:
                    await asyncio.to_thread(
                        self._blobs.keep_pieces, read
                    )  # of a file from before they were kept
                return
        await self._repairs.begin(etag)
        self._tally.file_rotted()
        salvaged = await salvage(self._blobs, etag, thread) if await self._repairs.is_shown(etag) else None
        lost = f"{len(salvaged.lost)} of its {salvaged.pieces} pieces are" if salvaged else "it is"
        self._blobs.quarantine(etag)
        await self._repairs.tell(etag, actual, lost)
