"""What is still right of a blob that the disk damaged, put aside as a blob that is being filled.

The digests of its pieces are kept from the time when it arrived, or was first read as a whole. So only the pieces that are wrong or unreadable have to
come again. The damaged file itself is not touched: programs may have it open.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from distd.errors import NoSpace
from distd.store.blobs import BlobStore
from distd.store.hashing import piece_digest
from distd.store.journal import JournalState
from distd.store.use import open_unmarked
from distd.store.workers import StopFlag, finished


@dataclass(frozen=True, slots=True)
class Salvaged:
    """`lost` are the pieces that were not right; the others wait in the blob's incoming file."""

    pieces: int
    lost: tuple[int, ...]


async def salvage(blobs: BlobStore, etag: str, thread: Executor) -> Salvaged | None:
    """Copies the right pieces of a verified blob into its incoming file, which must not be open meanwhile.

    None where that is of no use or not possible: no digests are kept, no piece is right, all of them are, or the disk has
    no room for a second copy. The verified file stays. Raises StorageFailed.
    """
    known = await asyncio.to_thread(blobs.known_pieces, etag)
    if known is None:
        return None
    parameters = known.parameters
    try:
        incoming = await blobs.incoming(etag, parameters.size_bytes, parameters.piece_length_bytes)
    except (NoSpace, RuntimeError):  # RuntimeError: a pull fills it already
        return None
    kept: list[int] = []
    try:
        stop = StopFlag()
        copying = thread.submit(_copy_right_pieces, stop, blobs.path(etag), incoming.fd, known)
        kept = await finished(copying, on_cancel=stop.set)
        for index in kept:
            # As the Hub's: a pull counts as reused what was journalled before it, and takes it from there first.
            incoming.note(index, "hub", known.pieces[index].digest)
    finally:
        await incoming.close()
    if not kept or len(kept) == parameters.piece_count:
        blobs.discard(etag)
        return None
    return Salvaged(parameters.piece_count, tuple(sorted(set(range(parameters.piece_count)) - set(kept))))


def _copy_right_pieces(stop: StopFlag, source: Path, target_fd: int, known: JournalState) -> list[int]:
    kept: list[int] = []
    source_fd = open_unmarked(source)
    try:
        for index, piece in known.pieces.items():
            stop.check()
            start, length = index * known.parameters.piece_length_bytes, known.parameters.piece_size(index)
            try:
                content = os.pread(source_fd, length, start)
            except OSError:  # a bad sector
                continue
            if piece_digest(content) == piece.digest:
                os.pwrite(target_fd, content, start)
                kept.append(index)
    finally:
        os.close(source_fd)
    return kept
