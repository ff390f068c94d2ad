"""Single copies of pieces asked of suspects, and what is done about a member against whom there is evidence.

What is decided stands in `peers.suspicion`. Here are the calls: a stream of one piece behind what its holder states about it,
and a word to the others, who then look for themselves. Sizes are bytes, times seconds.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import xxhash

from distd.core.bans import REASON_CHARS_MAX
from distd.core.manifest import is_etag
from distd.core.tally import Tally
from distd.errors import DistdError
from distd.sharing.driver import BlobDriver
from distd.sharing.findings import evidence_text
from distd.sharing.reading import piece_on_disk
from peers import member_events as event
from peers import piece_set
from peers.blob import Blob
from peers.cluster import Cluster
from peers.cluster_errors import CallRefused, ClusterError
from peers.findings import own_words
from peers.ledger import SHA1_BYTES, XXH3_BYTES, Digests
from peers.suspicion import Evidence, Testimony
from peers.swarm_choice import Stage

log = logging.getLogger(__name__)

COPY, ACCUSE = "copy", "accuse"
"""A stream of one piece, and a word about a member."""

COPIES_AT_ONCE_MAX = 4
"""Copies being sent: each is a piece in memory, up to 16 MiB."""
PART_BYTES = 1 << 20
ANSWER_S = 20.0
"""A copy that takes longer is no evidence of anything."""
ACCUSE_S = 3.0

BY = "distd"
"""Who banned, where evidence did it."""

Ban = Callable[[str, str, str, Sequence[str]], Awaitable[object]]
"""`peering.PeeringService.ban`: member, reason, by whom, evidence in lines."""

_HEAD = struct.Struct(f"!BB{XXH3_BYTES}s{XXH3_BYTES}s{SHA1_BYTES}s")


class Accusation(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    blob: str
    size_bytes: int
    member: str
    pieces: tuple[int, ...]


class Suspects:
    """`holder` is the driver of a blob that is in work here or in the store; `working` one that is in work. Set `ban` before
    anything is pulled: until then evidence is told and counted only."""

    def __init__(
        self,
        cluster: Cluster,
        tally: Tally,
        *,
        holder: Callable[[Blob], Awaitable[BlobDriver | None]],
        working: Callable[[str], BlobDriver | None],
    ) -> None:
        self._cluster = cluster
        self._tally = tally
        self._holder = holder
        self._working = working
        self.ban: Ban | None = None
        self._sending = 0
        self._words: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        self._cluster.register_stream(COPY, self._on_copy)
        self._cluster.register(ACCUSE, self._on_accuse)

    async def close(self) -> None:
        for word in self._words:
            word.cancel()

    async def ask(self, member: str, blob: Blob, piece: int, *, banned_too: bool = False) -> Testimony | None:
        """What the member says of its copy and what it sends; None without an answer. Keeps no more than a part of it."""
        received = _Received()
        query = {"blob": blob.name, "size": str(blob.size_bytes), "piece": str(piece)}
        limit_bytes = _HEAD.size + blob.piece_len_bytes
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._cluster.fetch(
                    member, COPY, query, received.take, limit_bytes, banned_too=banned_too
                )
        except (ClusterError, TimeoutError) as error:
            log.debug("%s sends no copy of piece %d of %s: %s", member, piece, blob.name, error)
            return None
        return received.testimony(blob.piece_bytes(piece))

    def blame(self, blob: Blob, evidence: Evidence) -> None:
        """Ban the member, count it, and tell the others to look for themselves."""
        self._tally.piece_rejected(f"member:{evidence.member}", evidence.pieces.bit_count())
        self._spawn(self._ban(evidence.member, evidence_text(evidence), blob))
        pieces = tuple(piece_set.each(evidence.pieces))
        word = msgspec.msgpack.encode(Accusation(blob.name, blob.size_bytes, evidence.member, pieces))
        for name in self._cluster.live - {self._cluster.me}:
            self._spawn(self._accuse(name, word))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._words.add(task)
        task.add_done_callback(self._words.discard)

    async def _ban(self, member: str, text: str, blob: Blob) -> None:
        """On this node, until somebody lifts it; what goes wrong with keeping it is logged."""
        if self.ban is None:
            return
        try:
            await self.ban(
                member, f"sends wrong bytes: {text}"[:REASON_CHARS_MAX], BY, (f"blob {blob.name}: {text}",)
            )
        except DistdError as error:
            log.error("member %s sends wrong bytes and cannot be banned: %s; %s", member, text, error)

    async def _accuse(self, name: str, word: bytes) -> None:
        with suppress(ClusterError):
            await self._cluster.call(name, ACCUSE, word, ACCUSE_S)

    async def _on_accuse(self, sender: str, body: bytes) -> bytes:
        try:
            told = msgspec.msgpack.decode(body, type=Accusation)
        except msgspec.MsgspecError as error:
            raise CallRefused("invalid_request", str(error)) from error
        driver = self._working(told.blob)
        if driver is not None and driver.blob.size_bytes == told.size_bytes and told.member != sender:
            pieces = sum({1 << piece for piece in told.pieces[:8] if 0 <= piece < driver.blob.pieces})
            driver.feed(event.MemberAccused(told.member, pieces))
        return b""

    async def _on_copy(self, sender: str, query: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        try:
            name, size_bytes, piece = query["blob"], int(query["size"]), int(query["piece"])
            if not is_etag(name) or size_bytes < 1:
                raise ValueError(name)
            blob = Blob.of(name, size_bytes)
            if not 0 <= piece < blob.pieces:
                raise ValueError(piece)
        except (KeyError, ValueError) as error:
            raise CallRefused("invalid_request", f"no piece of a blob: {error}") from error
        if self._sending >= COPIES_AT_ONCE_MAX:
            raise CallRefused("busy", "too many copies at once", retryable=True)
        self._sending += 1
        try:
            driver = await self._holder(blob)
            stated, claimed, data = await _testimony(driver, piece) if driver else (None, None, b"")
            own = claimed or Digests(bytes(XXH3_BYTES), bytes(SHA1_BYTES))
            head = (stated is not None, claimed is not None, stated or bytes(XXH3_BYTES), own.xxh3, own.sha1)
            yield _HEAD.pack(*head)
            for start in range(0, len(data), PART_BYTES):
                yield data[start : start + PART_BYTES]
        finally:
            self._sending -= 1


async def _testimony(driver: BlobDriver, piece: int) -> tuple[bytes | None, Digests | None, bytes]:
    """What this node states of its copy of the piece and claims to have fetched, and the bytes on its disk; none
    without a copy that it calls checked before and after they were read."""
    stated, claimed = _own_words(driver, piece)
    if stated is None:
        return None, claimed, b""
    try:
        data = await asyncio.to_thread(piece_on_disk, driver.path, driver.blob, piece)
    except OSError:
        return None, claimed, b""
    still = _own_words(driver, piece)[0] == stated
    return (stated, claimed, data) if still else (None, claimed, b"")


def _own_words(driver: BlobDriver, piece: int) -> tuple[bytes | None, Digests | None]:
    machine = driver.machine
    if machine is None:
        return None, None
    published = machine.stage in (Stage.PUBLISHING, Stage.PUBLISHED)
    return own_words(machine.ledger, machine.table, machine.me, piece, published)


class _Received:
    """A copy as it comes: its head, and the digest of the rest."""

    def __init__(self) -> None:
        self._head = b""
        self._hash = xxhash.xxh3_128()
        self._size_bytes = 0

    async def take(self, part: bytes) -> None:
        missing = _HEAD.size - len(self._head)
        self._head += part[:missing]
        self._hash.update(part[missing:])
        self._size_bytes += len(part[missing:])

    def testimony(self, piece_bytes: int) -> Testimony | None:
        if len(self._head) < _HEAD.size:
            return None
        holds, fetched, stated, xxh3, sha1 = _HEAD.unpack(self._head)
        whole = bool(holds) and self._size_bytes == piece_bytes
        claimed = Digests(xxh3, sha1) if fetched else None
        return Testimony(stated if whole else None, self._hash.digest() if whole else None, claimed)
