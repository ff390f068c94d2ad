"""Manifests and refs survive a restart; what is damaged counts as absent."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distd.core.refs import Repo
from distd.store.blobs import BlobStore
from distd.store.manifests import ManifestStore, ResolvedRef
from tests.store.conftest import make_manifest

REPO = Repo("model", "acme/tiny")
COMMIT, OTHER = "a1" * 20, "b2" * 20
MANIFEST = make_manifest(REPO, COMMIT, {"config.json": b"{}", "sub/model.safetensors": b"weights"})


@pytest.fixture
def manifests(store: BlobStore) -> ManifestStore:
    return ManifestStore(store.store_dir, store.workers)


def path_of(store: BlobStore, name: str) -> Path:
    return store.store_dir / "manifests" / REPO.folder / name


async def test_a_manifest_is_what_was_saved(manifests: ManifestStore) -> None:
    await manifests.save(MANIFEST)
    await manifests.save(MANIFEST)

    assert manifests.load(REPO, COMMIT) == MANIFEST
    assert manifests.load(REPO, OTHER) is None
    assert manifests.load(Repo("dataset", "acme/tiny"), COMMIT) is None
    assert manifests.load(REPO, "main") is None
    assert list(manifests.list()) == [(REPO, COMMIT)]


async def test_old_repos_without_an_organisation_are_listed(manifests: ManifestStore) -> None:
    gpt2 = Repo("model", "gpt2")
    await manifests.save(make_manifest(gpt2, COMMIT, {"a": b""}))

    assert list(manifests.list()) == [(gpt2, COMMIT)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.integers(0), st.integers(1, 255), st.booleans())
def test_a_damaged_manifest_is_absent_or_still_safe(
    tmp_path: Path, position: int, flip: int, cut: bool
) -> None:
    async def scenario() -> None:
        store = BlobStore(tmp_path / "store")
        store.open()
        manifests = ManifestStore(store.store_dir, store.workers)
        await manifests.save(MANIFEST)
        content = bytearray(path_of(store, f"{COMMIT}.json").read_bytes())
        at = position % len(content)
        content[at] ^= flip
        path_of(store, f"{COMMIT}.json").write_bytes(content[:at] if cut else content)

        loaded = manifests.load(REPO, COMMIT)

        assert loaded is None or (loaded.repo, loaded.commit, len(loaded.files)) == (REPO, COMMIT, 2)
        await store.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "entry",
    [
        ["../../escape", 1, "ab" * 32, "", None],
        ["file", 1, "not-a-hash", "", None],
        ["file", True, "ab" * 32, "", None],
        ["file", 1, "ab" * 32, None, None],
        ["file", 1],
        "file",
    ],
)
async def test_a_manifest_with_one_bad_entry_is_absent(
    store: BlobStore, manifests: ManifestStore, entry: object
) -> None:
    await manifests.save(MANIFEST)
    content = json.loads(path_of(store, f"{COMMIT}.json").read_bytes())
    content["files"].append(entry)
    path_of(store, f"{COMMIT}.json").write_text(json.dumps(content))

    assert manifests.load(REPO, COMMIT) is None


async def test_refs_remember_where_they_pointed(manifests: ManifestStore) -> None:
    await asyncio.gather(
        *(manifests.save_ref(REPO, name, COMMIT, 5.0) for name in ("main", "refs/pr/1", "v1.0"))
    )
    await manifests.save_ref(REPO, "main", OTHER, 6.5)

    assert manifests.ref(REPO, "main") == ResolvedRef(OTHER, 6.5)
    assert manifests.ref(REPO, "refs/pr/1") == ResolvedRef(COMMIT, 5.0)
    assert manifests.ref(REPO, "dev") is None
    assert list(manifests.list()) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b'{"main": 1}', b'{"main": {"commit": "x", "resolved_at_s": 1}}', b"\xff" * 9],
)
async def test_damaged_refs_are_absent(store: BlobStore, manifests: ManifestStore, content: bytes) -> None:
    await manifests.save_ref(REPO, "main", COMMIT, 5.0)
    path_of(store, "refs.json").write_bytes(content)

    assert manifests.refs(REPO) == {}
    await manifests.save_ref(REPO, "v1", COMMIT, 7.0)
    assert manifests.ref(REPO, "v1") == ResolvedRef(COMMIT, 7.0)


async def test_deleting_takes_the_refs_along_and_nothing_else(
    store: BlobStore, manifests: ManifestStore
) -> None:
    await manifests.save(MANIFEST)
    await manifests.save(make_manifest(REPO, OTHER, {"a": b""}))
    await manifests.save_ref(REPO, "main", OTHER, 1.0)
    await manifests.save_ref(REPO, "v1", COMMIT, 1.0)

    manifests.delete(REPO, COMMIT)
    manifests.delete(REPO, COMMIT)

    assert list(manifests.list()) == [(REPO, OTHER)]
    assert manifests.refs(REPO) == {"main": ResolvedRef(OTHER, 1.0)}
    manifests.delete(REPO, OTHER)
    assert not path_of(store, "").exists()
