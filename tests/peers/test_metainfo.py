"""Metainfo to the byte: two members that differ in one of these do not find each other."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peers.metainfo import WIRE_VERSION, Kind, bencode, hot_metainfo, sealed_metainfo
from peers.pieces import piece_count

SECRET = b"golden secret"
NAME = "8ad1f7bbf9d9d9f2a3d3b8a4b9bb5b3b1c9a3f4b1c0e5d6f7a8b9c0d1e2f3a4b"
SIZE = 3 * (1 << 20) + 17
DIGESTS = [hashlib.sha1(bytes([number])).digest() for number in range(4)]


def test_the_hot_info_dict_is_golden() -> None:
    assert hot_metainfo(SECRET, NAME, SIZE).info == (
        b"d5:distd32:U\xcd)\x01\x83F\x8d\x15\x95Q`\xfa:\xc3\x871y\x96\xd8\xba\xfaWf\xf12\xa5\xec\x81+\x02r5"
        b"6:lengthi3145745e4:name64:8ad1f7bbf9d9d9f2a3d3b8a4b9bb5b3b1c9a3f4b1c0e5d6f7a8b9c0d1e2f3a4b"
        b"12:piece lengthi1048576e6:pieces80:" + bytes(80) + b"7:privatei1ee"
    )


def test_info_hashes_are_golden() -> None:
    found = {
        "hot": hot_metainfo(SECRET, NAME, SIZE),
        "hot, 700 GB": hot_metainfo(SECRET, NAME, 700 * 10**9),
        "hot, next wire version": hot_metainfo(SECRET, NAME, SIZE, wire_version=2),
        "sealed": sealed_metainfo(SECRET, NAME, SIZE, DIGESTS),
    }

    assert {name: metainfo.info_hash.hex() for name, metainfo in found.items()} == {
        "hot": "f69306012e08433046d8e1beb1f91f8e784a8e5d",
        "hot, 700 GB": "9ea44f01b1014c056e13f59a4c01416f2a583047",
        "hot, next wire version": "cf63db1419a8567d57fb1e7d8c3324ddcd2e361f",
        "sealed": "32135944c02c0a52f06f80e97b65446c827a079d",
    }


def test_the_configuration_offers_this_wire_version_and_the_one_below() -> None:
    from distd.config.sections import WIRE_VERSION as CONFIGURED

    assert CONFIGURED == WIRE_VERSION


def test_every_ingredient_changes_the_info_hash() -> None:
    variants = [
        hot_metainfo(SECRET, NAME, SIZE),
        hot_metainfo(b"another", NAME, SIZE),
        hot_metainfo(SECRET, NAME[::-1], SIZE),
        hot_metainfo(SECRET, NAME, SIZE + 1),
        hot_metainfo(SECRET, NAME, SIZE, wire_version=0),
        sealed_metainfo(SECRET, NAME, SIZE, DIGESTS),
        sealed_metainfo(b"another", NAME, SIZE, DIGESTS),
        sealed_metainfo(SECRET, NAME, SIZE, [*DIGESTS[:-1], DIGESTS[0]]),
        sealed_metainfo(SECRET, NAME, SIZE, [bytes(20)] * 4),  # as the filler of the hot one
    ]

    assert len({metainfo.info_hash for metainfo in variants}) == len(variants)


def test_what_a_caller_needs_is_there() -> None:
    hot, sealed = hot_metainfo(SECRET, NAME, SIZE), sealed_metainfo(SECRET, NAME, SIZE, DIGESTS)

    assert (hot.kind, hot.piece_count, hot.piece_sha1) == (Kind.HOT, 4, None)
    assert (sealed.kind, sealed.piece_count, sealed.piece_sha1) == (Kind.SEALED, 4, tuple(DIGESTS))
    assert hot.info_hash == hashlib.sha1(hot.info).digest()


def test_the_secret_part_is_not_shown_when_printed() -> None:
    metainfo = hot_metainfo(SECRET, NAME, SIZE)

    assert metainfo.info_hash.hex() not in repr(metainfo)
    assert "info=" not in repr(metainfo)


@pytest.mark.parametrize("digests", [DIGESTS[:-1], [*DIGESTS, DIGESTS[0]], [*DIGESTS[:-1], b"short"]])
def test_sealed_metainfo_needs_one_digest_per_piece(digests: list[bytes]) -> None:
    with pytest.raises(ValueError, match="4 SHA-1 digests"):
        sealed_metainfo(SECRET, NAME, SIZE, digests)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "a\0b"])
def test_a_name_that_would_leave_the_folder_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="plain file name"):
        hot_metainfo(SECRET, name, SIZE)


def test_an_empty_blob_has_no_swarm() -> None:
    with pytest.raises(ValueError):
        hot_metainfo(SECRET, NAME, 0)


@given(st.integers(1, 1 << 36))
def test_there_is_one_filler_hash_per_piece(size_bytes: int) -> None:
    assert b"6:pieces%d:" % (20 * piece_count(size_bytes)) in hot_metainfo(SECRET, NAME, size_bytes).info


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, b"i0e"),
        (-42, b"i-42e"),
        (b"", b"0:"),
        (b"spam", b"4:spam"),
        ([], b"le"),
        ([b"spam", 7, [b"x"]], b"l4:spami7el1:xee"),
        ({}, b"de"),
        ({b"b": 1, b"a": b"z", b"B": {}}, b"d1:Bde1:a1:z1:bi1ee"),
    ],
)
def test_bencoding_is_canonical(value: object, encoded: bytes) -> None:
    assert bencode(value) == encoded  # type: ignore[arg-type]  # parametrised values are objects


@pytest.mark.parametrize("value", [True, "text", None, 1.5, {b"a": "text"}])
def test_what_bencoding_does_not_know_is_an_error(value: object) -> None:
    with pytest.raises(TypeError):
        bencode(value)  # type: ignore[arg-type]  # wrong on purpose
