"""Digests of parts of a file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import xxhash

from peers.readback import READ_CHUNK_BYTES, digest_span, file_length
from tests.peers.worlds import random_content


@pytest.mark.parametrize("span", [(0, 1), (5, 5 + READ_CHUNK_BYTES), (17, 3 * READ_CHUNK_BYTES + 4)])
def test_one_pass_gives_every_digest_of_the_span(tmp_path: Path, span: tuple[int, int]) -> None:
    content = random_content(3 * READ_CHUNK_BYTES + 4)
    path = tmp_path / "blob"
    path.write_bytes(content)
    part = content[slice(*span)]

    digests = digest_span(str(path), *span, [xxhash.xxh3_128, hashlib.sha1])

    assert digests == (xxhash.xxh3_128(part).digest(), hashlib.sha1(part).digest())


def test_a_file_that_ends_early_is_an_error_and_not_a_digest_of_less(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(bytes(10))

    with pytest.raises(OSError, match="ends at 10"):
        digest_span(str(path), 0, 11, [hashlib.sha1])


def test_the_length_of_a_missing_file_is_none(tmp_path: Path) -> None:
    assert file_length(str(tmp_path / "blob")) is None
    (tmp_path / "blob").write_bytes(bytes(7))
    assert file_length(str(tmp_path / "blob")) == 7
