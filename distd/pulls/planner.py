"""Plans: what a ref means now, which of its files are taken, what is held, and whether the rest fits.

The same plan answers `distctl plan` and begins every pull, so that what is announced is what happens.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from distd.core.manifest import Manifest, ManifestFile
from distd.core.pull import BlobNeed
from distd.core.refs import Ref, Repo, is_commit
from distd.core.selection import Selection, Weights, select
from distd.errors import DistdError, HubUnreachable, NoSpace, RateLimited
from distd.store.blobs import BlobStore
from distd.store.cache import HubCache
from distd.store.manifests import ManifestStore


class ManifestSource(Protocol):
    """Who says what a ref means: the Hub, or the cluster that asks it once for all."""

    async def resolve(self, ref: Ref) -> Manifest:
        """The commit that `ref` names now, and its files. Raises as `distd.hub.resolver.Resolver.resolve`."""


class Others(Protocol):
    """The other members of the cluster, as far as they spare a pull the Hub."""

    async def holders(self, blobs: Iterable[tuple[str, int]]) -> Mapping[str, frozenset[str]]:
        """Who of them holds each verified blob (name, size); blobs that nobody holds are left out."""

    async def remembered(self, ref: Ref) -> Manifest | None:
        """The latest manifest for `ref` that one of them has stored."""

    def may_fetch(self) -> bool:
        """Whether one of them fetches from the Hub."""


@dataclass(frozen=True, slots=True)
class Space:
    """The disk before and after. `needed_bytes` is what has no place on it yet."""

    path: str
    free_bytes: int
    needed_bytes: int
    reserve_bytes: int
    over_quota_bytes: int
    """By how much the cache would exceed `cache.max_bytes`; 0 when it does not or there is no quota."""

    evicts_bytes: int = 0
    """What a pull would remove of other snapshots to fit."""
    evictable_bytes: int = 0
    """Where that is not enough: what could go at most."""

    @property
    def fits(self) -> bool:
        return self.needed_bytes == 0 or (
            self.free_bytes - self.needed_bytes >= self.reserve_bytes and self.over_quota_bytes == 0
        )

    def check(self) -> None:
        """Raises NoSpace with the numbers."""
        if not self.fits:
            raise NoSpace(
                self.needed_bytes,
                self.free_bytes,
                self.reserve_bytes,
                self.path,
                self.over_quota_bytes,
                self.evictable_bytes,
            )


class Room(Protocol):
    """Who removes what is not needed any more. `keep` are blobs that the pull relies on, `key` is its snapshot."""

    async def preview(self, space: Space, keep: frozenset[str], key: tuple[str, str]) -> int:
        """What would be removed, in bytes; 0 when that would not be enough."""

    async def make(self, space: Space, keep: frozenset[str], key: tuple[str, str]) -> tuple[int, list[str]]:
        """Makes it fit, or removes nothing: then first what could go at most, in bytes. Second: what went."""


@dataclass(frozen=True, slots=True)
class Plan:
    manifest: Manifest
    selection: Selection
    remarks: tuple[tuple[str, str], ...]
    """(event, text) for the story: content adopted from the cache, or found there with another hash."""
    needs: tuple[BlobNeed, ...]
    space: Space
    held_by_others: frozenset[str] = frozenset()
    """Needed blobs that some live member holds verified."""

    @property
    def bytes_total(self) -> int:
        return self.selection.size_bytes

    @property
    def reused_bytes(self) -> int:
        """Held content, and files that repeat another one of the plan; journalled parts of needs apart."""
        return self.bytes_total - sum(need.size_bytes for need in self.needs)


class Planner:
    """Asks the Hub once per commit: manifests are kept, a known commit needs no request."""

    def __init__(
        self,
        resolver: ManifestSource,
        manifests: ManifestStore,
        blobs: BlobStore,
        cache: HubCache,
        *,
        endpoint: str,
        may_fetch: bool,
        reserve_bytes: int,
        max_bytes: int,
        unreserved_bytes: Callable[[], int],
        room: Room,
        others: Others | None = None,
        check_access: Callable[[Manifest, ManifestFile], Awaitable[None]] | None = None,
    ) -> None:
        """`check_access` is asked about the largest missing file before anything of a plan is taken from `others`."""
        self._others = others
        self._check_access = check_access
        self._room = room
        self._resolver = resolver
        self._manifests = manifests
        self._blobs = blobs
        self._cache = cache
        self._endpoint = endpoint
        self._may_fetch = may_fetch
        self._reserve_bytes = reserve_bytes
        self._max_bytes = max_bytes
        self._unreserved_bytes = unreserved_bytes

    async def plan(
        self,
        ref: Ref,
        include: tuple[str, ...],
        exclude: tuple[str, ...],
        weights: Weights | None,
        *,
        adopt: bool = False,
    ) -> Plan:
        """Raises every error a pull of this can fail with before it fetches, except NoSpace: see `Space`.

        `adopt`: hash what another program left in the cache and take it into the store where it is
        right. Without it such content counts as held by its size alone, and nothing is changed.
        """
        manifest, trouble = await self._manifest(ref)
        selection = select(manifest, include, exclude, weights)
        seen: set[str] = set()
        needs: dict[str, BlobNeed] = {}
        remarks: list[tuple[str, str]] = []
        for file in selection.files:
            if file.etag in seen:
                continue
            seen.add(file.etag)
            if not await self._is_held(manifest, file, remarks, adopt=adopt):
                journalled = self._blobs.incoming_bytes(file.etag)
                reused = sum(journalled.values()) if journalled else 0
                needs[file.etag] = BlobNeed(file.etag, file.size_bytes, file.path, reused)
        if self._check_access is not None and needs:
            missing = (file for file in selection.files if file.etag in needs)
            await self._check_access(manifest, max(missing, key=lambda file: file.size_bytes))
        elsewhere = await self._held_by_others(needs)
        if needs.keys() - elsewhere:
            if trouble is not None:
                raise trouble
            if not self._may_fetch and not (self._others and self._others.may_fetch()):
                raise HubUnreachable(self._endpoint, "hub.fetch is off on this node")
        if trouble is not None:
            text = f"{trouble.title}; commit {manifest.commit}, the last one known, is used"
            remarks.append((trouble.code, text))
        space = await self._space(tuple(needs.values()))
        plan = Plan(manifest, selection, tuple(remarks), tuple(needs.values()), space, elsewhere)
        if space.fits or adopt:
            return plan
        return replace(plan, space=replace(space, evicts_bytes=await self._room.preview(*_for_room(plan))))

    async def with_room(self, plan: Plan) -> Plan:
        """The plan with room made for it where it does not fit, if that is possible: look at its space afterwards."""
        if plan.space.fits:
            return plan
        evictable_bytes, gone = await self._room.make(*_for_room(plan))
        remarks = tuple(("evicted", f"{what}, to make room") for what in gone)
        space = replace(await self._space(plan.needs), evictable_bytes=evictable_bytes)
        return replace(plan, remarks=plan.remarks + remarks, space=space)

    async def manifest(self, ref: Ref) -> Manifest:
        """As a pull would get it. Raises as `plan`."""
        manifest, _ = await self._manifest(ref)
        return manifest

    async def keep(self, manifest: Manifest) -> None:
        """Remembers a manifest that came by another way. Raises NoSpace, StorageFailed."""
        await self._manifests.save(manifest)

    async def check_room(
        self, needs: tuple[BlobNeed, ...], keep: frozenset[str], key: tuple[str, str]
    ) -> None:
        """Makes room for blobs that come by another way. Raises NoSpace, and then nothing was removed."""
        space = await self._space(needs)
        if not space.fits:
            evictable_bytes, _ = await self._room.make(space, keep, key)
            space = replace(await self._space(needs), evictable_bytes=evictable_bytes)
        space.check()

    async def _manifest(self, ref: Ref) -> tuple[Manifest, DistdError | None]:
        """The manifest, and why it is not fresh if it is not."""
        if is_commit(ref.revision):
            known = await self._load(ref.repo, ref.revision)
            if known is not None:
                return known, None
        try:
            manifest = await self._resolver.resolve(ref)
        except (HubUnreachable, RateLimited) as error:
            known_ref = self._manifests.ref(ref.repo, ref.revision)
            last = await self._load(ref.repo, known_ref.commit) if known_ref else None
            if last is None and self._others:
                last = await self._others.remembered(ref)
                if last is not None:
                    await self._manifests.save(last)
            if last is None:
                raise
            return last, error
        await self._manifests.save(manifest)
        if not is_commit(ref.revision):
            await self._manifests.save_ref(ref.repo, ref.revision, manifest.commit, time.time())
        return manifest, None

    async def _held_by_others(self, needs: Mapping[str, BlobNeed]) -> frozenset[str]:
        if not needs or self._others is None:
            return frozenset()
        found = await self._others.holders((need.etag, need.size_bytes) for need in needs.values())
        return frozenset(found)

    async def _load(self, repo: Repo, commit: str) -> Manifest | None:
        # Parsing a manifest of 200,000 files takes a second: off the loop.
        return await asyncio.to_thread(self._manifests.load, repo, commit)

    async def _is_held(
        self, manifest: Manifest, file: ManifestFile, remarks: list[tuple[str, str]], *, adopt: bool
    ) -> bool:
        if self._blobs.has(file.etag, file.size_bytes):
            return True
        found = await self._cache.find(manifest.repo, file.etag, file.size_bytes)
        if found is None or not adopt:
            return found is not None
        if await self._blobs.adopt(file.etag, file.size_bytes, found):
            remarks.append(("adopted", f"{file.path}: found in the cache with the right hash"))
            return True
        remarks.append(
            ("hash_mismatch", f"{file.path}: the cache has other bytes under its name; it is fetched")
        )
        return False

    async def _space(self, needs: tuple[BlobNeed, ...]) -> Space:
        needed = 0
        for need in needs:
            if self._blobs.incoming_bytes(need.etag) is None:
                needed += need.size_bytes  # an incoming file has its full length on disk already
        promised = self._unreserved_bytes()
        over = 0
        if self._max_bytes and needed:
            usage_bytes = await asyncio.to_thread(self._blobs.usage_bytes)
            over = max(0, usage_bytes + promised + needed - self._max_bytes)
        return Space(
            path=str(self._blobs.store_dir),
            free_bytes=self._blobs.free_bytes() - promised,
            needed_bytes=needed,
            reserve_bytes=self._reserve_bytes,
            over_quota_bytes=over,
        )


def _for_room(plan: Plan) -> tuple[Space, frozenset[str], tuple[str, str]]:
    keep = frozenset(file.etag for file in plan.selection.files)
    return plan.space, keep, (plan.manifest.repo.folder, plan.manifest.commit)
