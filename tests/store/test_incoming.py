"""Filling a blob: pieces in any order and chunking, resumed, repaired, on a full disk."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import xxhash

from distd.errors import NoSpace, StorageFailed
from distd.store.blobs import BlobStore
from distd.store.hashing import PrefixHasher
from distd.store.incoming import IncomingBlob
from distd.store.spans import write_buffers

PIECE = 64 << 10
CONTENT = os.urandom(10 * PIECE + 777)
ETAG = hashlib.sha256(CONTENT).hexdigest()


def piece(index: int, content: bytes = CONTENT) -> bytes:
    return content[index * PIECE : (index + 1) * PIECE]


async def put(
    incoming: IncomingBlob, index: int, data: bytes, source: str = "hub", chunk: int = 10_000
) -> list[tuple[int, bool]]:
    seen: list[tuple[int, bool]] = []
    writer = incoming.writer(index, source, lambda i, changed: seen.append((i, changed)))
    for start in range(0, len(data), chunk):
        await writer.write(data[start : start + chunk])
    await writer.close()
    return seen


@pytest.mark.parametrize("seed", range(5))
async def test_spans_in_any_order_and_chunking_make_the_file(store: BlobStore, seed: int) -> None:
    chance = random.Random(seed)
    piece_bytes = chance.choice([1000, 64 << 10, 300_000, 4 << 20])
    content = chance.randbytes(3_000_000 + chance.randrange(5))
    etag = hashlib.sha256(content).hexdigest()
    incoming = await store.incoming(etag, len(content), piece_bytes)
    hasher = PrefixHasher(incoming)
    starts = sorted({0, *(chance.randrange(incoming.piece_count) for _ in range(6))})
    spans = list(zip(starts, [*starts[1:], incoming.piece_count], strict=True))
    chance.shuffle(spans)
    seen: list[int] = []

    async def fetch(first: int, end: int) -> None:
        writer = incoming.writer(first, "hub", lambda index, changed: seen.append(index))
        at = first * piece_bytes
        while at < min(end * piece_bytes, len(content)):
            size = min(chance.choice([1, 700, 65_536, 2_000_000]), end * piece_bytes - at)
            await writer.write(content[at : at + size])
            at += size
        await writer.close()

    await asyncio.gather(*(fetch(*span) for span in spans))

    assert sorted(seen) == list(range(incoming.piece_count))
    assert incoming.complete
    assert incoming.path.read_bytes() == content
    assert incoming.bytes_by_source() == {"hub": len(content), "peers": 0, "reused": 0}
    assert incoming.digest(0) == xxhash.xxh3_128_digest(content[:piece_bytes])
    assert await hasher.finish() == etag
    assert hasher.hashed_bytes == len(content)


async def test_an_unfinished_piece_is_not_recorded(store: BlobStore) -> None:
    incoming = await store.incoming(ETAG, len(CONTENT), PIECE)

    seen = await put(incoming, 2, CONTENT[2 * PIECE : 4 * PIECE + 100])

    assert seen == [(2, False), (3, False)]
    assert incoming.have == {2, 3}
    await incoming.close()
    again = await store.incoming(ETAG, len(CONTENT), PIECE)
    assert again.have == {2, 3}
    with pytest.raises(KeyError):
        again.digest(4)


async def test_more_bytes_than_the_blob_has_are_refused(store: BlobStore) -> None:
    incoming = await store.incoming(ETAG, len(CONTENT), PIECE)
    writer = incoming.writer(10, "hub", lambda index, changed: None)
    await writer.write(piece(10))

    with pytest.raises(ValueError, match="more bytes"):
        await writer.write(b"x")
    await writer.close()

    assert incoming.have == {10}


async def test_two_writers_in_one_piece_are_refused_before_bytes_mix(store: BlobStore) -> None:
    incoming = await store.incoming(ETAG, len(CONTENT), 4 << 20)
    first = incoming.writer(0, "hub", lambda index, changed: None)
    second = incoming.writer(0, "peers", lambda index, changed: None)
    await first.write(CONTENT[:-1])
    await second.write(b"\0" * (len(CONTENT) - 1))
    await first.write(CONTENT[-1:])
    await second.write(b"\0")

    await first.close()
    await second.close()

    assert incoming.path.read_bytes() == b"\0" * len(CONTENT)  # one after the other: the later one stands
    third, fourth = (incoming.writer(0, "hub", lambda index, changed: None) for _ in range(2))
    incoming.begin(0, third)
    with pytest.raises(RuntimeError, match="being written"):
        incoming.begin(0, fourth)
    await third.close()
    incoming.begin(0, fourth)


async def test_writing_over_a_piece_says_whether_it_changed(store: BlobStore) -> None:
    incoming = await store.incoming(ETAG, len(CONTENT), PIECE)
    await put(incoming, 0, CONTENT)

    assert await put(incoming, 3, piece(3)) == [(3, False)]
    assert await put(incoming, 4, bytes(PIECE), "peers") == [(4, True)]
    assert incoming.bytes_by_source() == {"hub": len(CONTENT) - PIECE, "peers": PIECE, "reused": 0}


async def test_a_piece_is_lost_while_it_is_written_over(store: BlobStore) -> None:
    incoming = await store.incoming(ETAG, len(CONTENT), PIECE)
    await put(incoming, 0, CONTENT)

    await put(incoming, 3, piece(3)[:-1])  # the connection was cut one byte short of the piece
    writer = incoming.writer(5, "hub", lambda index, changed: None)
    incoming.begin(5, writer)
    await writer.close()

    assert 5 not in incoming.have
    assert not incoming.complete
    await incoming.close()
    assert 5 not in (await store.incoming(ETAG, len(CONTENT), PIECE)).have


async def test_forgetting_is_kept_and_counted(store: BlobStore) -> None:
    incoming = await store.incoming(ETAG, len(CONTENT), PIECE)
    await put(incoming, 0, CONTENT, "reused")

    incoming.forget([1, 10, 99])
    incoming.forget([1])

    assert incoming.bytes_by_source()["reused"] == len(CONTENT) - PIECE - 777
    await incoming.close()
    assert store.incoming_bytes(ETAG) == {"hub": 0, "peers": 0, "reused": len(CONTENT) - PIECE - 777}
    again = await store.incoming(ETAG, len(CONTENT), PIECE)
    assert again.have == set(range(10)) - {1}


@pytest.mark.parametrize(("size", "piece_bytes"), [(len(CONTENT) + 1, PIECE), (len(CONTENT), 2 * PIECE)])
async def test_other_parameters_start_from_nothing(store: BlobStore, size: int, piece_bytes: int) -> None:
    incoming = await store.incoming(ETAG, len(CONTENT), PIECE)
    await put(incoming, 0, CONTENT)
    await incoming.close()

    again = await store.incoming(ETAG, size, piece_bytes)

    assert again.have == set()
    assert again.path.stat().st_size == size


async def test_a_truncated_file_makes_its_journal_worthless(store: BlobStore) -> None:
    incoming = await store.incoming(ETAG, len(CONTENT), PIECE)
    await put(incoming, 0, CONTENT)
    await incoming.close()
    os.truncate(incoming.path, PIECE)

    assert store.incoming_bytes(ETAG) is None
    again = await store.incoming(ETAG, len(CONTENT), PIECE)

    assert again.have == set()
    assert again.path.stat().st_size == len(CONTENT)


async def test_one_at_a_time_per_blob(store: BlobStore) -> None:
    incoming = await store.incoming(ETAG, len(CONTENT), PIECE)

    with pytest.raises(RuntimeError, match="already"):
        await store.incoming(ETAG, len(CONTENT), PIECE)
    with pytest.raises(RuntimeError, match="being filled"):
        store.discard(ETAG)
    await incoming.close()

    store.discard(ETAG)
    assert store.incoming_bytes(ETAG) is None
    assert not incoming.path.exists()


async def test_a_cancelled_writer_leaves_whole_pieces_and_a_free_place(store: BlobStore) -> None:
    incoming = await store.incoming(ETAG, len(CONTENT), PIECE)

    async def fetch() -> None:
        writer = incoming.writer(0, "hub", lambda index, changed: None)
        try:
            await writer.write(CONTENT[: 3 * PIECE + 5])
            await asyncio.Event().wait()
        finally:
            await writer.close()

    task = asyncio.create_task(fetch())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert incoming.have == {0, 1, 2}
    assert not incoming.being_written


async def test_closing_the_blob_ends_its_writers(store: BlobStore) -> None:
    incoming = await store.incoming(ETAG, len(CONTENT), PIECE)
    writer = incoming.writer(0, "hub", lambda index, changed: None)
    await incoming.close()

    await writer.write(piece(0))
    with pytest.raises(RuntimeError, match="closed"):
        await writer.close()
    await incoming.close()


def test_buffers_are_written_whatever_part_of_them_a_call_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda fd, group, at: real(fd, [b"".join(group)[:7]], at))
    buffers = [bytes([n % 256]) * (n % 5) for n in range(3000)]
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)

    write_buffers(fd, buffers, 3)

    os.close(fd)
    assert (tmp_path / "file").read_bytes() == bytes(3) + b"".join(buffers)


FULL_DISK = """
import asyncio, json, subprocess, sys
from pathlib import Path
from distd.errors import NoSpace
from distd.store.blobs import BlobStore
from distd.store.disk import free_bytes
disk = Path(sys.argv[1])
mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], capture_output=True)
if mounted.returncode:
    print(json.dumps({"skip": mounted.stderr.decode()})); raise SystemExit
async def main():
    store = BlobStore(disk / "store"); store.open()
    facts = {}
    before = free_bytes(disk)
    try:
        await store.incoming("ab" * 32, 100 << 20, 1 << 20)
    except NoSpace as error:
        facts["too_large"] = error.facts()
    facts["left_behind"] = sorted(p.name for p in (disk / "store/incoming").iterdir())
    facts["freed_again"] = free_bytes(disk) == before
    incoming = await store.incoming("cd" * 32, 6 << 20, 1 << 20)
    # Another process punches our reservation away and fills the disk: pieces now fail in the middle.
    import os
    os.ftruncate(incoming.fd, 0); os.ftruncate(incoming.fd, 6 << 20)
    with open(disk / "filler", "wb", buffering=0) as filler:
        try:
            while filler.write(bytes(1 << 16)): pass
        except OSError: pass
    writer = incoming.writer(0, "hub", lambda *a: None)
    try:
        for _ in range(6): await writer.write(os.urandom(1 << 20))
        await writer.close()
    except NoSpace as error:
        facts["in_the_middle"] = error.facts()
    try: await writer.close()
    except NoSpace: pass
    facts["have"] = sorted(incoming.have)
    await incoming.close(); await store.close()
    print(json.dumps(facts))
asyncio.run(main())
"""


def test_a_full_disk_is_reported_with_its_numbers(tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "-Urm", sys.executable, "-W", "ignore", "-c", FULL_DISK, str(tmp_path)],
        capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    if "unshare" in done.stderr and done.returncode:
        pytest.skip(f"no user namespaces here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    if "skip" in facts:
        pytest.skip(f"no tmpfs in a user namespace here: {facts['skip']}")

    assert facts["too_large"]["needed_bytes"] == 100 << 20
    assert 0 < facts["too_large"]["free_bytes"] <= 8 << 20
    assert facts["left_behind"] == []
    assert facts["freed_again"]
    assert facts["in_the_middle"]["needed_bytes"] > 0
    assert facts["have"] == []


async def test_a_store_that_cannot_be_written_is_a_storage_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageFailed):
        BlobStore(tmp_path / "file" / "store").open()
    store = BlobStore(tmp_path / "store")
    store.open()
    (tmp_path / "store" / "incoming" / ETAG).mkdir()

    with pytest.raises(StorageFailed) as failure:
        await store.incoming(ETAG, len(CONTENT), PIECE)

    assert not isinstance(failure.value, NoSpace)
    assert ETAG in failure.value.path
    await store.close()
