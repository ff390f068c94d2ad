"""The Hugging Face cache: verified blobs made visible to every program that reads one, and taken out again.

`publish` follows the layout of huggingface_hub 2.4 so closely that its client serves the result offline
and finds nothing to download online. Steps live in `repodir`; here they get their order, their threads
and one writer at a time per repo.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from distd.core.manifest import Manifest, ManifestFile, checked_path
from distd.core.refs import Repo, is_commit, parse_revision
from distd.errors import StorageFailed
from distd.store.blobs import BlobStore
from distd.store.disk import reported_for, write_durably
from distd.store.repodir import RepoDir, content_of, unique_etags
from distd.store.workers import StopFlag

CACHEDIR_TAG = (
    b"Signature: 8a477f597d28d172789f06886806bc55\n"
    b"# This file tells backup programs that what lies here can be fetched again: see bford.info/cachedir\n"
)
MISSING = "missing"
"""Stands for the hash of a file that is not there."""


def pin_ref(commit: str) -> str:
    """Name of the ref for a commit that was pulled by its hash.

    No branch leads to it, and `hf cache prune` removes snapshots that no ref leads to.
    """
    return f"distd-{commit[:12]}"


def _checked_commit(commit: str) -> str:
    if not is_commit(commit):
        raise ValueError(f"{commit!r} is no commit")
    return commit


class HubCache:
    """A cache directory (`HF_HUB_CACHE`) fed from `blobs`, whose directory is on the same file system."""

    def __init__(self, hub_dir: Path, blobs: BlobStore, *, dir_mode: int = 0o755) -> None:
        """`dir_mode` is subject to the umask; setgid and access lists come from the parent directory."""
        self.hub_dir = hub_dir
        self._blobs = blobs
        self._workers = blobs.workers
        self._dir_mode = dir_mode
        self._locks: dict[str, asyncio.Lock] = {}

    async def publish(
        self, manifest: Manifest, files: Iterable[ManifestFile], refs: Sequence[str], complete: bool
    ) -> Path:
        """Makes `files` of the commit visible and points `refs` at it; returns the snapshot directory.

        Every blob must be in the store. Refs that are commits, or none at all, get a `pin_ref`. `complete`
        says that the snapshot then has all files of the manifest; it is checked. Idempotent; after a crash
        anywhere the same call completes it. Raises NoSpace, StorageFailed, ValueError for a false `complete`,
        InvalidRequest or UnsafePath for a name that would leave its directory.
        """
        commit = _checked_commit(manifest.commit)
        names = sorted({pin_ref(commit) if is_commit(ref) else parse_revision(ref) for ref in refs})
        chosen = tuple(files)
        for file in chosen:
            checked_path(file.path)
        async with self._lock(manifest.repo):
            return await self._workers.run_stoppable(
                self._publish, manifest, chosen, names or [pin_ref(commit)], complete
            )

    def _publish(
        self,
        stop: StopFlag,
        manifest: Manifest,
        files: tuple[ManifestFile, ...],
        refs: list[str],
        complete: bool,
    ) -> Path:
        repo = self._repo_dir(manifest.repo)
        with reported_for(repo.path):
            self._prepare(manifest.repo)
            repo.prepare()
            for etag, size_bytes in unique_etags(files).items():
                if not self._blobs.has(etag, size_bytes):
                    raise StorageFailed(str(self._blobs.path(etag)), "the verified blob is not in the store")
                repo.place_blob(stop, etag, self._blobs.path(etag))
            repo.place_snapshot(stop, manifest.commit, files)
            if complete:
                if not self.is_published(manifest.repo, manifest.commit, manifest.files):
                    raise ValueError(f"{manifest!r} is not complete with {len(files)} files")
                repo.place_tree(manifest)
            for name in refs:
                repo.place_ref(name, manifest.commit)
            repo.tidy()
        return repo.path / "snapshots" / manifest.commit

    def _prepare(self, repo: Repo) -> None:
        self.hub_dir.mkdir(mode=self._dir_mode, parents=True, exist_ok=True)
        for directory in (self.hub_dir / ".locks", self.hub_dir / ".locks" / repo.folder):
            directory.mkdir(mode=self._dir_mode, exist_ok=True)
        tag = self.hub_dir / "CACHEDIR.TAG"
        if not tag.exists():
            write_durably(tag, CACHEDIR_TAG, self._blobs.scratch_dir)

    def is_published(self, repo: Repo, commit: str, files: Iterable[ManifestFile]) -> bool:
        """Whether each file is there with its length. Nothing is read; `verify` does that."""
        directory = self._repo_dir(repo)
        try:
            return all(
                os.stat(directory.pointer(commit, file.path)).st_size == file.size_bytes for file in files
            )
        except OSError:
            return False

    async def find(self, repo: Repo, etag: str, size_bytes: int) -> Path | None:
        """A file of this length that the repo's directory holds under the blob's name, to `BlobStore.adopt`.

        Links are followed as long as they stay inside the cache.
        """
        place = self._repo_dir(repo).blob(etag)

        def look() -> Path | None:
            try:
                path = place.resolve(strict=True)
                found = path.is_file() and path.stat().st_size == size_bytes
                return path if found and path.is_relative_to(self.hub_dir.resolve()) else None
            except (OSError, RuntimeError):
                return None

        return await self._workers.run(look)

    async def unpublish(self, repo: Repo, commit: str) -> int:
        """Takes a commit out of the cache; returns the bytes that come free on disk. Idempotent.

        Blobs that the store holds free nothing yet: `BlobStore.remove` them for that. Raises StorageFailed.
        """
        directory = self._repo_dir(repo)
        _checked_commit(commit)

        def remove() -> int:
            with reported_for(directory.path):
                return directory.remove_snapshot(commit, self._blobs.store_dir / "blobs")

        async with self._lock(repo):
            return await self._workers.run(remove)

    async def verify(
        self, repo: Repo, commit: str, files: Iterable[ManifestFile]
    ) -> list[tuple[str, str, str]]:
        """Reads every file; returns (path, expected, actual) of each that is wrong, `MISSING` if it is not there.

        Raises StorageFailed when one cannot be read.
        """
        return await self._workers.run_long(self._verify, self._repo_dir(repo), commit, tuple(files))

    def _verify(
        self, stop: StopFlag, directory: RepoDir, commit: str, files: tuple[ManifestFile, ...]
    ) -> list[tuple[str, str, str]]:
        actual: dict[tuple[str, str], str] = {}
        wrong: list[tuple[str, str, str]] = []
        for file in files:
            pointer = directory.pointer(commit, file.path)
            with reported_for(pointer):
                key = (os.path.realpath(pointer), file.etag)
                if key not in actual:
                    actual[key] = content_of(stop, pointer, file.etag) or MISSING
            if actual[key] != file.etag:
                wrong.append((file.path, file.etag, actual[key]))
        return wrong

    def snapshots(self, repo: Repo) -> list[str]:
        """Commits with a snapshot directory, whole or partial, ours or not."""
        return self._repo_dir(repo).snapshots()

    def refs(self, repo: Repo) -> dict[str, str]:
        """Every ref with its commit."""
        return self._repo_dir(repo).refs()

    def _repo_dir(self, repo: Repo) -> RepoDir:
        return RepoDir(self.hub_dir / repo.folder, self._dir_mode)

    def _lock(self, repo: Repo) -> asyncio.Lock:
        return self._locks.setdefault(repo.folder, asyncio.Lock())
