"""Publishing beside other writers: what is right stays, what is wrong goes, nothing is written through."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from pathlib import Path

import pytest

from distd.core.manifest import ManifestFile
from distd.core.refs import Repo
from distd.errors import InvalidRequest, StorageFailed, UnsafePath
from distd.store.blobs import BlobStore
from distd.store.cache import MISSING, HubCache, pin_ref
from tests.store.conftest import fill_all, make_manifest
from tests.store.test_cache_with_client import client, tree_of

REPO = Repo("model", "acme/tiny")
COMMIT, OTHER = "a1" * 20, "b2" * 20
CONTENTS = {
    "config.json": b"{}",
    "deep/er/model.safetensors": os.urandom(100_000),
    "tokenizer.json": b"tokens",
}
MANIFEST = make_manifest(REPO, COMMIT, CONTENTS)
WEIGHTS = MANIFEST.by_path["deep/er/model.safetensors"]


async def publish(store: BlobStore, cache: HubCache, *refs: str) -> Path:
    await fill_all(store, CONTENTS)
    return await cache.publish(MANIFEST, MANIFEST.files, refs or ("main",), complete=True)


def inodes(directory: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns)
        for path in directory.rglob("*")
        if not path.is_dir()
    }


async def test_blobs_are_one_file_with_the_store_and_links_are_relative(
    store: BlobStore, cache: HubCache
) -> None:
    snapshot = await publish(store, cache)

    assert os.readlink(snapshot / "config.json") == f"../../blobs/{MANIFEST.by_path['config.json'].etag}"
    assert os.readlink(snapshot / WEIGHTS.path) == f"../../../../blobs/{WEIGHTS.etag}"
    assert (snapshot / WEIGHTS.path).samefile(store.path(WEIGHTS.etag))
    assert (cache.hub_dir / REPO.folder / "refs" / "main").read_bytes() == COMMIT.encode()
    assert cache.refs(REPO) == {"main": COMMIT}
    assert cache.snapshots(REPO) == [COMMIT]
    assert cache.is_published(REPO, COMMIT, MANIFEST.files)
    assert not cache.is_published(REPO, OTHER, MANIFEST.files)


async def test_publishing_again_changes_nothing(store: BlobStore, cache: HubCache) -> None:
    await publish(store, cache)
    before = inodes(cache.hub_dir)

    await publish(store, cache)
    await asyncio.gather(*(publish(store, cache) for _ in range(3)))

    assert inodes(cache.hub_dir) == before
    assert [path.name for path in (cache.hub_dir / REPO.folder).iterdir() if path.name == ".distd"] == []


async def test_modes_follow_the_umask_and_the_group_follows_the_cache(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        (tmp_path / "hub").mkdir()
        if os.geteuid() == 0:
            os.chown(tmp_path / "hub", -1, 4321)
        (tmp_path / "hub").chmod(0o2750)
        store = BlobStore(tmp_path / "store")
        store.open()
        cache = HubCache(tmp_path / "hub", store)
        await publish(store, cache)
        await store.close()
    finally:
        os.umask(old)

    group = (tmp_path / "hub").stat().st_gid
    for path in (tmp_path / "hub" / REPO.folder).rglob("*"):
        if path.is_symlink():
            continue
        assert path.stat().st_gid == group, path
        expected = 0o2750 if path.is_dir() else 0o440 if path.parent.name == "blobs" else 0o640
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


async def test_a_wrong_blob_is_replaced_in_one_step(store: BlobStore, cache: HubCache) -> None:
    place = cache.hub_dir / REPO.folder / "blobs" / WEIGHTS.etag
    place.parent.mkdir(parents=True)
    place.write_bytes(bytes(WEIGHTS.size_bytes))
    reader = place.open("rb")

    snapshot = await publish(store, cache)

    assert tree_of(snapshot) == CONTENTS
    assert reader.read() == bytes(WEIGHTS.size_bytes)  # whoever has the old one open keeps it as it was
    reader.close()


async def test_a_right_blob_of_another_writer_stays(store: BlobStore, cache: HubCache) -> None:
    place = cache.hub_dir / REPO.folder / "blobs" / WEIGHTS.etag
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENTS[WEIGHTS.path])
    inode = place.stat().st_ino

    snapshot = await publish(store, cache)

    assert place.stat().st_ino == inode
    assert tree_of(snapshot) == CONTENTS


@pytest.mark.parametrize("right", [True, False])
async def test_a_link_into_the_shared_xet_store_is_never_written_through(
    store: BlobStore, cache: HubCache, right: bool
) -> None:
    xet = cache.hub_dir / "blobs" / "cd" / ("cd" * 32)
    xet.parent.mkdir(parents=True)
    (cache.hub_dir / "blobs" / ".huggingface-shared-blobs").write_text("1")
    shared = CONTENTS[WEIGHTS.path] if right else bytes(WEIGHTS.size_bytes)
    xet.write_bytes(shared)
    place = cache.hub_dir / REPO.folder / "blobs" / WEIGHTS.etag
    place.parent.mkdir(parents=True)
    place.symlink_to(os.path.relpath(xet, place.parent))

    found = await cache.find(REPO, WEIGHTS.etag, WEIGHTS.size_bytes)
    snapshot = await publish(store, cache)

    assert found == xet
    assert xet.read_bytes() == shared
    assert place.is_symlink() == right
    assert tree_of(snapshot) == CONTENTS
    assert client("snapshot_download", cache.hub_dir, repo_id=REPO.id) == str(snapshot)


async def test_a_blob_that_leads_nowhere_is_replaced(store: BlobStore, cache: HubCache) -> None:
    place = cache.hub_dir / REPO.folder / "blobs" / WEIGHTS.etag
    place.parent.mkdir(parents=True)
    place.symlink_to("gone")
    loop = place.with_name(MANIFEST.by_path["config.json"].etag)
    loop.symlink_to(loop.name)

    assert await cache.find(REPO, WEIGHTS.etag, WEIGHTS.size_bytes) is None
    assert await cache.find(REPO, loop.name, 2) is None
    assert tree_of(await publish(store, cache)) == CONTENTS


async def test_files_that_another_writer_put_into_the_snapshot(store: BlobStore, cache: HubCache) -> None:
    snapshot = cache.hub_dir / REPO.folder / "snapshots" / COMMIT
    (snapshot / "deep" / "er").mkdir(parents=True)
    (snapshot / "config.json").write_bytes(CONTENTS["config.json"])  # a real file, and right: stays
    (snapshot / "tokenizer.json").write_bytes(b"broken")  # a real file, and wrong: goes
    (snapshot / WEIGHTS.path).symlink_to("/dev/null")  # a link elsewhere: goes

    await publish(store, cache)

    assert tree_of(snapshot) == CONTENTS
    assert not (snapshot / "config.json").is_symlink()
    assert os.readlink(snapshot / WEIGHTS.path) == f"../../../../blobs/{WEIGHTS.etag}"
    assert (client("scan", cache.hub_dir)) == {"warnings": [], "repos": {REPO.id: {COMMIT: ["main"]}}}


async def test_an_absolute_link_to_the_blob_stays(store: BlobStore, cache: HubCache) -> None:
    snapshot = cache.hub_dir / REPO.folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    target = cache.hub_dir / REPO.folder / "blobs" / MANIFEST.by_path["config.json"].etag
    (snapshot / "config.json").symlink_to(target)

    await publish(store, cache)

    assert os.readlink(snapshot / "config.json") == str(target)
    assert client("snapshot_download", cache.hub_dir, repo_id=REPO.id) == str(snapshot)


@pytest.mark.parametrize("trap", ["deep", "deep/er"])
async def test_a_directory_that_leads_elsewhere_is_refused(
    store: BlobStore, cache: HubCache, tmp_path: Path, trap: str
) -> None:
    snapshot = cache.hub_dir / REPO.folder / "snapshots" / COMMIT
    (snapshot / trap).parent.mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (snapshot / trap).symlink_to(tmp_path / "outside")

    with pytest.raises(StorageFailed, match="not a directory"):
        await publish(store, cache)

    assert list((tmp_path / "outside").rglob("*")) == []
    assert cache.refs(REPO) == {}


async def test_nothing_is_published_without_its_verified_blob(store: BlobStore, cache: HubCache) -> None:
    await fill_all(store, {"config.json": CONTENTS["config.json"]})

    with pytest.raises(StorageFailed, match="not in the store"):
        await cache.publish(MANIFEST, MANIFEST.files, ["main"], complete=True)

    assert cache.snapshots(REPO) == []
    assert cache.refs(REPO) == {}


async def test_names_that_would_leave_the_repo_are_refused(store: BlobStore, cache: HubCache) -> None:
    await fill_all(store, CONTENTS)
    outside = ManifestFile("../../../escape", 2, MANIFEST.by_path["config.json"].etag)

    with pytest.raises(InvalidRequest):
        await cache.publish(MANIFEST, MANIFEST.files, ["../../escape"], complete=True)
    with pytest.raises(UnsafePath):
        await cache.publish(MANIFEST, [outside], ["main"], complete=False)
    for commit in ("", "..", "main"):
        with pytest.raises(ValueError, match="no commit"):
            await cache.unpublish(REPO, commit)

    assert not cache.hub_dir.exists()


async def test_a_stale_ref_in_the_way_of_a_new_name_goes(store: BlobStore, cache: HubCache) -> None:
    await publish(store, cache, "feature")
    await publish(store, cache, "feature/one", "main")
    assert cache.refs(REPO) == {"feature/one": COMMIT, "main": COMMIT}

    await publish(store, cache, "feature")

    assert cache.refs(REPO) == {"feature": COMMIT, "main": COMMIT}


async def test_a_branch_that_moved_leaves_both_snapshots(store: BlobStore, cache: HubCache) -> None:
    await publish(store, cache, "main", COMMIT)
    newer = make_manifest(REPO, OTHER, {"config.json": b"{}", "tokenizer.json": b"new tokens"})
    await fill_all(store, {"config.json": b"{}", "tokenizer.json": b"new tokens"})

    await cache.publish(newer, newer.files, ["main"], complete=True)

    assert cache.refs(REPO) == {"main": OTHER, pin_ref(COMMIT): COMMIT}
    assert client("scan", cache.hub_dir) == {
        "warnings": [], "repos": {REPO.id: {COMMIT: [pin_ref(COMMIT)], OTHER: ["main"]}},
    }  # fmt: skip


async def test_unpublishing_frees_what_nothing_else_needs(store: BlobStore, cache: HubCache) -> None:
    await publish(store, cache)
    newer = make_manifest(REPO, OTHER, {"config.json": b"{}"})
    await cache.publish(newer, newer.files, ["next"], complete=True)
    copy = make_manifest(Repo("model", "other/copy"), COMMIT, {WEIGHTS.path: CONTENTS[WEIGHTS.path]})
    await cache.publish(copy, copy.files, ["main"], complete=True)
    tokens = MANIFEST.by_path["tokenizer.json"]
    store.remove(tokens.etag)

    freed = await cache.unpublish(REPO, COMMIT)

    assert freed == tokens.size_bytes  # the weights stay in the store and in the other repo
    assert store.remove(WEIGHTS.etag) == 0
    assert await cache.unpublish(copy.repo, COMMIT) == WEIGHTS.size_bytes
    assert cache.snapshots(REPO) == [OTHER]
    assert not await cache.verify(REPO, OTHER, newer.files)
    assert await cache.unpublish(REPO, COMMIT) == 0
    assert await cache.unpublish(Repo("model", "never/seen"), COMMIT) == 0
    assert client("scan", cache.hub_dir) == {"warnings": [], "repos": {REPO.id: {OTHER: ["next"]}}}


async def test_unpublishing_clears_blobs_that_an_earlier_removal_left(
    store: BlobStore, cache: HubCache
) -> None:
    snapshot = await publish(store, cache)
    (cache.hub_dir / REPO.folder / "refs" / "main").unlink()
    shutil.rmtree(snapshot)

    await cache.unpublish(REPO, COMMIT)

    assert not (cache.hub_dir / REPO.folder).exists()
    assert store.remove(WEIGHTS.etag) == WEIGHTS.size_bytes


async def test_unpublishing_leaves_another_writers_download_alone(store: BlobStore, cache: HubCache) -> None:
    await publish(store, cache)
    blobs = cache.hub_dir / REPO.folder / "blobs"
    (blobs / ("ee" * 32 + ".12345678.incomplete")).write_bytes(b"half")
    (blobs / ("ff" * 32)).write_bytes(b"not linked yet")

    await cache.unpublish(REPO, COMMIT)

    assert {path.name for path in blobs.iterdir()} == {"ee" * 32 + ".12345678.incomplete", "ff" * 32}


async def test_verify_names_every_wrong_file(store: BlobStore, cache: HubCache) -> None:
    snapshot = await publish(store, cache)
    assert await cache.verify(REPO, COMMIT, MANIFEST.files) == []
    blob = store.path(WEIGHTS.etag)
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.write(b"\0" * 100)
    (snapshot / "config.json").unlink()

    wrong = await cache.verify(REPO, COMMIT, MANIFEST.files)

    assert [(path, expected) for path, expected, _ in wrong] == [
        ("config.json", MANIFEST.by_path["config.json"].etag), (WEIGHTS.path, WEIGHTS.etag),
    ]  # fmt: skip
    assert wrong[0][2] == MISSING
    assert len(wrong[1][2]) == 64
    assert not cache.is_published(REPO, COMMIT, MANIFEST.files)


async def test_a_quarantined_blob_is_replaced_everywhere_by_the_next_publish(
    store: BlobStore, cache: HubCache
) -> None:
    await publish(store, cache)
    blob = store.path(WEIGHTS.etag)
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.write(b"\0" * 100)
    store.quarantine(WEIGHTS.etag)

    await publish(store, cache)

    assert await cache.verify(REPO, COMMIT, MANIFEST.files) == []


async def test_an_existing_cache_is_found_and_adopted(store: BlobStore, cache: HubCache) -> None:
    place = cache.hub_dir / REPO.folder / "blobs" / WEIGHTS.etag
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENTS[WEIGHTS.path])

    found = await cache.find(REPO, WEIGHTS.etag, WEIGHTS.size_bytes)

    assert found is not None
    assert await cache.find(REPO, WEIGHTS.etag, WEIGHTS.size_bytes + 1) is None
    assert await store.adopt(WEIGHTS.etag, WEIGHTS.size_bytes, found)
    assert store.path(WEIGHTS.etag).samefile(place)


async def test_files_outside_the_cache_are_not_offered_for_adoption(
    store: BlobStore, cache: HubCache, tmp_path: Path
) -> None:
    (tmp_path / "private").write_bytes(CONTENTS[WEIGHTS.path])
    place = cache.hub_dir / REPO.folder / "blobs" / WEIGHTS.etag
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / "private")

    assert await cache.find(REPO, WEIGHTS.etag, WEIGHTS.size_bytes) is None


async def test_a_tree_list_that_only_its_writer_can_read_is_made_readable(
    store: BlobStore, cache: HubCache
) -> None:
    await publish(store, cache)
    tree = cache.hub_dir / REPO.folder / "trees" / f"{COMMIT}.json"
    content = tree.read_bytes()
    tree.chmod(0o600)

    await publish(store, cache)

    assert tree.read_bytes() == content
    assert stat.S_IMODE(tree.stat().st_mode) & 0o040
