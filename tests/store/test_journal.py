"""The journal says nothing that was not recorded, whatever happens to its file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distd.store.journal import (
    FORGOTTEN,
    HEADER_BYTES,
    RECORD_BYTES,
    SOURCES,
    STORED,
    Journal,
    Parameters,
    StoredPiece,
    decode,
    encode_header,
    encode_record,
    load,
)

PARAMETERS = Parameters("ab" * 32, size_bytes=10_500, piece_length_bytes=1000)
NO_DIGEST = bytes(16)

stored = st.tuples(
    st.just(STORED), st.integers(0, 10), st.sampled_from(SOURCES), st.binary(min_size=16, max_size=16)
)
forgotten = st.tuples(st.just(FORGOTTEN), st.integers(0, 10), st.just("hub"), st.just(NO_DIGEST))
records = st.lists(stored | forgotten, max_size=30)
Record = tuple[int, int, str, bytes]


def replay(history: list[Record]) -> dict[int, StoredPiece]:
    pieces: dict[int, StoredPiece] = {}
    for kind, index, source, digest in history:
        if kind == STORED:
            pieces[index] = StoredPiece(source, digest)
        else:
            pieces.pop(index, None)
    return pieces


def encode(history: list[Record], parameters: Parameters = PARAMETERS) -> bytes:
    return encode_header(parameters) + b"".join(encode_record(parameters, *record) for record in history)


@given(records, st.integers(0))
def test_any_prefix_of_the_file_loads_a_prefix_of_the_history(history: list[Record], cut: int) -> None:
    content = encode(history)
    cut %= len(content) + 1

    state = decode(content[:cut])

    if cut < HEADER_BYTES:
        assert state is None
    else:
        whole = (cut - HEADER_BYTES) // RECORD_BYTES
        assert state is not None
        assert state.pieces == replay(history[:whole])
        assert state.valid_bytes == HEADER_BYTES + whole * RECORD_BYTES


@given(records, st.integers(0), st.integers(1, 255))
def test_a_flipped_byte_never_yields_a_piece_that_was_not_recorded(
    history: list[Record], position: int, flip: int
) -> None:
    content = bytearray(encode(history))
    position %= len(content)
    content[position] ^= flip

    state = decode(bytes(content))

    if position < HEADER_BYTES:
        assert state is None
    else:
        assert state is not None
        assert state.pieces == replay(history[: (position - HEADER_BYTES) // RECORD_BYTES])


@given(records, st.binary(max_size=200))
def test_garbage_behind_the_last_record_is_dropped(history: list[Record], garbage: bytes) -> None:
    state = decode(encode(history) + garbage)

    assert state is not None
    assert state.pieces == replay(history)


@given(records)
def test_records_of_another_blob_are_not_taken_for_this_one(history: list[Record]) -> None:
    other = Parameters("cd" * 32, PARAMETERS.size_bytes, PARAMETERS.piece_length_bytes)

    state = decode(encode_header(other) + encode(history)[HEADER_BYTES:])

    assert state is not None
    assert state.pieces == {}


def test_a_record_beyond_the_blob_ends_the_journal() -> None:
    content = encode(
        [(STORED, 0, "hub", b"0" * 16), (STORED, 11, "hub", b"1" * 16), (STORED, 1, "hub", b"2" * 16)]
    )

    state = decode(content)

    assert state is not None
    assert set(state.pieces) == {0}


def test_bytes_are_counted_by_source_and_the_last_piece_is_short() -> None:
    state = decode(
        encode([(STORED, 0, "hub", NO_DIGEST), (STORED, 10, "peers", NO_DIGEST), (STORED, 3, "reused", NO_DIGEST)])
    )  # fmt: skip

    assert state is not None
    assert state.bytes_by_source() == {"hub": 1000, "peers": 500, "reused": 1000}


@pytest.mark.parametrize("cut", range(RECORD_BYTES))
def test_writing_goes_on_over_a_torn_record(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal"
    content = encode([(STORED, 0, "hub", b"a" * 16), (STORED, 1, "hub", b"b" * 16)])
    path.write_bytes(content[: len(content) - RECORD_BYTES + cut])

    journal = Journal(path, PARAMETERS, keep=True)
    journal.stored(2, "peers", b"c" * 16)
    journal.close()

    state = load(path)
    assert state is not None
    assert state.pieces == {0: StoredPiece("hub", b"a" * 16), 2: StoredPiece("peers", b"c" * 16)}


@pytest.mark.parametrize(
    "other",
    [
        Parameters("cd" * 32, 10_500, 1000),
        Parameters("ab" * 32, 10_501, 1000),
        Parameters("ab" * 32, 10_500, 2000),
    ],
)
def test_a_journal_for_other_parameters_starts_empty(tmp_path: Path, other: Parameters) -> None:
    path = tmp_path / "journal"
    path.write_bytes(encode([(STORED, 0, "hub", b"a" * 16)], other))

    journal = Journal(path, PARAMETERS, keep=True)
    journal.close()

    assert journal.state.pieces == {}
    assert path.read_bytes() == encode_header(PARAMETERS)


def test_forgotten_pieces_are_recorded(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", PARAMETERS, keep=False)
    for index in range(4):
        journal.stored(index, "hub", bytes([index]) * 16)
    journal.forgotten([1, 3])
    journal.close()

    state = load(tmp_path / "journal")

    assert state is not None
    assert set(state.pieces) == {0, 2}
