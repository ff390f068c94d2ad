"""The hash of a file that is read from beginning to end, and the digests of its pieces on the way.

They are kept for what came as a whole (imported, adopted), so that rot there costs its bad pieces only. Sizes in bytes.
"""

from __future__ import annotations

from collections.abc import Callable

from distd.store.hashing import PieceDigest, content_hash
from distd.store.journal import Parameters, encode_complete


class Fingerprint:
    """`update` with each part in order, then `hexdigest`, and `journal` once it was right."""

    def __init__(self, etag: str, size_bytes: int, cut: Callable[[int], int]) -> None:
        """`cut` says how long the pieces of a blob are. Raises ValueError for what is no etag."""
        self.etag = etag
        self.size_bytes = size_bytes
        self._parameters = Parameters(etag, size_bytes, cut(size_bytes) if size_bytes else 1)
        self._content = content_hash(etag, size_bytes)
        self._piece = PieceDigest()
        self._digests: list[bytes] = []
        self._offset = 0

    def update(self, data: bytes | memoryview) -> None:
        self._content.update(data)
        view = memoryview(data)
        while view:
            part = view[: self._end_of_piece() - self._offset]
            if not part:  # longer than it was said to be: the hash will be another, too
                return
            self._piece.update(part)
            self._offset += len(part)
            view = view[len(part) :]
            if self._offset == self._end_of_piece():
                self._digests.append(self._piece.take())

    def hexdigest(self) -> str:
        return self._content.hexdigest()

    def journal(self) -> bytes | None:
        """As the journal of a blob that arrived piece by piece; None where that is of no use, or not all was read."""
        if self._offset < self.size_bytes or self._parameters.piece_count < 2:
            return None
        return encode_complete(self._parameters, self._digests)

    def _end_of_piece(self) -> int:
        return min((len(self._digests) + 1) * self._parameters.piece_length_bytes, self.size_bytes)
