"""A store and a cache on a real directory, and repos made of bytes."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from distd.core.manifest import Manifest, ManifestFile, checked_files
from distd.core.refs import Repo
from distd.store.blobs import BlobStore
from distd.store.cache import HubCache
from distd.store.hashing import PrefixHasher

PIECE_BYTES = 64 << 10


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def manifest_file(path: str, content: bytes) -> ManifestFile:
    """Weights are LFS files, everything else is kept by git, as on the Hub."""
    if path.endswith((".safetensors", ".bin")):
        etag = hashlib.sha256(content).hexdigest()
        return ManifestFile(path, len(content), etag, git_sha1(b"pointer to " + etag.encode()), "ab" * 32)
    return ManifestFile(path, len(content), git_sha1(content), git_sha1(content))


def make_manifest(repo: Repo, commit: str, contents: Mapping[str, bytes]) -> Manifest:
    return Manifest(repo, commit, checked_files(manifest_file(p, c) for p, c in contents.items()))


async def fill(store: BlobStore, etag: str, content: bytes) -> Path:
    """Brings content into the store the way the daemon does: incoming, hashed while it lands, accepted."""
    incoming = await store.incoming(etag, len(content), PIECE_BYTES)
    hasher = PrefixHasher(incoming)
    if content:
        writer = incoming.writer(0, "hub", lambda index, changed: None)
        await writer.write(content)
        await writer.close()
    return await store.accept(incoming, await hasher.finish())


async def fill_all(store: BlobStore, contents: Mapping[str, bytes]) -> None:
    for path, content in contents.items():
        file = manifest_file(path, content)
        if not store.has(file.etag, file.size_bytes):
            await fill(store, file.etag, content)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[BlobStore]:
    store = BlobStore(tmp_path / "store")
    store.open()
    yield store
    await store.close()


@pytest.fixture
def cache(tmp_path: Path, store: BlobStore) -> HubCache:
    return HubCache(tmp_path / "hub", store)
