from __future__ import annotations

import pytest

from peers.blob import Blob
from peers.pieces import piece_count, piece_length_bytes


def test_the_last_piece_may_be_short() -> None:
    blob = Blob("b", 25, 10)
    assert (blob.pieces, blob.piece_bytes(0), blob.piece_bytes(2)) == (3, 10, 5)
    assert blob.all_pieces == 0b111


@pytest.mark.parametrize("size_bytes", [1, 1 << 20, 5 * 10**9, 700 * 10**9])
def test_all_members_cut_a_blob_alike(size_bytes: int) -> None:
    blob = Blob.of("b", size_bytes)
    assert blob.piece_len_bytes == piece_length_bytes(size_bytes)
    assert blob.pieces == piece_count(size_bytes)


def test_a_blob_without_bytes_has_no_machine() -> None:
    with pytest.raises(ValueError, match="no pieces"):
        Blob("b", 0, 10)
