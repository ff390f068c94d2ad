from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from peers import piece_set
from peers.piece_set import Span

numbers = st.sets(st.integers(0, 200))


def as_set(pieces: set[int]) -> int:
    return sum(1 << piece for piece in pieces)


@given(numbers)
def test_pieces_come_in_file_order(pieces: set[int]) -> None:
    assert list(piece_set.each(as_set(pieces))) == sorted(pieces)


@given(numbers)
def test_runs_cover_the_set_and_do_not_touch(pieces: set[int]) -> None:
    runs = list(piece_set.runs(as_set(pieces)))
    assert sum(run.pieces for run in runs) == as_set(pieces)
    assert all(before.stop < after.start for before, after in pairwise(runs))


@given(numbers)
def test_bytes_bring_the_set_back(pieces: set[int]) -> None:
    assert piece_set.from_bytes(piece_set.to_bytes(as_set(pieces), 201), 201) == as_set(pieces)


def test_pieces_beyond_the_blob_are_ignored() -> None:
    assert piece_set.from_bytes(b"\xff\xff\xff", 4) == piece_set.full(4)


def test_the_first_run_is_cut_to_what_was_asked() -> None:
    assert piece_set.first_run(0b11110, longest=2) == Span(1, 3)
    assert piece_set.first_run(0b10110, longest=9) == Span(1, 3)
    assert len(Span(1, 3)) == 2
    assert Span(1, 3).pieces == 0b110
