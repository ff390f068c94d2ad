"""Removing a snapshot, cut short after each of its steps: the next start ends it, and nothing stays behind."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from distd.core.manifest import Manifest, ManifestFile, checked_files
from distd.core.refs import Repo
from distd.models import ModelService
from distd.state.database import Database
from distd.state.snapshots import SnapshotRecord, SnapshotTable
from distd.store.blobs import BlobStore
from distd.store.cache import HubCache
from distd.store.manifests import ManifestStore

REPO = Repo("model", "org/name")
COMMIT = "c0" * 20
CONTENT = b"weights"
FILE = ManifestFile("a.safetensors", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
MANIFEST = Manifest(REPO, COMMIT, checked_files([FILE]))


class Node:
    """What a daemon opens to know its models, on one directory."""

    def __init__(self, directory: Path, database: Database) -> None:
        self.blobs = BlobStore(directory / "store")
        self.blobs.open()
        self.cache = HubCache(directory / "hub", self.blobs)
        self.manifests = ManifestStore(directory / "store", self.blobs.workers)
        self.table = SnapshotTable(database)
        self.models = ModelService(
            cache=self.cache,
            blobs=self.blobs,
            manifests=self.manifests,
            table=self.table,
            is_pulling=lambda type_, repo: False,
            needed_etags=set,
        )

    async def publish(self, directory: Path) -> None:
        found = directory / "found"
        found.write_bytes(CONTENT)
        await self.blobs.adopt(FILE.etag, FILE.size_bytes, found)
        found.unlink()
        await self.manifests.save(MANIFEST)
        await self.cache.publish(MANIFEST, [FILE], ["main"], complete=True)
        await self.table.save(
            REPO.folder,
            SnapshotRecord(
                type="model",
                repo=REPO.id,
                commit=COMMIT,
                paths=None,
                size_bytes=len(CONTENT),
                files=1,
                published_at=0.0,
                removing=True,
            ),
        )

    def left(self) -> list[str]:
        places = [self.cache.hub_dir / REPO.folder, self.blobs.path(FILE.etag), *self.manifests.list()]
        return [str(place) for place in places if not isinstance(place, Path) or place.exists()]


@pytest.fixture
async def node(tmp_path: Path, database: Database) -> AsyncIterator[Node]:
    node = Node(tmp_path, database)
    await node.publish(tmp_path)
    yield node
    await node.blobs.close()


@pytest.mark.parametrize("steps", range(4))
async def test_a_start_ends_a_removal_wherever_it_was_cut_short(node: Node, steps: int) -> None:
    if steps >= 1:
        await node.cache.unpublish(REPO, COMMIT)
    if steps >= 2:
        node.blobs.remove(FILE.etag)
    if steps >= 3:
        node.manifests.delete(REPO, COMMIT)

    await node.models.open()

    assert node.left() == []
    assert await node.table.load() == {}
    assert (await node.models.page(None, 10))[0] == []
