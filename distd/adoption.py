"""Takes over Hugging Face caches that are on this machine: hashed, then shared with the store, nothing downloaded.

A file is hard-linked, or cloned where the file system shares blocks, and copied only when that is allowed.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from distd.api.housekeeping_schema import AdoptedView, AdoptView
from distd.core.manifest import Manifest, ManifestFile
from distd.core.pull import BlobNeed
from distd.core.refs import Ref
from distd.errors import DistdError, InvalidRequest
from distd.models import ModelService
from distd.pulls.planner import Planner
from distd.store.adopting import WouldCopy
from distd.store.blobs import BlobStore
from distd.store.foreign import ForeignSnapshot, snapshots

log = logging.getLogger(__name__)

WRONG_NAMED_MAX = 20
"""Files of a snapshot that the report names; more are the same story."""

Follow = Callable[[Manifest, dict[str, float]], Awaitable[list[str]]]


class AdoptionService:
    """Implements the API's `Adoption`. `follow` remembers where refs lead, and says which may be placed."""

    def __init__(self, models: ModelService, blobs: BlobStore, planner: Planner, follow: Follow) -> None:
        self._models = models
        self._blobs = blobs
        self._planner = planner
        self._follow = follow
        self._at_work: list[frozenset[str]] = []
        self._lock = asyncio.Lock()

    def needed_etags(self) -> set[str]:
        """Blobs of the snapshot that is being adopted."""
        return {etag for etags in self._at_work for etag in etags}

    async def adopt(self, path: str, *, may_copy: bool) -> AdoptView:
        """Idempotent: what is held already is not hashed again. Raises InvalidRequest for a path that is no cache."""
        directory = Path(path)
        if not directory.is_absolute():
            raise InvalidRequest(f"{path!r} is not an absolute path")
        async with self._lock:
            found = await asyncio.to_thread(lambda: list(snapshots(directory)))
            views = [await self._adopt_snapshot(each, may_copy=may_copy) for each in found]
        return AdoptView(path, tuple(views))

    async def _adopt_snapshot(self, found: ForeignSnapshot, *, may_copy: bool) -> AdoptedView:
        try:
            manifest = await asyncio.to_thread(found.manifest)
            if manifest is None:  # which files the commit has only the Hub can say
                manifest = await self._planner.manifest(Ref(found.repo, found.commit))
        except DistdError as error:
            return AdoptedView(
                found.repo.type,
                found.repo.id,
                found.commit,
                reason=f"its list of files is not known: {error}",
            )
        files = tuple(file for file in manifest.files if os.path.lexists(found.place(file.path)))
        needed = frozenset(file.etag for file in files)
        self._at_work.append(needed)
        try:
            return await self._publish(found, manifest, files, may_copy=may_copy)
        except DistdError as error:
            return AdoptedView(found.repo.type, found.repo.id, found.commit, reason=str(error))
        finally:
            self._at_work.remove(needed)

    async def _publish(
        self, found: ForeignSnapshot, manifest: Manifest, files: tuple[ManifestFile, ...], *, may_copy: bool
    ) -> AdoptedView:
        how: dict[str, str] = {}
        for file in files:
            if file.etag not in how:
                how[file.etag] = await self._take(found, file, may_copy=may_copy)
        sizes = {file.etag: file.size_bytes for file in files}
        taken: Counter[str] = Counter()
        for etag, way in how.items():
            taken[way] += sizes[etag]
        right = tuple(file for file in files if how[file.etag] not in ("wrong", "unshared"))
        wrong = [file.path for file in files if how[file.etag] == "wrong"]
        snapshot_path = None
        refs: list[str] = []
        if right:
            await self._planner.keep(manifest)
            refs = await self._follow(manifest, found.refs)
            snapshot_path = await self._models.publish_files(manifest, right, refs, pin=False)
            log.info("%s@%s was adopted from %s", found.repo, found.commit, found.directory)
        reason = None
        if taken["unshared"]:
            reason = (
                "files can be neither linked nor cloned from there: another disk, another mount of the service's, or another"
                " user's files. Move the cache below node.state_dir and give it to the daemon's user (docs/OPERATIONS.md), or"
                " adopt with --copy"
            )
        elif wrong:
            reason = "some files do not have the hash of their list, or cannot be read"
        return AdoptedView(
            found.repo.type,
            found.repo.id,
            found.commit,
            tuple(sorted(refs)),
            len(right),
            len(manifest.files) - len(right),
            taken["linked"],
            taken["cloned"],
            taken["copied"],
            taken["held"],
            taken["unshared"],
            tuple(wrong[:WRONG_NAMED_MAX]),
            snapshot_path,
            reason,
        )

    async def _take(self, found: ForeignSnapshot, file: ManifestFile, *, may_copy: bool) -> str:
        """How the file's content is in the store now."""
        if self._blobs.has(file.etag, file.size_bytes):
            return "held"
        place = found.place(file.path)
        try:
            if not await self._blobs.adopt(file.etag, file.size_bytes, place, may_copy=False):
                return "wrong"
            linked = await asyncio.to_thread(_is_same, place, self._blobs.path(file.etag))
            return "linked" if linked else "cloned"
        except WouldCopy:
            if not may_copy:
                return "unshared"
        needs = (BlobNeed(file.etag, file.size_bytes, file.path, 0),)
        key = (found.repo.folder, found.commit)
        await self._planner.check_room(needs, frozenset(self.needed_etags()), key)
        return "copied" if await self._blobs.adopt(file.etag, file.size_bytes, place) else "wrong"


def _is_same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
