"""Snapshots carried as one file to where no Hub is: written out as a stream, and taken in verified."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass

from distd.api.housekeeping_schema import ImportedView
from distd.core.manifest import Manifest
from distd.core.pull import BlobNeed
from distd.core.refs import Repo
from distd.errors import InvalidRequest, StorageFailed
from distd.models import HeldSnapshot, ModelService
from distd.pulls.planner import Planner
from distd.store import archive
from distd.store.archive import ArchiveReader, Head
from distd.store.blobs import BlobStore
from distd.store.manifests import ManifestStore
from distd.store.taking import TakenBlob
from distd.store.use import open_unmarked

log = logging.getLogger(__name__)

PART_BYTES = 1 << 20
USE_NOTED_EVERY_S = 60.0
"""So that an export of hours is seen as a use all the time, and what it still has to read is not evicted."""


@dataclass(frozen=True, slots=True)
class Export:
    """`size_bytes` is exact. The content ends early, with an error, when a file cannot be read; close it."""

    name: str
    size_bytes: int
    content: AsyncGenerator[bytes, None]


class ArchiveService:
    """Implements the API's `Archives`."""

    def __init__(
        self, models: ModelService, blobs: BlobStore, manifests: ManifestStore, planner: Planner
    ) -> None:
        self._models = models
        self._blobs = blobs
        self._manifests = manifests
        self._planner = planner
        self._arriving: list[frozenset[str]] = []

    def needed_etags(self) -> set[str]:
        """Blobs that are being imported, or count for an import."""
        return {etag for etags in self._arriving for etag in etags}

    async def export(self, repo: Repo, revision: str) -> Export:
        """Raises NotFound."""
        held = await self._models.snapshot(repo, revision)
        head = await asyncio.to_thread(self._head, held)
        blobs = head.blobs
        raw = head.to_bytes()
        size_bytes = archive.archive_bytes(len(raw), list(blobs.values()))
        name = f"{repo.folder}--{held.record.commit[:12]}.tar"
        log.info("%s@%s is exported, %d bytes", repo, held.record.commit, size_bytes)
        return Export(name, size_bytes, self._content(held, raw, blobs))

    def _head(self, held: HeldSnapshot) -> Head:
        manifest = self._manifests.load(held.repo, held.record.commit)
        if manifest is None:
            raise StorageFailed(
                held.record.commit, "its list of files is lost: pull it again, then export it"
            )
        known = self._manifests.refs(held.repo)
        refs = {
            name: known[name].resolved_at_s if name in known else held.record.published_at
            for name in self._models.refs_of(held.repo, held.record.commit)
        }
        return Head(manifest, held.record.paths, refs)

    async def _content(
        self, held: HeldSnapshot, raw: bytes, blobs: dict[str, int]
    ) -> AsyncGenerator[bytes, None]:
        yield archive.entry(archive.HEAD_NAME, len(raw)) + raw + archive.padding(len(raw))
        noted_at = 0.0
        for etag, size_bytes in blobs.items():
            if time.monotonic() - noted_at > USE_NOTED_EVERY_S:
                noted_at = time.monotonic()
                await self._models.note_use(held.key, time.time())
            fd = await asyncio.to_thread(self._opened, etag, size_bytes)
            try:
                yield archive.entry(f"blobs/{etag}", size_bytes)
                offset = 0
                while offset < size_bytes:
                    try:
                        part = await asyncio.to_thread(
                            os.pread, fd, min(PART_BYTES, size_bytes - offset), offset
                        )
                    except OSError as error:
                        raise StorageFailed(etag, error.strerror or str(error)) from error
                    if not part:
                        raise StorageFailed(etag, "the file became shorter while it was read")
                    offset += len(part)
                    yield part
                yield archive.padding(size_bytes)
            finally:
                os.close(fd)
        yield archive.END

    def _opened(self, etag: str, size_bytes: int) -> int:
        path = self._blobs.path(etag)
        try:
            fd = open_unmarked(path)
        except OSError as error:
            raise StorageFailed(str(path), error.strerror or str(error)) from error
        if os.fstat(fd).st_size != size_bytes:
            os.close(fd)
            raise StorageFailed(str(path), "has another length than its manifest says")
        return fd

    async def import_(self, chunks: AsyncIterator[bytes]) -> ImportedView:
        """Verifies each blob, publishes when all are there, and takes over what is verified even if a later one fails.

        Raises InvalidRequest for a file that is no whole export, HashMismatch, NoSpace before anything is written.
        """
        reader = ArchiveReader(chunks)
        head = await reader.head()
        blobs = head.blobs
        names = {file.etag: file.path for file in reversed(head.files)}
        needed = frozenset(blobs)
        self._arriving.append(needed)
        try:
            missing = {etag: size for etag, size in blobs.items() if not self._blobs.has(etag, size)}
            needs = tuple(BlobNeed(etag, size, names[etag], 0) for etag, size in missing.items())
            repo, commit = head.manifest.repo, head.manifest.commit
            await self._planner.check_room(needs, needed, (repo.folder, commit))
            for _ in range(len(blobs)):
                etag, size_bytes = await reader.blob()
                if blobs.get(etag) != size_bytes:
                    raise InvalidRequest(f"the file has a blob {etag} that its manifest does not name so")
                if etag in missing:
                    await self._take(reader, etag, size_bytes, names[etag])
                    del missing[etag]
                else:
                    async for _ in reader.content(size_bytes):
                        pass
            if missing:
                raise InvalidRequest(f"the file lacks the content of {names[next(iter(missing))]}")
            return await self._publish(
                head, reused_bytes=sum(blobs.values()) - sum(n.size_bytes for n in needs)
            )
        finally:
            self._arriving.remove(needed)

    async def _take(self, reader: ArchiveReader, etag: str, size_bytes: int, name: str) -> None:
        taken = TakenBlob(self._blobs, etag, size_bytes)
        run = self._blobs.workers.run
        try:
            await run(taken.open)
            async for part in reader.content(size_bytes):
                await run(taken.write, part)
            await run(taken.accept, name)
        finally:
            await run(taken.drop)

    async def follow(self, manifest: Manifest, refs: Mapping[str, float]) -> list[str]:
        """Remembers that each ref led to the commit at a time, and returns those of which this node knows no later commit."""
        followed = []
        for name, at in refs.items():
            known = self._manifests.ref(manifest.repo, name)
            if known is not None and known.resolved_at_s > at and known.commit != manifest.commit:
                continue
            followed.append(name)
            await self._manifests.save_ref(manifest.repo, name, manifest.commit, at)
        return followed

    async def _publish(self, head: Head, reused_bytes: int) -> ImportedView:
        manifest = head.manifest
        await self._manifests.save(manifest)
        refs = await self.follow(manifest, head.refs)
        path = await self._models.publish_files(manifest, head.files, refs, pin=False)
        log.info("%s@%s was imported, verified and published at %s", manifest.repo, manifest.commit, path)
        return ImportedView(
            manifest.repo.type,
            manifest.repo.id,
            manifest.commit,
            tuple(sorted(refs)),
            len(head.files),
            sum(head.blobs.values()),
            reused_bytes,
            path,
        )
