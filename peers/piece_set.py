"""Sets of pieces as Python integers: bit *i* is set when piece *i* is in the set.

A blob has at most some 45,000 pieces (700 GB in pieces of 16 MiB), 6 KB as an integer: union, difference and
"the first piece that nobody has" cost about a microsecond, which no set of small integers reaches. On the wire a set is
its little-endian bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

PieceSet: TypeAlias = int

EMPTY: PieceSet = 0


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The pieces from ``start`` up to but not including ``stop``."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def pieces(self) -> PieceSet:
        return ((1 << (self.stop - self.start)) - 1) << self.start


def full(count: int) -> PieceSet:
    """All pieces of a blob of ``count`` pieces."""
    return (1 << count) - 1


def single(piece: int) -> PieceSet:
    return 1 << piece


def first(pieces: PieceSet) -> int:
    """The lowest piece of a set that is not empty."""
    return (pieces & -pieces).bit_length() - 1


def each(pieces: PieceSet) -> Iterator[int]:
    """The pieces in file order."""
    while pieces:
        lowest = pieces & -pieces
        yield lowest.bit_length() - 1
        pieces ^= lowest


def first_run(pieces: PieceSet, longest: int) -> Span:
    """The first run of neighbouring pieces of a set that is not empty, cut to ``longest``."""
    start = first(pieces)
    gaps = ~(pieces >> start)
    return Span(start, start + min(longest, first(gaps)))


def runs(pieces: PieceSet) -> Iterator[Span]:
    """The set as maximal runs in file order."""
    while pieces:
        run = first_run(pieces, pieces.bit_length())
        yield run
        pieces &= ~run.pieces


def to_bytes(pieces: PieceSet, count: int) -> bytes:
    return pieces.to_bytes((count + 7) // 8, "little")


def from_bytes(data: bytes, count: int) -> PieceSet:
    """Read a set sent by another member; pieces beyond ``count`` are ignored, as they mean nothing here."""
    return int.from_bytes(data[: (count + 7) // 8], "little") & full(count)
