"""The store's blobs: only verified content gets in, and it gets in by whatever way it is here already."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import time
from pathlib import Path

import pytest

from distd.errors import HashMismatch
from distd.store.blobs import BlobStore
from distd.store.disk import free_bytes, hard_link_fault, umask
from tests.store.conftest import PIECE_BYTES, fill, git_sha1

CONTENT = os.urandom(3 * PIECE_BYTES + 1)
ETAG = hashlib.sha256(CONTENT).hexdigest()


async def test_a_filled_blob_becomes_a_read_only_verified_one(store: BlobStore) -> None:
    path = await fill(store, ETAG, CONTENT)

    assert path == store.path(ETAG)
    assert path.read_bytes() == CONTENT
    assert stat.S_IMODE(path.stat().st_mode) == 0o444 & ~umask()
    assert store.has(ETAG, len(CONTENT))
    assert not store.has(ETAG, len(CONTENT) + 1)
    assert store.blobs() == {ETAG: len(CONTENT)}
    assert list((store.store_dir / "incoming").iterdir()) == []


async def filled_and_kept(store: BlobStore) -> Path:
    """Verified, while something still reads it by its incoming name."""
    incoming = await store.incoming(ETAG, len(CONTENT), PIECE_BYTES)
    writer = incoming.writer(0, "peers", lambda index, changed: None)
    await writer.write(CONTENT)
    await writer.close()
    return await store.accept(incoming, ETAG, keep_name=True)


async def test_a_verified_blob_keeps_its_incoming_name_until_it_is_released(store: BlobStore) -> None:
    path = await filled_and_kept(store)
    incoming = store.incoming_path(ETAG)

    assert incoming.samefile(path)
    assert store.usage_bytes() == len(CONTENT), "counted once"
    assert store.incoming_bytes(ETAG) is None
    store.release(ETAG)
    store.release(ETAG)
    assert not incoming.exists()
    assert path.read_bytes() == CONTENT


async def test_a_start_releases_what_was_still_read_when_the_daemon_died(store: BlobStore) -> None:
    path = await filled_and_kept(store)
    store.open()
    assert not store.incoming_path(ETAG).exists()
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_blob_removed_while_it_was_read_leaves_nothing(store: BlobStore, restarted: bool) -> None:
    await filled_and_kept(store)
    store.remove(ETAG)
    if restarted:
        store.open()
    else:
        store.release(ETAG)
    assert not store.incoming_path(ETAG).exists()


async def test_a_blob_wanted_again_is_not_written_through_the_name_that_was_kept(store: BlobStore) -> None:
    path = await filled_and_kept(store)
    elsewhere = path.with_name("cache")
    elsewhere.hardlink_to(path)
    store.remove(ETAG)

    again = await store.incoming(ETAG, len(CONTENT), PIECE_BYTES)

    assert not again.have
    assert not again.path.samefile(elsewhere)
    assert elsewhere.read_bytes() == CONTENT


async def test_a_crash_before_a_verified_file_got_its_name_loses_nothing(store: BlobStore) -> None:
    incoming = await store.incoming(ETAG, len(CONTENT), PIECE_BYTES)
    writer = incoming.writer(0, "hub", lambda index, changed: None)
    await writer.write(CONTENT)
    await writer.close()
    await incoming.close()
    incoming.path.chmod(0o444)

    store.open()
    again = await store.incoming(ETAG, len(CONTENT), PIECE_BYTES)

    assert again.complete
    assert again.path.stat().st_mode & 0o200


async def test_what_is_being_filled_is_not_released(store: BlobStore) -> None:
    await store.incoming(ETAG, len(CONTENT), PIECE_BYTES)
    store.release(ETAG)
    assert store.incoming_path(ETAG).exists()


async def test_an_empty_file_is_a_blob_too(store: BlobStore) -> None:
    assert (await fill(store, git_sha1(b""), b"")).read_bytes() == b""


async def test_wrong_content_stays_out_and_can_be_repaired(store: BlobStore) -> None:
    incoming = await store.incoming(ETAG, len(CONTENT), PIECE_BYTES)
    writer = incoming.writer(0, "hub", lambda index, changed: None)
    await writer.write(CONTENT)
    await writer.close()

    with pytest.raises(HashMismatch) as mismatch:
        await store.accept(incoming, "00" * 32)

    assert (mismatch.value.expected, mismatch.value.actual) == (ETAG, "00" * 32)
    assert not store.has(ETAG, len(CONTENT))
    assert incoming.complete
    assert await store.accept(incoming, ETAG) == store.path(ETAG)


async def test_nothing_incomplete_or_being_written_is_accepted(store: BlobStore) -> None:
    incoming = await store.incoming(ETAG, len(CONTENT), PIECE_BYTES)
    with pytest.raises(RuntimeError, match="0 of 4 pieces"):
        await store.accept(incoming, ETAG)
    writer = incoming.writer(0, "hub", lambda index, changed: None)
    await writer.write(CONTENT)
    await writer.close()
    late = incoming.writer(1, "hub", lambda index, changed: None)
    await late.write(bytes(PIECE_BYTES))

    accepting = asyncio.create_task(store.accept(incoming, ETAG))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match=r"accepted|closed"):
        await late.close()

    assert (await accepting).read_bytes() == CONTENT


async def test_a_cancelled_accept_leaves_a_blob_or_none(store: BlobStore) -> None:
    incoming = await store.incoming(ETAG, len(CONTENT), PIECE_BYTES)
    writer = incoming.writer(0, "hub", lambda index, changed: None)
    await writer.write(CONTENT)
    await writer.close()
    accepting = asyncio.create_task(store.accept(incoming, ETAG))
    await asyncio.sleep(0)
    accepting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await accepting

    assert store.path(ETAG).read_bytes() == CONTENT
    assert incoming.closed


async def test_names_that_are_no_etags_never_become_paths(store: BlobStore) -> None:
    for name in ("../../etc/passwd", "", "AB" * 32, "ab" * 31, "*" * 64):
        with pytest.raises(ValueError, match="no etag"):
            store.path(name)
        with pytest.raises(ValueError, match="no etag"):
            store.incoming_bytes(name)


async def test_an_own_file_is_adopted_by_a_link(store: BlobStore, tmp_path: Path) -> None:
    source = tmp_path / "existing"
    source.write_bytes(CONTENT)

    assert await store.adopt(ETAG, len(CONTENT), source)

    assert store.path(ETAG).samefile(source)
    assert stat.S_IMODE(source.stat().st_mode) & 0o222 == 0
    assert await store.adopt(ETAG, len(CONTENT), tmp_path / "not even there")
    assert list(store.scratch_dir.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's file")
async def test_a_file_of_another_user_is_copied(store: BlobStore, tmp_path: Path) -> None:
    source = tmp_path / "existing"
    source.write_bytes(CONTENT)
    os.chown(source, 12345, 12345)

    assert await store.adopt(ETAG, len(CONTENT), source)
    source.write_bytes(bytes(len(CONTENT)))

    assert store.path(ETAG).read_bytes() == CONTENT
    assert stat.S_IMODE(store.path(ETAG).stat().st_mode) == 0o444 & ~umask()


async def test_what_is_not_the_blob_is_not_adopted_and_not_touched(store: BlobStore, tmp_path: Path) -> None:
    wrong, short, directory = tmp_path / "wrong", tmp_path / "short", tmp_path / "directory"
    wrong.write_bytes(bytes(len(CONTENT)))
    short.write_bytes(CONTENT[:-1])
    directory.mkdir()
    os.mkfifo(tmp_path / "fifo")
    mode = wrong.stat().st_mode

    for path in (wrong, short, directory, tmp_path / "absent", tmp_path / "fifo"):
        assert not await store.adopt(ETAG, len(CONTENT), path)

    assert wrong.stat().st_mode == mode
    assert store.blobs() == {}
    assert list(store.scratch_dir.iterdir()) == []


async def test_a_cancelled_adoption_stops_and_leaves_nothing(store: BlobStore, tmp_path: Path) -> None:
    source = tmp_path / "large"
    source.touch()
    os.truncate(source, 8 << 30)  # a hole; hashing it takes seconds
    adopting = asyncio.create_task(store.adopt("ab" * 32, 8 << 30, source))
    deadline = time.monotonic() + 10
    while not list(store.scratch_dir.iterdir()):
        assert time.monotonic() < deadline, "the adoption never began"
        await asyncio.sleep(0.001)

    started = time.monotonic()
    adopting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adopting

    assert time.monotonic() - started < 1
    assert list(store.scratch_dir.iterdir()) == []
    assert source.stat().st_nlink == 1


async def test_removing_frees_bytes_only_with_the_last_link(store: BlobStore, tmp_path: Path) -> None:
    path = await fill(store, ETAG, CONTENT)
    os.link(path, tmp_path / "elsewhere")

    assert store.usage_bytes() == len(CONTENT)
    assert store.remove(ETAG) == 0
    assert not store.has(ETAG, len(CONTENT))
    assert (tmp_path / "elsewhere").read_bytes() == CONTENT
    await fill(store, ETAG, CONTENT)
    assert store.quarantine(ETAG) == len(CONTENT)
    assert store.remove(ETAG) == 0
    assert store.usage_bytes() == 0


async def test_a_restart_goes_on_and_cleans_up(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "store")
    store.open()
    incoming = await store.incoming(ETAG, len(CONTENT), PIECE_BYTES)
    writer = incoming.writer(1, "peers", lambda index, changed: None)
    await writer.write(CONTENT[PIECE_BYTES : 3 * PIECE_BYTES])
    await writer.close()
    (store.scratch_dir / "half").mkdir()
    (store.scratch_dir / "half" / "file").write_bytes(b"x")
    (tmp_path / "store" / "incoming" / ("cd" * 32 + ".journal")).write_bytes(b"orphan")
    await store.close()

    again = BlobStore(tmp_path / "store")
    again.open()

    assert again.incoming_bytes(ETAG) == {"hub": 0, "peers": 2 * PIECE_BYTES, "reused": 0}
    assert again.incoming_bytes("cd" * 32) is None
    assert again.usage_bytes() == len(CONTENT)
    assert (await again.incoming(ETAG, len(CONTENT), PIECE_BYTES)).have == {1, 2}
    await again.close()
    assert list(again.scratch_dir.iterdir()) == []
    assert {p.name for p in (tmp_path / "store" / "incoming").iterdir()} == {ETAG, ETAG + ".journal"}


async def test_a_ledger_goes_with_its_blob_and_at_a_start_when_that_is_gone(store: BlobStore) -> None:
    await fill(store, ETAG, CONTENT)
    other = "ab" * 32
    for etag in (ETAG, other):
        (store.ledgers_dir / etag).write_bytes(b"claims")
    store.open()
    assert [path.name for path in store.ledgers_dir.iterdir()] == [ETAG]
    store.remove(ETAG)
    assert list(store.ledgers_dir.iterdir()) == []


async def test_what_an_earlier_run_left_is_told_until_somebody_goes_on_with_it(store: BlobStore) -> None:
    incoming = await store.incoming(ETAG, len(CONTENT), PIECE_BYTES)
    await incoming.close()
    assert store.left_incoming() == {}  # of this run
    again = BlobStore(store.store_dir)
    again.open()
    try:
        assert again.left_incoming() == {ETAG: len(CONTENT)}
    finally:
        await again.close()


async def test_the_store_knows_its_room_and_its_links(store: BlobStore, tmp_path: Path) -> None:
    hub_dir = tmp_path / "hub"
    hub_dir.mkdir()

    assert hard_link_fault(store.store_dir, hub_dir) is None
    assert list(hub_dir.iterdir()) == []
    assert 0 < store.free_bytes() <= os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize
    assert free_bytes(tmp_path / "not" / "yet" / "there") > 0
    assert "cannot link" in (hard_link_fault(store.store_dir, tmp_path / "absent") or "")


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="needs a second file system")
def test_two_file_systems_are_told_apart(tmp_path: Path) -> None:
    if os.stat("/dev/shm").st_dev == tmp_path.stat().st_dev:
        pytest.skip("both directories are on one file system here")

    assert "different file systems" in (hard_link_fault(tmp_path, Path("/dev/shm")) or "")
