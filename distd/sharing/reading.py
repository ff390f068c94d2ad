"""Digests of pieces as they lie on the disk. Everything here runs in a thread; sizes and offsets are bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import xxhash

from peers.blob import Blob
from peers.ledger import Digests

READ_BLOCK_BYTES = 2**20
"""Read at once: pieces have up to 16 MiB and a dozen are read at the same time."""


def digests_of(data: bytes | bytearray | memoryview) -> Digests:
    """xxh3-128 for our own checks and SHA-1 for the sealed swarm, of one piece."""
    return Digests(xxhash.xxh3_128_digest(data), hashlib.sha1(data, usedforsecurity=False).digest())


def xxh3_on_disk(fd: int, blob: Blob, piece: int) -> bytes:
    """Raises OSError, also for a file that ends before the piece does."""
    state = xxhash.xxh3_128()
    for block in _blocks(fd, blob, piece):
        state.update(block)
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


def digests_of_file(path: Path, blob: Blob) -> tuple[Digests, ...]:
    """Of every piece of a whole blob. Raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return tuple(digests_on_disk(fd, blob, piece) for piece in range(blob.pieces))
    finally:
        os.close(fd)
