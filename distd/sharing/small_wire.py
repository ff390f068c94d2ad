"""How small blobs travel between members: an order is a call and answers a ticket, the ticket's stream brings the blobs.

The stream is a run of records in any order: a head (index in the order, kind, length) and that many bytes. Content is
a whole blob, trouble an error in its place, and signs of life keep the asker waiting while the Hub is slow. Sizes are
bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Sequence
from enum import IntEnum
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from distd.core.pull import SERVED_BYTES_MAX
from distd.sharing.locations import FileName
from distd.sharing.small_choice import BATCH_BLOBS_MAX
from distd.sharing.troubles import Trouble

SMALL = "small"
SMALL_BYTES = SERVED_BYTES_MAX
"""Blobs below it do not go through a swarm: a torrent takes half a second to begin exchanging, two hundred of them
three seconds (measured), and one such blob takes a member with a fast link less than that as a whole."""

TROUBLE_BYTES_MAX = 1 << 16
"""An error has a few facts of a thousand characters."""

HEAD = struct.Struct(">IBI")


class RecordKind(IntEnum):
    CONTENT = 0
    TROUBLE = 1
    SIGN_OF_LIFE = 2


class SmallOrder(msgspec.Struct, frozen=True):
    files: Annotated[tuple[FileName, ...], Meta(min_length=1, max_length=BATCH_BLOBS_MAX)]


class Ticket(msgspec.Struct, frozen=True):
    ticket: str


class BadRecord(Exception):
    """The member sends what it was not asked for; nothing more of its stream is used."""


class RecordTaker(Protocol):
    """What a receiver does with records. `begin` or `trouble` names each index at most once."""

    async def begin(self, index: int) -> Callable[[bytes], Awaitable[None]]:
        """A blob begins; its bytes are given to what is returned."""

    async def end(self, index: int) -> None:
        """All bytes of the blob were given."""

    def trouble(self, index: int, trouble: Trouble) -> None: ...


class RecordReader:
    """Cuts a stream into records for `taker`; `sizes` are those of the blobs ordered. Give `take` as a sink."""

    def __init__(self, sizes: Sequence[int], taker: RecordTaker) -> None:
        self._sizes = sizes
        self._taker = taker
        self._told: set[int] = set()
        self._head = bytearray()
        self._text = bytearray()
        self._index = 0
        self._kind = RecordKind.SIGN_OF_LIFE
        self._left = 0
        self._give: Callable[[bytes], Awaitable[None]] | None = None

    async def take(self, part: bytes) -> None:
        """Raises BadRecord, and what the taker raises."""
        view = memoryview(part)
        while view:
            if not self._left:
                taken = view[: HEAD.size - len(self._head)]
                self._head += taken
                view = view[len(taken) :]
                if len(self._head) == HEAD.size:
                    await self._begin()
                continue
            taken = view[: self._left]
            view = view[len(taken) :]
            self._left -= len(taken)
            if self._give:
                await self._give(bytes(taken))
            else:
                self._text += taken
            if not self._left:
                await self._end()

    async def _begin(self) -> None:
        index, kind, length = HEAD.unpack(self._head)
        self._head.clear()
        if kind == RecordKind.SIGN_OF_LIFE and length == 0:
            return
        right = (
            kind == RecordKind.CONTENT and index < len(self._sizes) and length == self._sizes[index]
        ) or (kind == RecordKind.TROUBLE and index < len(self._sizes) and 0 < length <= TROUBLE_BYTES_MAX)
        if not right or length == 0 or index in self._told:
            raise BadRecord(f"record {index} of kind {kind} with {length} bytes")
        self._told.add(index)
        self._index, self._kind, self._left = index, RecordKind(kind), length
        self._give = await self._taker.begin(index) if kind == RecordKind.CONTENT else None

    async def _end(self) -> None:
        if self._kind is RecordKind.CONTENT:
            self._give = None
            await self._taker.end(self._index)
            return
        text, self._text = self._text, bytearray()
        try:
            trouble = msgspec.msgpack.decode(text, type=Trouble)
        except msgspec.MsgspecError as error:
            raise BadRecord(str(error)) from error
        self._taker.trouble(self._index, trouble)


def stream_bytes_max(sizes: Sequence[int], signs_max: int) -> int:
    """The longest stream that answers an order."""
    return sum(sizes) + len(sizes) * (HEAD.size + TROUBLE_BYTES_MAX) + signs_max * HEAD.size


def record(index: int, kind: RecordKind, body: bytes = b"", length: int | None = None) -> bytes:
    """A record's head and the first bytes of its body; `length` when more follow."""
    return HEAD.pack(index, kind, len(body) if length is None else length) + body
