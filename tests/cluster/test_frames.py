"""Frames of a stream are taken in order, unaltered, from this answer, or not at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peers.auth import Keys
from peers.frames import FRAME_BYTES_MAX, HEAD_BYTES, FrameChain, FrameForged, cut

KEYS = Keys.of(b"s")
NONCE = bytes(16)
Frame = tuple[bytes, bytes]


def sent(payloads: list[bytes], nonce: bytes = NONCE, keys: Keys = KEYS) -> list[Frame]:
    chain = FrameChain(keys, nonce)
    return [(chain.head(payload), payload) for payload in (*payloads, b"")]


def received(frames: list[Frame]) -> list[bytes]:
    chain = FrameChain(KEYS, NONCE)
    payloads = []
    for head, payload in frames:
        if chain.length(head) != len(payload):
            raise FrameForged(len(payloads), "another length")
        chain.check(head, payload)
        payloads.append(payload)
    return payloads


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=6))
def test_what_is_sent_is_received(payloads: list[bytes]) -> None:
    assert received(sent(payloads)) == [*payloads, b""]


@given(st.data())
def test_any_altered_byte_is_refused(data: st.DataObject) -> None:
    frames = sent([b"first", b"second"])
    number = data.draw(st.integers(0, 2))
    wire = bytearray(b"".join(frames[number]))
    place = data.draw(st.integers(0, len(wire) - 1))
    wire[place] ^= data.draw(st.integers(1, 255))
    frames[number] = (bytes(wire[:HEAD_BYTES]), bytes(wire[HEAD_BYTES:]))
    with pytest.raises(FrameForged):
        received(frames)


@pytest.mark.parametrize(
    "forge",
    [
        lambda frames: frames[1:],
        lambda frames: [frames[0], *frames],
        lambda frames: [frames[1], frames[0], frames[2]],
        lambda frames: [frames[0], frames[2]],
        lambda frames: sent([b"first", b"second"], nonce=bytes(15) + b"x"),
        lambda frames: sent([b"first", b"second"], keys=Keys.of(b"t")),
    ],
    ids=["first lost", "repeated", "swapped", "ended early", "of another answer", "of a stranger"],
)
def test_frames_out_of_place_are_refused(forge: Callable[[list[Frame]], list[Frame]]) -> None:
    with pytest.raises(FrameForged):
        received(forge(sent([b"first", b"second"])))


def test_each_frame_is_bound_to_those_before_it() -> None:
    assert sent([b"first", b"second"])[1] != sent([b"other", b"second"])[1]


def test_a_frame_too_long_is_refused_before_its_bytes_are_read() -> None:
    with pytest.raises(FrameForged):
        FrameChain(KEYS, NONCE).length((FRAME_BYTES_MAX + 1).to_bytes(4, "big") + bytes(32))


def test_content_is_cut_into_frames_and_nothing_into_none() -> None:
    content = bytes(range(256)) * (FRAME_BYTES_MAX // 256) + b"rest"
    assert [len(frame) for frame in cut(content)] == [FRAME_BYTES_MAX, 4]
    assert b"".join(cut(content)) == content
    assert list(cut(b"")) == []
