"""What the wire shows, and to whom the engine talks."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace

import pytest

from peers.metainfo import Kind
from peers.settings import EngineOptions
from peers.swarm import Endpoint
from tests.peers.strangers import GREETING, KEY_BYTES, PADDING_BYTES_MAX, greet
from tests.peers.worlds import BLOB, MIB, RealWorld, all_of, hot, none_of, random_content

OPTIONS = EngineOptions("127.0.0.1")
PIECES = 8
CONTENT = random_content(PIECES * MIB)
EMPTY = bytes(len(CONTENT))
EVERY = set(range(PIECES))
NONE, ALL = none_of(CONTENT), all_of(CONTENT)


class Wire:
    """A relay in front of a listener that keeps what a listener on the wire would see."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server

    async def start(self, target: Endpoint) -> Endpoint:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there_reader, there_writer = await asyncio.open_connection(target.host, target.port)
            for source, sink in ((reader, there_writer), (there_reader, writer)):
                task = asyncio.create_task(self._copy(source, sink))
                self._tasks.add(task)

        self._server = await asyncio.start_server(accept, "127.0.0.1", 0)
        return Endpoint(*self._server.sockets[0].getsockname())

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(1 << 16):
                self.seen += data
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass  # the other side left first
        finally:
            sink.close()

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.mark.parametrize(
    ("mode", "hash_visible", "payload_visible"), [("handshake", True, True), ("full", False, False)]
)
async def test_full_encryption_hides_the_info_hash_from_the_wire_and_handshake_does_not(
    real_world: RealWorld, mode: str, hash_visible: bool, payload_visible: bool
) -> None:
    options = replace(OPTIONS, encryption=mode)
    seed, reader = await real_world.node("seed", options), await real_world.node("reader", options)
    wire = Wire()
    tapped = await wire.start(seed.endpoint(Kind.HOT))
    await seed.join(hot(CONTENT), CONTENT, ALL)
    await reader.swarm.open(hot(CONTENT), reader.write(EMPTY), NONE, [tapped])
    await real_world.until(lambda: reader.pieces() == EVERY, "all pieces")
    await wire.stop()

    assert (hot(CONTENT).info_hash in wire.seen) is hash_visible
    assert (CONTENT[5 * MIB : 5 * MIB + 64] in wire.seen) is payload_visible
    assert b"BitTorrent protocol" not in wire.seen[:68]  # neither greets in clear


@pytest.mark.parametrize("mode", ["handshake", "full"])
async def test_a_peer_that_greets_in_clear_is_cut_off_even_if_it_knows_the_info_hash(
    real_world: RealWorld, mode: str
) -> None:
    seed = await real_world.node("seed", replace(OPTIONS, encryption=mode))
    await seed.join(hot(CONTENT), CONTENT, ALL)
    endpoint = seed.endpoint(Kind.HOT)
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    writer.write(b"\x13BitTorrent protocol" + bytes(8) + hot(CONTENT).info_hash + b"-XX0000-" + bytes(12))

    async with asyncio.timeout(10):
        try:
            answer = await reader.read(1)
        except ConnectionResetError:
            answer = b""

    assert answer == b""
    writer.close()


@pytest.mark.parametrize("mode", ["handshake", "full"])
async def test_a_stranger_that_knows_blob_and_size_hears_random_bytes_of_a_key_exchange_and_no_more(
    real_world: RealWorld, mode: str
) -> None:
    """Only who knows the info-hash, which is keyed with the secret, is answered with a handshake."""
    seed = await real_world.node("seed", replace(OPTIONS, encryption=mode))
    await seed.join(hot(CONTENT), CONTENT, ALL)
    endpoint = seed.endpoint(Kind.HOT)
    guessed = hot(CONTENT, secret=b"what a stranger takes for the secret")

    for info_hash in (guessed.info_hash, hashlib.sha1(BLOB.encode()).digest()):
        answered, greeting = await greet(endpoint, info_hash)
        assert greeting == b""
        assert len(answered) <= KEY_BYTES + PADDING_BYTES_MAX
    answered, greeting = await greet(endpoint, hot(CONTENT).info_hash)
    assert greeting.startswith(GREETING), "the same words with the right hash are answered"
    assert hot(CONTENT).info_hash in greeting
