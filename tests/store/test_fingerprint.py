"""The digests of a file that came as a whole are those that it would have had piece by piece."""

from __future__ import annotations

import hashlib
from random import Random

import pytest

from distd.store.fingerprint import Fingerprint
from distd.store.hashing import piece_digest
from distd.store.journal import decode

PIECE_BYTES = 1000


@pytest.mark.parametrize("size_bytes", [1001, 2000, 4999, 5000])
@pytest.mark.parametrize("part_bytes_max", [1, 999, 1000, 7000])
def test_however_the_parts_fall_the_digests_are_those_of_the_pieces(
    size_bytes: int, part_bytes_max: int
) -> None:
    chance = Random(size_bytes)
    content = chance.randbytes(size_bytes)
    etag = hashlib.sha256(content).hexdigest()
    read = Fingerprint(etag, size_bytes, lambda _: PIECE_BYTES)
    offset = 0
    while offset < size_bytes:
        assert read.journal() is None
        part = content[offset : offset + chance.randint(1, part_bytes_max)]
        read.update(part)
        offset += len(part)

    assert read.hexdigest() == etag
    journal = read.journal()
    assert journal is not None
    state = decode(journal)
    assert state is not None
    assert state.parameters == (state.parameters.__class__(etag, size_bytes, PIECE_BYTES))
    pieces = [content[at : at + PIECE_BYTES] for at in range(0, size_bytes, PIECE_BYTES)]
    assert [state.pieces[index].digest for index in sorted(state.pieces)] == [*map(piece_digest, pieces)]
    assert state.valid_bytes == len(journal)


@pytest.mark.parametrize("size_bytes", [0, 1, PIECE_BYTES])
def test_of_one_piece_nothing_is_kept(size_bytes: int) -> None:
    read = Fingerprint("0" * 64, size_bytes, lambda _: PIECE_BYTES)
    read.update(bytes(size_bytes))
    assert read.journal() is None


def test_a_file_that_is_longer_than_it_should_be_has_another_hash() -> None:
    content = bytes(2500)
    read = Fingerprint(hashlib.sha256(content).hexdigest(), len(content), lambda _: PIECE_BYTES)
    read.update(content + b"more")
    assert read.hexdigest() != read.etag
