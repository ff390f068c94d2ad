"""Two worlds in which the swarm contract is tested: real engines on loopback, and memory in virtual time.

A test makes nodes in a world, acts through the port and waits with `until`, which is bounded: by 20 real
seconds in the one world, by having nothing left to happen in the other.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from peers.engine import Engine
from peers.memory_swarm import MemoryNetwork, MemorySwarm
from peers.metainfo import Kind, Metainfo, hot_metainfo, sealed_metainfo
from peers.pieces import piece_count, piece_span
from peers.settings import EngineOptions
from peers.swarm import Endpoint, EventSink, PieceAdded, PieceArrived, Swarm, SwarmEvent

MIB = 1 << 20
SECRET = b"a cluster's secret"
BLOB = "0123456789abcdef"
PATIENCE_S = 20.0

_Event = TypeVar("_Event")


class World(Protocol):
    """What a test may do besides using the port."""

    async def node(self, name: str) -> Node: ...

    async def until(self, condition: Callable[[], bool], what: str) -> None: ...

    def now(self) -> float: ...

    def write(self, path: str, content: bytes) -> None: ...

    def read(self, path: str) -> bytes: ...

    def rename(self, old: str, new: str) -> None: ...

    def publish(self, old: str, new: str) -> None:
        """A second name for a finished file, which nobody may write any more."""

    async def end(self) -> None: ...


class Node:
    """A member: its port, its events so far and its files."""

    def __init__(self, world: World, folder: str, events: list[SwarmEvent]) -> None:
        self.world = world
        self.folder = folder
        self.events = events
        self.swarm: Swarm
        self.endpoint: Callable[[Kind], Endpoint]

    def path(self, blob: str = BLOB) -> str:
        return f"{self.folder}/{blob}"

    def write(self, content: bytes, blob: str = BLOB) -> str:
        self.world.write(self.path(blob), content)
        return self.path(blob)

    def read(self, blob: str = BLOB) -> bytes:
        return self.world.read(self.path(blob))

    def saw(self, kind: type[_Event]) -> list[_Event]:
        return [event for event in self.events if isinstance(event, kind)]

    def pieces(self, kind: Kind = Kind.HOT) -> set[int]:
        """What arrived or was added since the start, by one kind of swarm."""
        arrived = (event for event in self.events if isinstance(event, PieceArrived | PieceAdded))
        return {event.index for event in arrived if event.kind is kind}

    async def join(
        self, metainfo: Metainfo, content: bytes, have: Sequence[bool], peers: Sequence[Node] = ()
    ) -> None:
        """Writes the file and opens it with connections to the nodes named."""
        endpoints = [peer.endpoint(metainfo.kind) for peer in peers]
        await self.swarm.open(metainfo, self.write(content), have, endpoints)

    async def add(self, content: bytes, indexes: Sequence[int], kind: Kind = Kind.HOT) -> None:
        for index in indexes:
            await self.swarm.add_piece(BLOB, kind, index, piece(content, index))


def random_content(size_bytes: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size_bytes)


def piece(content: bytes, index: int) -> bytes:
    start, end = piece_span(len(content), index)
    return content[start:end]


def none_of(content: bytes) -> list[bool]:
    return [False] * piece_count(len(content))


def all_of(content: bytes) -> list[bool]:
    return [True] * piece_count(len(content))


def hot(content: bytes, secret: bytes = SECRET) -> Metainfo:
    return hot_metainfo(secret, BLOB, len(content))


def sealed(content: bytes, secret: bytes = SECRET) -> Metainfo:
    digests = [hashlib.sha1(piece(content, index)).digest() for index in range(piece_count(len(content)))]
    return sealed_metainfo(secret, BLOB, len(content), digests)


def corrupted(content: bytes, indexes: Sequence[int]) -> bytes:
    """The content with one byte wrong in each of these pieces."""
    wrong = bytearray(content)
    for index in indexes:
        wrong[piece_span(len(content), index)[0] + 7] ^= 0xFF
    return bytes(wrong)


class RealWorld:
    """libtorrent engines on 127.0.0.1, files under pytest's folder, the wall clock."""

    def __init__(self, folder: Path, options: EngineOptions) -> None:
        self._folder = folder
        self._options = options
        self._engines: list[Engine] = []
        self._happened = asyncio.Event()

    async def node(
        self, name: str, options: EngineOptions | None = None, look: EventSink = lambda event: None
    ) -> Node:
        """A node whose events also go to `look`, in the moment they happen."""
        folder = self._folder / name
        folder.mkdir()
        events: list[SwarmEvent] = []

        def emit(event: SwarmEvent) -> None:
            look(event)
            events.append(event)
            self._happened.set()

        engine = await Engine.start(options or self._options, emit)
        self._engines.append(engine)
        node = Node(self, str(folder), events)
        node.swarm, node.endpoint = engine, engine.endpoint
        return node

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    await self._happened.wait()
                    self._happened.clear()
        except TimeoutError:
            raise AssertionError(f"{what}: not within {PATIENCE_S} s") from None

    def now(self) -> float:
        return time.monotonic()

    def write(self, path: str, content: bytes) -> None:
        with open(path, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(len(content), 1))
            os.truncate(path, len(content))
            file.write(content)

    def read(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new)

    def publish(self, old: str, new: str) -> None:
        os.chmod(old, 0o444)
        os.link(old, new)

    async def end(self) -> None:
        for engine in self._engines:
            await engine.shutdown(timeout_s=5)


class MemoryWorld:
    """Simulated nodes, whose time passes in `until` alone."""

    def __init__(self) -> None:
        self._network = MemoryNetwork()

    async def node(self, name: str) -> Node:
        events: list[SwarmEvent] = []
        swarm = MemorySwarm(self._network, name, events.append)
        node = Node(self, f"/{name}", events)
        node.swarm, node.endpoint = swarm, swarm.endpoint
        return node

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        while not condition():
            for _ in range(3):  # lets those go on who wait for what the last step did
                await asyncio.sleep(0)
            if not condition() and not self._network.step():
                raise AssertionError(f"{what}: nothing is left to happen")

    def now(self) -> float:
        return self._network.now

    def write(self, path: str, content: bytes) -> None:
        self._network.files[path] = bytearray(content)

    def read(self, path: str) -> bytes:
        return bytes(self._network.files[path])

    def rename(self, old: str, new: str) -> None:
        self._network.files[new] = self._network.files.pop(old)

    def publish(self, old: str, new: str) -> None:
        self._network.files[new] = self._network.files[old]

    async def end(self) -> None:
        pass
