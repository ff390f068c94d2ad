"""Models: what the cache holds, as the API's resource, and the publishing of a pull's snapshot.

The disk says what is published; the database adds what the disk cannot tell (pins, dates, which files
a filtered snapshot was meant to have). A snapshot somebody removed with `hf cache rm` is forgotten here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import msgspec

from distd.api.schema import BadFile, ModelView, NodeHoldingView, RemovedView, RevisionView, VerifyView
from distd.core.manifest import Manifest, ManifestFile
from distd.core.refs import Repo, is_commit, parse_repo
from distd.errors import Conflict, NotFound
from distd.pulls.active import ActivePull
from distd.pulls.views import rfc3339
from distd.state.snapshots import SnapshotRecord, SnapshotTable
from distd.store.blobs import BlobStore
from distd.store.cache import HubCache, pin_ref
from distd.store.manifests import ManifestStore


class Whereabouts(Protocol):
    """The members of the cluster, asked what they have published."""

    async def published(self, repo: Repo, revision: str) -> list[NodeHoldingView]:
        """In order of their names, this node included; who cannot be asked has `trouble`."""


@dataclass(frozen=True, slots=True)
class HeldSnapshot:
    """A published snapshot and its blobs; without any when its manifest was lost."""

    repo: Repo
    record: SnapshotRecord
    etags: frozenset[str]

    @property
    def key(self) -> tuple[str, str]:
        return self.repo.folder, self.record.commit


class ModelService:
    """Implements the API's `Models`. `open` loads the database; `publish` is handed to the pulls.

    Set `whereabouts` before the API is served: members ask this service too, so it is there first.
    """

    whereabouts: Whereabouts

    def __init__(
        self,
        *,
        cache: HubCache,
        blobs: BlobStore,
        manifests: ManifestStore,
        table: SnapshotTable,
        is_pulling: Callable[[str, str], bool],
        needed_etags: Callable[[], set[str]],
    ) -> None:
        self._cache = cache
        self._blobs = blobs
        self._manifests = manifests
        self._table = table
        self._is_pulling = is_pulling
        self._needed_etags = needed_etags
        self._records: dict[tuple[str, str], SnapshotRecord] = {}
        self._missed: dict[tuple[str, str], SnapshotRecord] = {}
        """Pinned and removed from the cache by somebody: not shown, and its blobs stay for as long as the pin."""

    async def open(self) -> None:
        """Loads what is published, and goes on with removals that a kill cut short. Raises StorageFailed."""
        self._records = await self._table.load()
        for record in [record for record in self._records.values() if record.removing]:
            await self._remove(parse_repo(record.repo, record.type), record)

    async def publish(self, pull: ActivePull) -> str:
        """Makes the pull's snapshot visible and returns its path. Idempotent."""
        assert pull.manifest is not None
        assert pull.files is not None
        refs = [] if is_commit(pull.ref.revision) else [pull.ref.revision]
        return await self.publish_files(pull.manifest, pull.files, refs, pin=pull.request.pin)

    async def publish_files(
        self, manifest: Manifest, files: tuple[ManifestFile, ...], refs: list[str], *, pin: bool
    ) -> str:
        """Makes files of a commit visible, beside those that are already, and `refs` lead to it; returns its path.

        Every blob must be in the store. Idempotent. Raises as `HubCache.publish`.
        """
        folder = manifest.repo.folder
        earlier = self._records.get((folder, manifest.commit)) or self._missed.pop(
            (folder, manifest.commit), None
        )
        paths = {file.path for file in files}
        if earlier is not None and await self._exists(manifest.repo, earlier.commit):
            paths |= set(earlier.paths) if earlier.paths is not None else set(manifest.by_path)
        complete = paths >= set(manifest.by_path)
        path = await self._cache.publish(manifest, files, refs, complete)
        published = [file for file in manifest.files if file.path in paths]
        record = SnapshotRecord(
            type=manifest.repo.type,
            repo=manifest.repo.id,
            commit=manifest.commit,
            paths=None if complete else tuple(sorted(paths)),
            size_bytes=sum({file.etag: file.size_bytes for file in published}.values()),
            files=len(published),
            pinned=pin or (earlier.pinned if earlier else False),
            published_at=time.time(),
            last_used_at=earlier.last_used_at if earlier else None,
        )
        self._records[folder, manifest.commit] = record
        await self._table.save(folder, record)
        return str(path)

    # The API's Models.

    async def page(self, after: str | None, limit: int) -> tuple[list[ModelView], str | None]:
        await self._forget_vanished()
        keys = sorted({(record.type, record.repo) for record in self._records.values()})
        chosen = [key for key in keys if after is None or "/".join(key) > after]
        views = [await self._view(parse_repo(repo, type_)) for type_, repo in chosen[:limit]]
        return views, "/".join(chosen[limit - 1]) if len(chosen) > limit else None

    async def get(self, repo: Repo, use: str | None = None) -> ModelView:
        await self._forget_vanished(repo)
        self._of(repo)
        if use is not None and (record := await self.published(repo, use)):
            await self.note_use((repo.folder, record.commit), time.time())
        return await self._view(repo)

    async def published(self, repo: Repo, revision: str) -> SnapshotRecord | None:
        """The snapshot that a reader of the cache finds at a commit or ref now."""
        try:
            (record, *_) = await self._chosen(repo, revision)
        except NotFound:
            return None
        return record

    async def on_nodes(self, repo: Repo, revision: str) -> list[NodeHoldingView]:
        return await self.whereabouts.published(repo, revision)

    async def contents(self) -> list[tuple[SnapshotRecord, Sequence[ManifestFile]]]:
        """All published snapshots, with their files."""
        await self._forget_vanished()
        records = list(self._records.values())
        return [(each, await self._files(parse_repo(each.repo, each.type), each)) for each in records]

    async def remove(self, repo: Repo, revision: str | None) -> RemovedView:
        records = await self._chosen(repo, revision)
        if self._is_pulling(repo.type, repo.id):
            raise Conflict(f"{repo} is being pulled: cancel the pull first (distctl pulls)")
        pinned = [record.commit[:12] for record in records if record.pinned]
        if pinned:
            raise Conflict(f"{repo} is pinned at {', '.join(pinned)}: distctl unpin it first")
        freed = 0
        for record in records:
            await self._table.save(repo.folder, msgspec.structs.replace(record, removing=True))
            freed += await self._remove(repo, record)
        return RemovedView(tuple(record.commit for record in records), freed)

    async def _remove(self, repo: Repo, record: SnapshotRecord) -> int:
        """Takes it out step by step; returns the bytes that come free. Idempotent, the record goes last."""
        key = repo.folder, record.commit
        manifest = await asyncio.to_thread(self._manifests.load, repo, record.commit)
        freed = await self._cache.unpublish(repo, record.commit)
        self._records.pop(key, None)
        freed += await self._free_unused(manifest)
        if key not in self._records:  # else a pull published it again meanwhile
            self._manifests.delete(repo, record.commit)
            await self._table.delete(*key)
        return freed

    async def verify(self, repo: Repo, revision: str | None) -> VerifyView:
        records = await self._chosen(repo, revision)
        bad: list[BadFile] = []
        seen: dict[str, int] = {}
        files = 0
        for record in records:
            for file in await self._files(repo, record):
                files += 1
                seen[file.etag] = file.size_bytes
            found = await self._cache.verify(repo, record.commit, await self._files(repo, record))
            for path, expected, actual in found:
                bad.append(BadFile(record.commit, path, expected, actual))
                self._blobs.quarantine(expected)
        return VerifyView(
            repo.type,
            repo.id,
            tuple(record.commit for record in records),
            files,
            sum(seen.values()),
            tuple(bad),
        )

    async def pin(self, repo: Repo, revision: str | None, pinned: bool) -> ModelView:
        if not pinned:
            await self._forget_missed(repo, revision)
        for record in await self._chosen(repo, revision):
            changed = msgspec.structs.replace(record, pinned=pinned)
            self._records[repo.folder, record.commit] = changed
            await self._table.save(repo.folder, changed)
        return await self._view(repo)

    async def snapshot(self, repo: Repo, revision: str) -> HeldSnapshot:
        """The one snapshot at a commit or ref. Raises NotFound."""
        (record, *_) = await self._chosen(repo, revision)
        return await self._held(record)

    async def paths_of(self, held: HeldSnapshot, etag: str) -> tuple[str, ...]:
        """The snapshot's files that are this blob."""
        return tuple(file.path for file in await self._files(held.repo, held.record) if file.etag == etag)

    def refs_of(self, repo: Repo, commit: str) -> list[str]:
        """What leads to a commit in the cache, but for names that only protect it there. Blocks."""
        return [
            name
            for name, target in self._cache.refs(repo).items()
            if target == commit and name != pin_ref(commit)
        ]

    # The eviction's side.

    def keys(self) -> set[tuple[str, str]]:
        return set(self._records)

    async def held(self) -> list[HeldSnapshot]:
        """All snapshots that the cache shows, with their blobs. Reads every manifest."""
        await self._forget_vanished()
        return [await self._held(record) for record in list(self._records.values())]

    async def missed(self) -> frozenset[str]:
        """Blobs of pinned snapshots that somebody removed from the cache: they wait for the next pull."""
        held = [await self._held(record) for record in list(self._missed.values())]
        return frozenset(etag for each in held for etag in each.etags)

    async def note_use(self, key: tuple[str, str], at: float) -> SnapshotRecord | None:
        """The snapshot was used then, if not later. Idempotent; None for one that is gone."""
        record = self._records.get(key)
        if record is not None and at > (record.last_used_at or 0.0):
            record = self._records[key] = msgspec.structs.replace(record, last_used_at=at)
            await self._table.save(key[0], record)
        return record

    async def unpublish(self, key: tuple[str, str]) -> int:
        """Takes the snapshot out of the cache; its blobs stay in the store. Returns the bytes that came free.

        Remove the blobs, then call `forget`: until then the next start removes what is left of it. Raises Conflict when it is pinned, StorageFailed.
        """
        record = self._records.get(key)
        if record is None:
            return 0
        if record.pinned:
            raise Conflict(f"{record.repo} is pinned")
        await self._table.save(key[0], msgspec.structs.replace(record, removing=True))
        freed_bytes = await self._cache.unpublish(parse_repo(record.repo, record.type), record.commit)
        self._records.pop(key, None)
        return freed_bytes

    async def forget(self, held: HeldSnapshot) -> None:
        """Ends what `unpublish` began, unless a pull published it again meanwhile. Idempotent."""
        if held.key not in self._records:
            self._manifests.delete(held.repo, held.record.commit)
            await self._table.delete(*held.key)

    async def _held(self, record: SnapshotRecord) -> HeldSnapshot:
        repo = parse_repo(record.repo, record.type)
        return HeldSnapshot(repo, record, frozenset({file.etag for file in await self._files(repo, record)}))

    # Inside.

    async def _forget(self, key: tuple[str, str]) -> None:
        if self._records.pop(key, None) is not None:
            await self._table.delete(*key)

    async def _forget_missed(self, repo: Repo, revision: str | None) -> None:
        for key in [key for key in self._missed if key[0] == repo.folder and revision in (None, key[1])]:
            del self._missed[key]
            await self._table.delete(*key)

    def _of(self, repo: Repo) -> list[SnapshotRecord]:
        """The repo's snapshots, newest first. Raises NotFound."""
        records = [record for (folder, _), record in self._records.items() if folder == repo.folder]
        if not records:
            raise NotFound(f"{repo} is not in the cache: distctl pull {repo.id} fetches it")
        return sorted(records, key=lambda record: -record.published_at)

    async def _chosen(self, repo: Repo, revision: str | None) -> list[SnapshotRecord]:
        """The snapshots a request means: all, or the one at a commit or a ref. Raises NotFound."""
        await self._forget_vanished(repo)
        records = self._of(repo)
        if revision is None:
            return records
        commit = (
            revision
            if is_commit(revision)
            else (await asyncio.to_thread(self._cache.refs, repo)).get(revision)
        )
        chosen = [record for record in records if record.commit == commit]
        if not chosen:
            raise NotFound(
                f"{repo} has no snapshot at {revision} in the cache: distctl ls shows what is there"
            )
        return chosen

    async def _view(self, repo: Repo) -> ModelView:
        records = self._of(repo)
        refs = await asyncio.to_thread(self._cache.refs, repo)
        sizes: dict[str, int] = {}
        for record in records:
            sizes |= {file.etag: file.size_bytes for file in await self._files(repo, record)}
        return ModelView(
            type=repo.type,
            repo=repo.id,
            bytes=sum(sizes.values()),
            revisions=tuple(
                RevisionView(
                    commit=record.commit,
                    refs=tuple(sorted(name for name, commit in refs.items() if commit == record.commit)),
                    complete=record.paths is None,
                    pinned=record.pinned,
                    files=record.files,
                    bytes=record.size_bytes,
                    snapshot_path=str(self._cache.hub_dir / repo.folder / "snapshots" / record.commit),
                    published_at=rfc3339(record.published_at) or "",
                    last_used_at=rfc3339(record.last_used_at),
                )
                for record in records
            ),
        )

    async def _files(self, repo: Repo, record: SnapshotRecord) -> list[ManifestFile]:
        manifest = await asyncio.to_thread(self._manifests.load, repo, record.commit)
        if manifest is None:
            return []
        return [file for file in manifest.files if record.paths is None or file.path in record.paths]

    async def _exists(self, repo: Repo, commit: str) -> bool:
        return commit in await asyncio.to_thread(self._cache.snapshots, repo)

    async def _forget_vanished(self, repo: Repo | None = None) -> None:
        """Drops the records of snapshots that somebody removed from the cache."""
        keys = sorted(key for key in self._records if repo is None or key[0] == repo.folder)
        for folder, group in groupby(keys, key=lambda key: key[0]):
            commits = [commit for _, commit in group]
            record = self._records[folder, commits[0]]
            present = await asyncio.to_thread(self._cache.snapshots, parse_repo(record.repo, record.type))
            for commit in commits:
                if commit in present:
                    continue
                if self._records[folder, commit].pinned:
                    self._missed[folder, commit] = self._records.pop((folder, commit))
                else:
                    await self._forget((folder, commit))

    async def _free_unused(self, manifest: Manifest | None) -> int:
        """Removes the store's copy of blobs that no snapshot and no unfinished pull has; returns the bytes."""
        if manifest is None:
            return 0
        used = self._needed_etags() | await self.missed()
        for record in list(self._records.values()):  # others may publish while files are read
            used |= {file.etag for file in await self._files(parse_repo(record.repo, record.type), record)}
        return sum(self._blobs.remove(etag) for etag in {file.etag for file in manifest.files} - used)
