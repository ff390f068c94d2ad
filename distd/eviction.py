"""Room in the store: looks at what is held and how it is used, lets the core decide, and removes what it chose.

A pull that does not fit makes room first (`make`); `gc` is asked for by a person; between pulls `watch` keeps quota and
reserve when something else fills the disk. One of them at a time. What is removed is looked at once more at the last
moment, so that a pull that came meanwhile keeps what it needs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from distd.api.housekeeping_schema import EvictedView, GcView, KeptView
from distd.core import eviction as core
from distd.core.eviction import Decision, Inventory, Key, Wanted
from distd.core.tally import Tally
from distd.errors import Conflict, DistdError
from distd.models import HeldSnapshot, ModelService
from distd.pulls.planner import Space
from distd.pulls.views import rfc3339
from distd.store import use
from distd.store.blobs import BlobStore
from distd.units import format_size

log = logging.getLogger(__name__)

NOTE_EVERY_S = 600.0
"""How exactly reads are known in time: between two looks, `relatime` keeps only the first of them."""
FREE_EVERY_S = 1.0
"""How often the disk's free space is looked at, one system call: who writes a file into the reserve should find room."""
QUOTA_EVERY_S = 30.0
"""How often the store is counted, a walk over it: past its quota it gets by a lower one after a start, or by a hand."""
FREED_WITHIN_S = 5.0
"""Some file systems free a removed file's blocks a moment later."""
FREED_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the disk says of one stored blob."""

    stats: os.stat_result
    is_open: bool


@dataclass(frozen=True, slots=True)
class _Look:
    held: dict[Key, HeldSnapshot]
    inventory: Inventory


class EvictionService:
    """Implements the planner's `Room` and the API's `Housekeeping`. Run `watch` as a task."""

    def __init__(
        self,
        models: ModelService,
        blobs: BlobStore,
        *,
        max_bytes: int,
        reserve_bytes: int,
        in_work: Callable[[str], bool],
        needed_etags: Callable[[], set[str]],
        is_pulling: Callable[[Key], bool],
        promised_bytes: Callable[[], int],
        tally: Tally,
    ) -> None:
        """`in_work`: a blob is being fetched or sent; `is_pulling`: a pull may publish this snapshot;
        `promised_bytes`: what unfinished pulls still take of the disk."""
        self._models = models
        self._blobs = blobs
        self._max_bytes = max_bytes
        self._reserve_bytes = reserve_bytes
        self._in_work = in_work
        self._needed_etags = needed_etags
        self._is_pulling = is_pulling
        self._promised_bytes = promised_bytes
        self._tally = tally
        self._upkeep = core.Upkeep()
        self._over_quota_bytes = 0
        self._lock = asyncio.Lock()

    async def watch(self) -> None:
        """Keeps quota and reserve, and notes reads of the cache, for ever."""
        noted_at, counted_at = time.monotonic(), -QUOTA_EVERY_S
        while True:
            await asyncio.sleep(FREE_EVERY_S)
            now = time.monotonic()
            try:
                if now - noted_at >= NOTE_EVERY_S:  # the access time alone forgets all but one a day
                    noted_at = now
                    async with self._lock:
                        await self._look(frozenset(), None, open_too=False)
                if now - counted_at >= QUOTA_EVERY_S:
                    counted_at = now
                    self._over_quota_bytes = (await self._over(0)).quota_bytes
                await self._keep_room(now)
            except (DistdError, OSError) as error:
                log.warning("the cache cannot be looked after: %s", error)
                await asyncio.sleep(core.HOPELESS_S)

    async def _keep_room(self, now: float) -> None:
        if not self._upkeep.is_due(Wanted(self._over_quota_bytes, await self._short_bytes()), now):
            return
        async with self._lock:
            look = await self._look(frozenset(), None)
            wanted = await self._over(0)  # a pull may have made room meanwhile
            self._over_quota_bytes = wanted.quota_bytes
            if not wanted:
                return
            free_bytes = await asyncio.to_thread(self._blobs.free_bytes)
            decision = core.decide(look.inventory, wanted)
            was_hopeless = self._upkeep.is_hopeless
            if self._upkeep.may_carry_out(decision, now):
                freed_bytes = await self._carry_out(look, decision, frozenset())
                self._over_quota_bytes = 0
                await self._freed(free_bytes + min(freed_bytes, wanted.disk_bytes))
            elif not was_hopeless:
                log.warning(
                    "%s are wanted for cache.max_bytes and %s for cache.min_free_bytes, and %s are all that may go: "
                    "nothing is evicted (distctl gc takes what there is, and says what stays and why)",
                    format_size(wanted.quota_bytes),
                    format_size(wanted.disk_bytes),
                    format_size(core.evictable_bytes(look.inventory)),
                    extra={"event": "no_room"},
                )

    # The planner's Room.

    async def preview(self, space: Space, keep: frozenset[str], key: Key) -> int:
        """What would be evicted for a pull, in bytes; 0 when that would not be enough. Changes nothing."""
        async with self._lock:
            look = await self._look(keep, key)
        decision = core.decide(look.inventory, _wanted(space))
        return max(decision.quota_bytes, decision.disk_bytes) if decision.enough else 0

    async def make(self, space: Space, keep: frozenset[str], key: Key) -> tuple[int, list[str]]:
        """Evicts so much that a pull fits, or nothing when all would not do.

        `keep` are blobs, and `key` the snapshot, that the pull relies on. Returns what could go at most, in bytes,
        and what went, for the story. Raises StorageFailed.
        """
        async with self._lock:
            look = await self._look(keep, key)
            decision = core.decide(look.inventory, _wanted(space))
            if not decision.enough:
                return core.evictable_bytes(look.inventory), []
            told = [self._told(look, victim) for victim in decision.snapshots]
            if decision.loose:
                told.append(f"{len(decision.loose)} blobs that nothing showed any more")
            if decision.parts:
                told.append(f"the begun parts of {len(decision.parts)} blobs that no pull wants")
            freed_bytes = await self._carry_out(look, decision, keep)
            await self._freed(space.free_bytes + min(freed_bytes, _wanted(space).disk_bytes))
            return 0, told

    # The API's Housekeeping.

    async def gc(self, *, dry_run: bool, free_bytes: int) -> GcView:
        async with self._lock:
            look = await self._look(frozenset(), None)
            decision = core.decide(look.inventory, await self._over(free_bytes), collect=True)
            freed_bytes = decision.disk_bytes
            if not dry_run:
                freed_bytes = await self._carry_out(look, decision, frozenset())
        gone = {victim.key for victim in decision.snapshots}
        blobs = look.inventory.blobs
        return GcView(
            dry_run=dry_run,
            freed_bytes=freed_bytes,
            enough=decision.enough,
            evicted=tuple(self._evicted_view(look, victim) for victim in decision.snapshots),
            unpublished_blobs=len(decision.loose),
            unpublished_bytes=sum(blobs[etag].size_bytes for etag in decision.loose),
            parts=len(decision.parts),
            kept=tuple(
                KeptView(*_names(look.held[each.key]), each.kept)
                for each in sorted(look.inventory.snapshots, key=lambda each: each.key)
                if each.key not in gone and each.kept
            ),
            reads_known=await asyncio.to_thread(use.reads_are_known, self._blobs.store_dir),
        )

    async def _over(self, free_bytes: int) -> Wanted:
        """How far the store is beyond what it may take, and what is asked for besides."""
        over = 0
        if self._max_bytes:
            usage_bytes = await asyncio.to_thread(self._blobs.usage_bytes)
            over = usage_bytes + self._promised_bytes() - self._max_bytes
        return Wanted(max(0, over), max(await self._short_bytes(), free_bytes))

    async def _short_bytes(self) -> int:
        """What the disk lacks of the reserve and of what pulls still take. A disk may take its time to say what is free."""
        free_bytes = await asyncio.to_thread(self._blobs.free_bytes)
        return max(0, self._reserve_bytes + self._promised_bytes() - free_bytes)

    # Inside.

    async def _look(self, keep: frozenset[str], key: Key | None, *, open_too: bool = True) -> _Look:
        """The store as it is now; notes reads on the way."""
        held = {each.key: each for each in await self._models.held()}
        shown = frozenset(etag for each in held.values() for etag in each.etags) | await self._models.missed()
        seen = await self._blobs.workers.run(_seen, self._blobs, open_too)
        users = Counter(etag for each in held.values() for etag in each.etags)
        reads = {etag: at for etag, found in seen.items() if (at := use.last_read(found.stats)) is not None}
        for each in list(held.values()):
            at = core.used_at(each.etags, [each.record.last_used_at or 0.0], reads, users)
            if record := await self._models.note_use(each.key, at):
                held[each.key] = replace(each, record=record)
            else:
                del held[each.key]  # removed meanwhile
        folders = Counter(
            etag for _, etag in {(each.key[0], etag) for each in held.values() for etag in each.etags}
        )
        needed = self._needed_etags() | keep
        blobs = {
            etag: core.Stored(
                found.stats.st_size,
                # The store's own name, and one in each repo's directory that shows it.
                found.stats.st_size if found.stats.st_nlink <= 1 + folders[etag] else 0,
                found.is_open or etag in needed or self._in_work(etag),
            )
            for etag, found in seen.items()
        }
        is_open = {etag for etag, found in seen.items() if found.is_open}
        now = time.time()
        return _Look(
            held,
            Inventory(
                blobs,
                tuple(
                    core.Snapshot(
                        each.key,
                        each.etags,
                        max(each.record.published_at, each.record.last_used_at or 0.0),
                        self._kept(each, key, is_open, now),
                    )
                    for each in held.values()
                ),
                frozenset(
                    etag for etag, found in seen.items() if etag not in shown and found.stats.st_nlink == 1
                ),
                {
                    etag: size_bytes
                    for etag, size_bytes in (await asyncio.to_thread(self._blobs.parts)).items()
                    if etag not in needed and not self._in_work(etag)
                },
            ),
        )

    def _kept(self, held: HeldSnapshot, key: Key | None, is_open: set[str], now: float) -> str:
        if held.record.pinned:
            return "pinned"
        if held.key == key or self._is_pulling(held.key):
            return "being pulled"
        if not held.etags:
            return "its list of files is lost"
        if held.etags & is_open:
            return "open in a program"
        if any(self._in_work(etag) for etag in held.etags):
            return "being sent to members"
        if held.record.last_used_at and now - held.record.last_used_at < core.RECENT_S:
            return "used within the last hour"
        return ""

    async def _carry_out(self, look: _Look, decision: Decision, keep: frozenset[str]) -> int:
        """Removes what was chosen; returns the bytes that come free on the disk."""
        freed_bytes = 0
        unpublished = []
        for victim in decision.snapshots:
            text = self._told(look, victim)
            try:
                freed_bytes += await self._models.unpublish(victim.key)
            except Conflict:
                continue  # pinned meanwhile
            unpublished.append(look.held[victim.key])
            log.info("evicted %s", text, extra={"event": "evicted"})
            self._tally.snapshot_evicted()
        held = await self._models.held()
        while {each.key for each in held} != self._models.keys():  # published meanwhile
            held = await self._models.held()
        shown = frozenset(etag for each in held for etag in each.etags)
        for etag in sorted(decision.blobs - shown - self._needed_etags() - keep):
            if not self._in_work(etag):
                freed_bytes += self._blobs.remove(etag)
        for snapshot in unpublished:
            await self._models.forget(snapshot)
        for etag in decision.parts:
            if not self._in_work(etag) and etag not in self._needed_etags():
                self._blobs.discard(etag)
                freed_bytes += (look.inventory.parts or {})[etag]
        self._tally.evicted(freed_bytes)
        await self._blobs.workers.tidied()
        return freed_bytes

    async def _freed(self, expected_bytes: int) -> None:
        deadline = time.monotonic() + FREED_WITHIN_S
        while self._blobs.free_bytes() < expected_bytes and time.monotonic() < deadline:  # noqa: ASYNC110  # the disk tells nobody
            await asyncio.sleep(FREED_LOOK_S)

    def _told(self, look: _Look, victim: core.Snapshot) -> str:
        held = look.held[victim.key]
        used = rfc3339(held.record.last_used_at) or "never read"
        size = format_size(held.record.size_bytes)
        return f"{held.repo}@{held.record.commit[:12]} ({size}, last used: {used})"

    def _evicted_view(self, look: _Look, victim: core.Snapshot) -> EvictedView:
        held = look.held[victim.key]
        return EvictedView(*_names(held), rfc3339(held.record.last_used_at))


def _wanted(space: Space) -> Wanted:
    short = space.reserve_bytes + space.needed_bytes - space.free_bytes
    return Wanted(space.over_quota_bytes, max(0, short))


def _names(held: HeldSnapshot) -> tuple[str, str, str, int]:
    return held.repo.type, held.repo.id, held.record.commit, held.record.size_bytes


def _seen(blobs: BlobStore, open_too: bool) -> dict[str, _Seen]:
    """Looks at every stored file. Runs in a thread; one that vanishes meanwhile is left out."""
    found: dict[str, _Seen] = {}
    for etag, path in _paths(blobs):
        try:
            stats = path.lstat()
            if use.last_read(stats) is not None:
                with suppress(OSError):  # a disk that takes no writes still says what is read
                    use.note_read(path, stats)
            found[etag] = _Seen(stats, open_too and use.is_open(path))
        except FileNotFoundError:
            continue
        except PermissionError:  # not ours to ask about: it counts as closed
            found[etag] = _Seen(stats, is_open=False)
    return found


def _paths(blobs: BlobStore) -> Iterable[tuple[str, Path]]:
    return ((etag, blobs.path(etag)) for etag in blobs.blobs())
