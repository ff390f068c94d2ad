"""The hash that follows a blob: right in any order of events, stoppable, and suspicious of old journals."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import time
from pathlib import Path

import pytest

from distd.errors import StorageFailed
from distd.store.blobs import BlobStore
from distd.store.hashing import TURN_BYTES, PrefixHasher, content_hash, hash_open_file
from distd.store.incoming import IncomingBlob
from distd.store.workers import StopFlag, Stopped, WorkClock
from tests.store.conftest import PIECE_BYTES, git_sha1

PIECES = 50
CONTENT = os.urandom(PIECES * PIECE_BYTES - 999)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


async def put(incoming: IncomingBlob, index: int, data: bytes) -> None:
    writer = incoming.writer(index, "hub", lambda i, changed: None)
    await writer.write(data)
    await writer.close()


def piece(index: int) -> bytes:
    return CONTENT[index * PIECE_BYTES : (index + 1) * PIECE_BYTES]


async def until(condition: object) -> None:
    """Waits for a condition that threads bring about, at most ten seconds."""
    assert callable(condition)
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("content", [b"", b"hello", random.Random(1).randbytes(70_000)])
def test_etags_are_the_hashes_that_git_and_the_hub_use(content: bytes) -> None:
    git = content_hash("0" * 40, len(content))
    git.update(content)
    sha256 = content_hash("0" * 64, len(content))
    sha256.update(content)

    assert git.hexdigest() == git_sha1(content)
    assert sha256.hexdigest() == hashlib.sha256(content).hexdigest()
    assert git_sha1(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"  # git's empty blob
    with pytest.raises(ValueError, match="neither"):
        content_hash("0" * 32, 0)


async def test_the_prefix_is_hashed_while_the_rest_is_missing(store: BlobStore) -> None:
    incoming = await store.incoming(SHA256, len(CONTENT), PIECE_BYTES)
    hasher = PrefixHasher(incoming)
    await put(incoming, 20, CONTENT[20 * PIECE_BYTES :])
    assert hasher.hashed_bytes == 0

    await put(incoming, 0, CONTENT[: 10 * PIECE_BYTES])
    await until(lambda: hasher.hashed_bytes == 10 * PIECE_BYTES)
    await put(incoming, 10, CONTENT[10 * PIECE_BYTES : 20 * PIECE_BYTES])

    assert await hasher.finish() == SHA256
    assert await hasher.finish() == SHA256


class Told(WorkClock):
    """Remembers each time that it was told something."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def add(self, size_bytes: int, took_s: float, computed_s: float) -> None:
        assert min(size_bytes, took_s) >= 0
        self.sizes.append(size_bytes)
        super().add(size_bytes, took_s, computed_s)


async def test_a_slow_turn_tells_on_the_way_how_far_it_is(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "distd.store.hashing.TOLD_EVERY_S", 0.0
    )  # each piece takes longer, as on a busy machine
    store.workers.hashed = told = Told()
    incoming = await store.incoming(SHA256, len(CONTENT), PIECE_BYTES)
    await put(incoming, 0, CONTENT)
    assert len(CONTENT) < TURN_BYTES

    assert await PrefixHasher(incoming).finish() == SHA256

    assert told.sizes[:PIECES] == [PIECE_BYTES] * PIECES
    assert told.total_bytes == PIECES * PIECE_BYTES


@pytest.mark.parametrize("seed", range(8))
async def test_the_hash_is_that_of_the_file_however_pieces_are_rewritten(store: BlobStore, seed: int) -> None:
    chance = random.Random(seed)
    incoming = await store.incoming(SHA256, len(CONTENT), PIECE_BYTES)
    hasher = PrefixHasher(incoming)
    await put(incoming, 0, CONTENT)
    for _ in range(30):
        index = chance.randrange(PIECES)
        match chance.randrange(5):
            case 0:
                incoming.forget([index])
            case 1:
                await put(incoming, index, bytes(len(piece(index))))
            case 2:
                hasher.restart()
            case 3:
                await asyncio.sleep(0.002)
            case _:
                await put(incoming, index, piece(index))
    if chance.random() < 0.5:
        for index in range(PIECES):
            await put(incoming, index, piece(index))
    for index in set(range(PIECES)) - incoming.have:
        await put(incoming, index, piece(index))

    assert await hasher.finish() == hashlib.sha256(incoming.path.read_bytes()).hexdigest()


async def test_a_piece_rewritten_while_it_is_being_hashed_is_hashed_again(store: BlobStore) -> None:
    size = 64 << 20  # takes the hash long enough for the writer to come in between
    incoming = await store.incoming("ab" * 32, size, size)
    incoming.landed(0, "hub", b"0" * 16)
    hasher = PrefixHasher(incoming)
    content = os.urandom(1 << 20) * 64

    await put(incoming, 0, content)

    assert await hasher.finish() == hashlib.sha256(content).hexdigest()


async def test_a_wrong_hash_is_repaired_by_writing_the_bad_piece_again(store: BlobStore) -> None:
    incoming = await store.incoming(SHA256, len(CONTENT), PIECE_BYTES)
    hasher = PrefixHasher(incoming)
    await put(incoming, 0, CONTENT)
    await put(incoming, 33, b"x" * PIECE_BYTES)

    assert await hasher.finish() != SHA256
    await put(incoming, 33, piece(33))

    assert await hasher.finish() == SHA256


async def test_pieces_that_a_power_loss_emptied_are_found_on_resume(store: BlobStore) -> None:
    incoming = await store.incoming(SHA256, len(CONTENT), PIECE_BYTES)
    await put(incoming, 0, CONTENT[: 40 * PIECE_BYTES])
    await incoming.close()
    for lost in (0, 7, 39):  # journalled, but never reached the disk
        with open(incoming.path, "r+b") as file:
            file.seek(lost * PIECE_BYTES)
            file.write(bytes(PIECE_BYTES))
    resumed = await store.incoming(SHA256, len(CONTENT), PIECE_BYTES)
    bad: list[int] = []
    hasher = PrefixHasher(resumed, on_bad=bad.append)

    for lost in (0, 7, 39):
        await until(lambda lost=lost: lost in bad)
        assert lost not in resumed.have
        await put(resumed, lost, piece(lost))
    await put(resumed, 40, CONTENT[40 * PIECE_BYTES :])

    assert await hasher.finish() == SHA256
    assert bad == [0, 7, 39]
    assert resumed.unchecked == set()


async def test_a_closed_hasher_stops_and_says_so(store: BlobStore) -> None:
    incoming = await store.incoming(SHA256, len(CONTENT), PIECE_BYTES)
    hasher = PrefixHasher(incoming)
    waiting = asyncio.create_task(hasher.finish())
    await asyncio.sleep(0)

    await incoming.close()

    with pytest.raises(RuntimeError, match="stopped"):
        await waiting


async def test_closing_waits_for_one_block_only(store: BlobStore) -> None:
    size = 1 << 30
    incoming = await store.incoming("ab" * 32, size, 16 << 20)
    for index in range(incoming.piece_count):  # zeros, journalled without writing them
        incoming.landed(index, "hub", b"0" * 16)
    hasher = PrefixHasher(incoming)
    await asyncio.sleep(0)

    started = time.monotonic()
    await hasher.close()

    assert time.monotonic() - started < 0.3  # all of it takes 0.6 s at the least
    assert hasher.hashed_bytes < size


async def test_a_file_that_cannot_be_read_fails_the_hash(store: BlobStore) -> None:
    incoming = await store.incoming(SHA256, len(CONTENT), PIECE_BYTES)
    await put(incoming, 0, CONTENT[:-PIECE_BYTES])
    os.ftruncate(incoming.fd, 0)
    for index in range(PIECES):
        incoming.landed(index, "hub", b"0" * 16)
    hasher = PrefixHasher(incoming)

    with pytest.raises(StorageFailed, match="shorter"):
        await hasher.finish()


def test_hashing_a_file_stops_between_blocks(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"some content")
    stop = StopFlag()
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    assert hash_open_file(stop, fd, "0" * 40) == git_sha1(b"some content")

    stop.set()

    with pytest.raises(Stopped):
        hash_open_file(stop, fd, "0" * 64)
    os.close(fd)


async def test_the_event_loop_is_never_held_while_a_blob_is_filled_and_hashed(store: BlobStore) -> None:
    content = os.urandom(1 << 20) * 64
    etag = hashlib.sha256(content).hexdigest()
    incoming = await store.incoming(etag, len(content), 1 << 20)
    hasher = PrefixHasher(incoming)
    longest = 0.0
    done = False

    async def measure() -> None:
        nonlocal longest
        while not done:
            before = time.thread_time()
            await asyncio.sleep(0.001)
            longest = max(longest, time.thread_time() - before)

    ticker = asyncio.create_task(measure())
    writer = incoming.writer(0, "hub", lambda index, changed: None)
    for start in range(0, len(content), 256 << 10):
        await writer.write(content[start : start + (256 << 10)])
    await writer.close()
    assert await hasher.finish() == etag
    await store.accept(incoming, etag)
    done = True
    await ticker

    assert longest < 0.02  # CPU seconds of the loop's thread between two ticks; hashing takes forty of these
