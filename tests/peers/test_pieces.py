"""The piece formula, which is part of the wire format."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peers.pieces import piece_count, piece_length_bytes, piece_span

MIB, GIB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("size_bytes", "length", "count"),
    [
        (1, MIB, 1),
        (MIB, MIB, 1),
        (MIB + 1, MIB, 2),
        (4 * GIB, MIB, 4096),
        (4 * GIB + 1, 2 * MIB, 2049),
        (8 * GIB, 2 * MIB, 4096),
        (32 * GIB + 1, 16 * MIB, 2049),
        (64 * GIB, 16 * MIB, 4096),
        (64 * GIB + 1, 16 * MIB, 4097),
        (700 * 10**9, 16 * MIB, 41_724),
    ],
)
def test_pieces_of_known_sizes(size_bytes: int, length: int, count: int) -> None:
    assert (piece_length_bytes(size_bytes), piece_count(size_bytes)) == (length, count)


@pytest.mark.parametrize("size_bytes", [0, -1])
def test_an_empty_blob_has_no_pieces(size_bytes: int) -> None:
    with pytest.raises(ValueError):
        piece_length_bytes(size_bytes)


@given(st.integers(1, 80 * GIB), st.data())
def test_spans_follow_one_another_and_end_with_the_blob(size_bytes: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, piece_count(size_bytes) - 1))
    start, end = piece_span(size_bytes, index)

    assert start == (piece_span(size_bytes, index - 1)[1] if index else 0)
    assert 0 < end - start <= piece_length_bytes(size_bytes)
    assert (end == size_bytes) == (index == piece_count(size_bytes) - 1)


@pytest.mark.parametrize("index", [-1, 2])
def test_a_piece_outside_the_blob_is_an_error(index: int) -> None:
    with pytest.raises(IndexError):
        piece_span(2 * MIB, index)
