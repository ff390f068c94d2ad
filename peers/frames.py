"""A stream of bytes in frames, each proven before it is passed on.

A frame is its length (4 bytes, big-endian), a MAC (32 bytes) and that many bytes. Each MAC covers the request's nonce,
the frame's number, the MAC before it and the bytes, so frames cannot be altered, dropped, repeated or reordered, nor
moved to another answer. A frame of length 0 ends the stream; without it the stream was cut. Sizes are bytes.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterator

from peers.auth import MAC_BYTES, Keys

FRAME_BYTES_MAX = 1 << 20
"""What a receiver buffers before it knows whether the bytes are a member's: small, and yet 36 bytes of overhead and one
MAC are nothing beside it."""

_LENGTH = struct.Struct(">I")
HEAD_BYTES = _LENGTH.size + MAC_BYTES


class FrameForged(Exception):
    """The bytes are not what the member sent. Drop the connection and all of this frame; earlier ones are good."""

    retryable = True

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(number, reason)
        self.number = number
        self.reason = reason

    def __str__(self) -> str:
        return f"frame {self.number} of the stream is not genuine: {self.reason}"


class FrameChain:
    """One end of a stream: the sender calls `head` for each frame, the receiver `length` and `check`."""

    def __init__(self, keys: Keys, nonce: bytes) -> None:
        self._key = keys.frame
        self._nonce = nonce
        self._number = 0
        self._last = b""

    def head(self, payload: bytes | memoryview) -> bytes:
        """What goes before ``payload`` on the wire; an empty one ends the stream."""
        self._advance(payload)
        return _LENGTH.pack(len(payload)) + self._last

    def length(self, head: bytes) -> int:
        """How many bytes follow this head; 0 ends the stream once `check` has passed. Raises FrameForged."""
        length: int = _LENGTH.unpack_from(head)[0]
        if length > FRAME_BYTES_MAX:
            raise FrameForged(self._number, f"{length} bytes")
        return length

    def check(self, head: bytes, payload: bytes) -> None:
        """Raises FrameForged unless ``payload`` came after ``head`` from the other end of this chain."""
        number = self._number
        self._advance(payload)
        if not hmac.compare_digest(head[_LENGTH.size :], self._last):
            raise FrameForged(number, "the MAC is wrong")

    def _advance(self, payload: bytes | memoryview) -> None:
        mac = hmac.new(self._key, digestmod="sha256")
        mac.update(self._nonce + struct.pack(">QB", self._number, len(self._last)) + self._last)
        mac.update(payload)
        self._last = mac.digest()
        self._number += 1


def cut(content: bytes) -> Iterator[memoryview]:
    """The content in frames; none when it is empty, because an empty frame ends the stream."""
    view = memoryview(content)
    for start in range(0, len(view), FRAME_BYTES_MAX):
        yield view[start : start + FRAME_BYTES_MAX]
