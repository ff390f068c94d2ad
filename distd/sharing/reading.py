"""Digests of pieces as they lie on the disk, computed in threads; sizes and offsets are bytes."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import xxhash

from distd.store.disk import start_writeback
from distd.store.incoming import IncomingBlob
from peers.blob import Blob
from peers.ledger import Claim, Digests

READ_BLOCK_BYTES = 2**20
"""Read at once: pieces have up to 16 MiB and a dozen are read at the same time."""


def digests_of(data: bytes | bytearray | memoryview) -> Digests:
    """xxh3-128 for our own checks and SHA-1 for the sealed swarm, of one piece."""
    return Digests(xxhash.xxh3_128_digest(data), hashlib.sha1(data, usedforsecurity=False).digest())


def read_back(fd: int, blob: Blob, piece: int) -> bytes:
    """The xxh3 of what lies in the file, which is on its way to the disk from now on.

    Whoever wrote the piece left it in the page cache, and publishing waits for all that is there still.
    Raises OSError, also for a file that ends before the piece does.
    """
    state = xxhash.xxh3_128()
    for block in _blocks(fd, blob, piece):
        state.update(block)
    start_writeback(fd, piece * blob.piece_len_bytes, blob.piece_bytes(piece))
    return state.digest()


def digests_on_disk(fd: int, blob: Blob, piece: int) -> Digests:
    """Raises OSError as above."""
    xxh3, sha1 = xxhash.xxh3_128(), hashlib.sha1(usedforsecurity=False)
    for block in _blocks(fd, blob, piece):
        xxh3.update(block)
        sha1.update(block)
    return Digests(xxh3.digest(), sha1.digest())


def _blocks(fd: int, blob: Blob, piece: int) -> Iterator[bytes]:
    start = piece * blob.piece_len_bytes
    end = start + blob.piece_bytes(piece)
    while start < end:
        block = os.pread(fd, min(READ_BLOCK_BYTES, end - start), start)
        if not block:
            raise OSError(0, "the file is shorter than it was made")
        yield block
        start += len(block)


def piece_on_disk(path: str | Path, blob: Blob, piece: int) -> bytes:
    """All of it, up to 16 MiB. Raises OSError, also for a file that is too short."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return b"".join(_blocks(fd, blob, piece))
    finally:
        os.close(fd)


def digests_of_file(path: Path, blob: Blob) -> tuple[Digests, ...]:
    """Of every piece of a whole blob. Raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return tuple(digests_on_disk(fd, blob, piece) for piece in range(blob.pieces))
    finally:
        os.close(fd)


async def journalled(
    incoming: IncomingBlob, blob: Blob, claims: tuple[Claim, ...], me: str
) -> dict[int, Claim]:
    """The claim behind each piece in the journal of an earlier run; runs on the loop, reads in threads.

    Pieces that this node fetched while it was alone have none: their digests are computed from the
    disk. Pieces of peers without one (a crash between two writes) are forgotten.
    """
    by_digest = {(claim.piece, claim.digests.xxh3): claim for claim in claims}
    journal: dict[int, Claim] = {}
    for piece in sorted(incoming.have):
        xxh3 = incoming.digest(piece)
        claim = by_digest.get((piece, xxh3))
        if claim is None:
            digests = await asyncio.to_thread(digests_on_disk, incoming.fd, blob, piece)
            if digests.xxh3 != xxh3:
                incoming.forget((piece,))
                continue
            claim = Claim(piece, me, 1, digests)
        journal[piece] = claim
    return journal
