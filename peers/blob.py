"""What every machine of this package must know about a blob: its name, its size and how it is cut into pieces."""

from __future__ import annotations

from dataclasses import dataclass

from peers import piece_set
from peers.piece_set import PieceSet
from peers.pieces import piece_length_bytes


@dataclass(frozen=True, slots=True)
class Blob:
    """One file's content. ``name`` is its Hub etag; a blob without bytes has no pieces and needs no machine."""

    name: str
    size_bytes: int
    piece_len_bytes: int

    def __post_init__(self) -> None:
        if self.size_bytes <= 0 or self.piece_len_bytes <= 0:
            raise ValueError(f"blob {self.name} of {self.size_bytes} bytes has no pieces to share")

    @classmethod
    def of(cls, name: str, size_bytes: int) -> Blob:
        """The blob cut as all members cut it. Raises ValueError for an empty one."""
        return cls(name, size_bytes, piece_length_bytes(size_bytes))

    @property
    def pieces(self) -> int:
        return -(-self.size_bytes // self.piece_len_bytes)

    @property
    def all_pieces(self) -> PieceSet:
        return piece_set.full(self.pieces)

    def piece_bytes(self, piece: int) -> int:
        """The length of one piece; only the last may be short."""
        return min(self.piece_len_bytes, self.size_bytes - piece * self.piece_len_bytes)
