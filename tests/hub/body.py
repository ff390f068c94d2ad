"""How an answer's body leaves: a plan of steps, made by a pure function, and the sender that follows it.

Files go out by `sendfile`, so serving costs little CPU even at full speed; only bytes that a fault changes pass
through Python. Bytes count as sent when the kernel took them. Offsets and sizes are bytes, times seconds.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO
from weakref import WeakKeyDictionary

from aiohttp import web

from tests.hub.counters import Counters
from tests.hub.faults import Rule, named
from tests.hub.hubstate import Settings
from tests.hub.limits import Pace
from tests.hub.repo import Source
from tests.hub.wire import Content, Reply

PIECE_BYTES = 2 * 1024 * 1024
"""One sendfile: large enough to be cheap, small enough that counters follow closely. A piece that the Hub's own going
away interrupts counts as not sent, since what the kernel took of it is not known then."""

PACED_PIECE_BYTES = 16 * 1024
"""Least piece under a rate cap; above it a piece is what the cap allows in PACED_PIECE_S."""

PACED_PIECE_S = 0.02
POLL_S = 0.05
"""How often a stalled body looks whether its client is gone."""

GZIP_BYTES = 64 * 1024 * 1024
"""The `gzip` fault compresses in memory: meant for texts and small shards."""


@dataclass(frozen=True, slots=True)
class Send:
    start: int
    count: int


@dataclass(frozen=True, slots=True)
class Literal:
    data: bytes


@dataclass(frozen=True, slots=True)
class Stall:
    """Silence; None is until the client leaves."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection ends here, by a reset or in order."""

    reset: bool


Step = Send | Literal | Stall | Cut


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send, the length to announce (None: chunked), and the rate of a `slow` fault."""

    steps: tuple[Step, ...]
    length: int | None
    rate_bytes_per_s: float | None = None


def plan_body(content: Content, rules: Sequence[Rule], read: Callable[[Source, int, int], bytes]) -> Plan:
    """The steps of a body under the faults that act on it. `read(source, start, count)` fetches bytes to change."""
    steps: list[Step] = [Send(content.start, content.count)]
    length: int | None = content.count
    rate: float | None = None
    for rule in rules:
        match rule.name:
            case "gzip":
                assert content.count <= GZIP_BYTES, f"gzip of {content.count} bytes is done in memory"
                steps = [Literal(gzip.compress(read(content.source, content.start, content.count), 1))]
                length = None
            case "no_length":
                length = None
            case "wrong_byte":
                before, after = split_steps(steps, rule["at"] - content.start)
                flipped = bytes([read(content.source, rule["at"], 1)[0] ^ 0xFF])
                steps = [*before, Literal(flipped), *split_steps(after, 1)[1]]
            case "wrong_length":
                wanted = max(0, content.count + rule["delta"])
                steps = [*split_steps(steps, wanted)[0], Literal(bytes(max(0, rule["delta"])))]
                length = wanted
            case "cut":
                steps = [*split_steps(steps, rule["after"])[0], Cut(rule["reset"])]
            case "stall":
                before, after = split_steps(steps, rule["after"])
                steps = [*before, Stall(rule["seconds"]), *after]
            case "slow":
                rate = rule["bytes_per_s"]
    return Plan(
        tuple(step for step in steps if not isinstance(step, Send | Literal) or step_bytes(step)),
        length,
        rate,
    )


def step_bytes(step: Step) -> int:
    """How much of the body a step sends."""
    match step:
        case Send(_, count):
            return count
        case Literal(data):
            return len(data)
        case _:
            return 0


def split_steps(steps: Sequence[Step], count: int) -> tuple[list[Step], list[Step]]:
    """The steps that send the first `count` bytes, and the rest."""
    before: list[Step] = []
    for index, step in enumerate(steps):
        if step_bytes(step) <= count:
            before.append(step)
            count -= step_bytes(step)
            continue
        if isinstance(step, Send):
            left: Step = replace(step, count=count)
            right: Step = Send(step.start + count, step.count - count)
        else:
            assert isinstance(step, Literal)
            left, right = Literal(step.data[:count]), Literal(step.data[count:])
        return [*before, left], [right, *steps[index + 1 :]]
    return before, []


def mangle_body_headers(reply: Reply, rules: Sequence[Rule]) -> None:
    """Headers that body faults change: the range's position, and the announcement of gzip."""
    rule = named(rules, "wrong_content_range")
    if rule is not None and "Content-Range" in reply.headers:
        span, _, total = reply.headers["Content-Range"].removeprefix("bytes ").partition("/")
        first, _, last = span.partition("-")
        shifted = f"bytes {int(first) + rule['delta']}-{int(last) + rule['delta']}/{total}"
        reply.headers["Content-Range"] = shifted
    if named(rules, "gzip") is not None:
        reply.headers["Content-Encoding"] = "gzip"


def read_source(source: Source, start: int, count: int) -> bytes:
    if isinstance(source, bytes):
        return source[start : start + count]
    with source.open("rb") as file:
        return os.pread(file.fileno(), count, start)


class BodySender:
    """Follows plans onto connections, under the caps that `settings` has at the moment a body starts."""

    def __init__(self, settings: Settings, counters: Counters) -> None:
        self._settings = settings
        self._counters = counters
        self._total = Pace(None)
        self._by_connection: WeakKeyDictionary[asyncio.Transport, Pace] = WeakKeyDictionary()

    async def send(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        source: Source,
        plan: Plan,
        *,
        key: str,
        paced: bool,
    ) -> None:
        """Sends the body of a prepared response. `key` names it in the counter of bytes sent ("" is not counted).

        Raises ConnectionError when the client left or a fault ended the connection: the answer is over either way.
        """
        paces = [Pace(plan.rate_bytes_per_s), *(self._caps(request) if paced else ())]
        job = _Job(request, response, self._counters, key, paces)
        if isinstance(source, bytes):
            await job.follow(plan, source, None)
            return
        with source.open("rb", buffering=0) as file:
            await job.follow(plan, source, file)

    def _caps(self, request: web.BaseRequest) -> list[Pace]:
        if request.transport is None:
            raise ConnectionResetError("the client left")
        connection = self._by_connection.setdefault(request.transport, Pace(None))
        connection.rate_bytes_per_s = self._settings.connection_rate_bytes_per_s
        self._total.rate_bytes_per_s = self._settings.rate_bytes_per_s
        return [self._total, connection]


class _Job:
    """One body on its connection."""

    def __init__(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        counters: Counters,
        key: str,
        paces: list[Pace],
    ) -> None:
        self._request = request
        self._response = response
        self._counters = counters
        self._key = key
        self._paces = paces
        self._loop = asyncio.get_running_loop()

    async def follow(self, plan: Plan, source: Source, file: BinaryIO | None) -> None:
        for step in plan.steps:
            match step:
                case Send(start, count) if file is not None and plan.length is not None:
                    await self.send_file(file, start, count)
                case Send(start, count):
                    await self.send_read(source, start, count)
                case Literal(data):
                    await self.write(data)
                case Stall(seconds):
                    await self.stall(seconds)
                case Cut(reset):
                    self.cut(reset=reset)

    async def send_file(self, file: BinaryIO, start: int, count: int) -> None:
        end = start + count
        while start < end:
            transport = self._transport()
            piece = min(self._piece_bytes(), end - start)
            file.seek(start)
            # Counted first, so that whoever has the bytes finds them counted, and corrected when they did not leave.
            self._count(piece)
            try:
                done = await self._loop.sendfile(transport, file, start, piece)
            except BaseException:
                # sendfile leaves the file's position behind what it handed over, also when it was interrupted.
                self._count(file.tell() - start - piece)
                raise
            if done < piece:
                self._count(done - piece)
                raise ConnectionAbortedError(f"{file.name} ends at {start + done} bytes, expected {end}")
            start += done
            await self._wait(done)

    async def send_read(self, source: Source, start: int, count: int) -> None:
        end = start + count
        while start < end:
            piece = min(self._piece_bytes(), PIECE_BYTES // 8, end - start)
            await self.write(read_source(source, start, piece))
            start += piece

    async def write(self, data: bytes) -> None:
        self._transport()
        self._count(len(data))
        await self._response.write(data)
        await self._wait(len(data))

    async def stall(self, seconds: float | None) -> None:
        deadline = self._loop.time() + seconds if seconds is not None else float("inf")
        while (left := deadline - self._loop.time()) > 0:
            self._transport()
            await asyncio.sleep(min(POLL_S, left))

    def cut(self, *, reset: bool) -> None:
        transport = self._transport()
        if reset:
            connection: socket.socket = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()
        raise ConnectionAbortedError("cut by a fault")

    def _transport(self) -> asyncio.Transport:
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client left")
        return transport

    def _count(self, count: int) -> None:
        if self._key:
            self._counters.sent[self._key] += count

    def _piece_bytes(self) -> int:
        rates = [pace.rate_bytes_per_s for pace in self._paces if pace.rate_bytes_per_s]
        return min([PIECE_BYTES, *(max(PACED_PIECE_BYTES, int(rate * PACED_PIECE_S)) for rate in rates)])

    async def _wait(self, count: int) -> None:
        wait_s = max(pace.reserve(count, self._loop.time()) for pace in self._paces)
        if wait_s > 0:
            await asyncio.sleep(wait_s)
