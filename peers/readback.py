"""Reading pieces back from the disk: the check that makes a held piece a checked one.

By path and in a worker thread: with the engine's disk backend a piece is in the file when it is
announced, and `preadv` with xxh3 costs 0.2 ms per MiB without holding the interpreter. Asking the library
(`read_piece`) costs 3.4 ms per MiB, a third of it with the interpreter held (both measured).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from peers.swarm import Hasher

READ_CHUNK_BYTES = 1 << 20
"""Read and hashed at a time: stays in the CPU's cache."""


def file_length(path: str) -> int | None:
    """The length of a regular file in bytes, None when there is none. OSError for other failures."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return None


def digest_span(
    path: str, start: int, end: int, hashers: Sequence[Callable[[], Hasher]]
) -> tuple[bytes, ...]:
    """Digests of the bytes `[start, end)`, one per hasher, in one pass. Blocks: call it in a thread.

    OSError when they cannot be read, a file that ends early included.
    """
    running = [new() for new in hashers]
    chunk = memoryview(bytearray(min(READ_CHUNK_BYTES, end - start)))
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while start < end:
            count = os.preadv(descriptor, [chunk[: end - start]], start)
            if count == 0:
                raise OSError(f"{path} ends at {start}, before {end}")
            for hasher in running:
                hasher.update(chunk[:count])
            start += count
    finally:
        os.close(descriptor)
    return tuple(hasher.digest() for hasher in running)
