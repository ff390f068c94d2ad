"""Members on loopback, and what stands between them: waiting with a bound, a wire that alters what passes."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from peers import secret
from peers.cluster import Cluster, ClusterSettings
from peers.cluster_errors import CallRefused

PACE = 20.0
"""One gossip round in 50 ms, a suspicion of 0.25 s."""

PATIENCE_S = 10.0
"""The bound of every wait: far above what any of them takes on a busy machine."""

SECRET = secret.parse("0f9c2ab1764de83350a1f2b4c6d8e7f9013579bdf02468ace", "test secret")


async def until(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    ends_at = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < ends_at, f"not within {patience_s} s: {what}"
        await asyncio.sleep(0.005)


class World:
    def __init__(self) -> None:
        self.clusters: list[Cluster] = []
        self.wires: list[Wire] = []
        self.silent: list[asyncio.Server] = []
        self.served: dict[str, int] = {}

    async def end(self) -> None:
        await asyncio.gather(*(cluster.stop(leave=False) for cluster in self.clusters))
        for wire in self.wires:
            await wire.close()
        for server in self.silent:
            server.close()
        await asyncio.sleep(0)  # for the transports to take their end

    async def start(self, name: str, join: tuple[str, ...] = (), **options: Any) -> Cluster:
        """Start a member with an ``echo`` call, a ``refuse`` call, and a ``count`` stream."""
        options.setdefault("secret", SECRET)
        outside = {key: options.pop(key) for key in ("wall", "resolve", "known") if key in options}
        settings = ClusterSettings(name, join=join, **{"gossip_pace": PACE, **options})
        cluster = Cluster(settings, rng=random.Random(name), **outside)

        async def echo(sender: str, body: bytes) -> bytes:
            self.served[name] = self.served.get(name, 0) + 1
            return sender.encode() + b" says " + body

        async def refuse(sender: str, body: bytes) -> bytes:
            raise CallRefused("conflict", "not now", retryable=True)

        async def fail(sender: str, body: bytes) -> bytes:
            raise ValueError("a defect")

        async def count(sender: str, query: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
            if query.get("refuse"):
                raise CallRefused("not_found", "no such blob")
            for number in range(int(query["parts"])):
                yield bytes([number]) * int(query["part_bytes"])
            if query.get("break"):
                raise OSError("the disk broke")

        for handler in (echo, refuse, fail):
            cluster.register(handler.__name__, handler)
        cluster.register_stream("count", count)
        self.clusters.append(cluster)
        await cluster.start()
        return cluster

    async def grow(self, count: int, **options: Any) -> list[Cluster]:
        """Members m0, m1, … that all know each other, from one seed."""
        seed = await self.start("m0", **options)
        members = [seed]
        for number in range(1, count):
            members.append(await self.start(f"m{number}", (seed.address,), **options))
        await acquainted(*members)
        return members

    async def silence(self) -> str:
        """The address of a listener that takes everything and never answers."""

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.read()
            except (OSError, asyncio.CancelledError):
                pass  # the other side is gone, or the test is over
            finally:
                writer.transport.abort()

        server = await asyncio.start_server(take, "127.0.0.1", 0)
        self.silent.append(server)
        return f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def wire(self) -> Wire:
        wire = Wire()
        await wire.open()
        self.wires.append(wire)
        return wire


async def acquainted(*members: Cluster) -> None:
    names = frozenset(member.me for member in members)
    await until(lambda: all(member.live == names for member in members), f"all know {sorted(names)}")


def state_of(observer: Cluster, name: str) -> str:
    """What the observer believes of a member; empty when it does not know it."""
    return next((member.state.name for member in observer.members() if member.name == name), "")


@dataclass
class Wire:
    """A connection that somebody else holds in his hands: it records requests, and may alter either direction."""

    target: str = ""
    alter_request: Callable[[bytes], bytes] = lambda data: data
    alter_answer: Callable[[bytes], bytes] = lambda data: data
    requests: list[bytes] = field(default_factory=list)
    address: str = ""
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        host, port = self.target.split(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        try:
            await asyncio.gather(
                self._pass_on(reader, far_writer, lambda data: self._record(data)),
                self._pass_on(far_reader, writer, lambda data: self.alter_answer(data)),
            )
        except (OSError, asyncio.CancelledError):
            pass  # one side is gone, or the test is over
        finally:
            writer.transport.abort()
            far_writer.transport.abort()
            self._tasks.discard(task)

    def _record(self, data: bytes) -> bytes:
        self.requests.append(data)
        return self.alter_request(data)

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, alter: Callable[[bytes], bytes]
    ) -> None:
        while data := await reader.read(1 << 20):
            writer.write(alter(data))
            await writer.drain()
        writer.transport.abort()


async def speak(address: str, data: bytes, patience_s: float = PATIENCE_S) -> bytes:
    """Send raw bytes and return everything that comes back until the other side closes."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        async with asyncio.timeout(patience_s):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.transport.abort()
