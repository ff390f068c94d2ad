"""Cutting a blob into pieces: one fixed formula of the size, so that all members agree without talking.

A piece is the unit of sharing, checking and journalling. Sizes and offsets are bytes.
"""

from __future__ import annotations

PIECE_LENGTH_BYTES_MIN = 1 << 20
"""Below 1 MiB, piece announcements and read-backs cost more than the finer sharing gains."""

PIECE_LENGTH_BYTES_MAX = 16 << 20
"""Above 16 MiB, a node waits too long before it can pass on the first piece it receives."""

PIECE_COUNT_TARGET = 4096
"""Bitmaps, journals and lease messages stay small; only blobs over 64 GiB have more pieces than this."""


def piece_length_bytes(size_bytes: int) -> int:
    """The smallest power of two between 1 and 16 MiB that cuts the blob into at most 4,096 pieces.

    Part of the wire format: changing it changes every info-hash, so it moves with the wire version.
    Raises ValueError for an empty blob, which has no pieces and never enters a swarm.
    """
    if size_bytes <= 0:
        raise ValueError(f"a blob of {size_bytes} bytes has no pieces")
    length = PIECE_LENGTH_BYTES_MIN
    while length < PIECE_LENGTH_BYTES_MAX and length * PIECE_COUNT_TARGET < size_bytes:
        length *= 2
    return length


def piece_count(size_bytes: int) -> int:
    """How many pieces a blob of this size has; the last one may be short. ValueError as above."""
    return -(-size_bytes // piece_length_bytes(size_bytes))


def piece_span(size_bytes: int, index: int) -> tuple[int, int]:
    """Offsets `(start, end)` of a piece in its blob, end exclusive. Raises IndexError outside the blob."""
    if not 0 <= index < piece_count(size_bytes):
        raise IndexError(
            f"a blob of {size_bytes} bytes has {piece_count(size_bytes)} pieces, not piece {index}"
        )
    start = index * piece_length_bytes(size_bytes)
    return start, min(start + piece_length_bytes(size_bytes), size_bytes)
