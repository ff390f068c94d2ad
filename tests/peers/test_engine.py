"""What only the real engine has: sockets, encryption, disks that fail, alerts that are lost."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from peers import engine as engine_module
from peers import signals
from peers.engine import Engine
from peers.metainfo import Kind, hot_metainfo
from peers.settings import CannotListen, EncryptionUnavailable, EngineOptions
from peers.swarm import (
    Endpoint,
    JournalMismatch,
    PeerConnected,
    PeerDisconnected,
    PieceAdded,
    PieceArrived,
    StorageFailed,
    SwarmClosed,
    SwarmEvent,
    TorrentBroken,
    TorrentRemoved,
)
from tests.peers.worlds import (
    BLOB,
    MIB,
    RealWorld,
    all_of,
    hot,
    none_of,
    piece,
    random_content,
    sealed,
)

OPTIONS = EngineOptions("127.0.0.1")
PIECES = 8
CONTENT = random_content(PIECES * MIB)
EMPTY = bytes(len(CONTENT))
EVERY = set(range(PIECES))
NONE, ALL = none_of(CONTENT), all_of(CONTENT)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[RealWorld]:
    made = RealWorld(tmp_path, OPTIONS)
    yield made
    await made.end()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB, for those who may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a small tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


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
    world: RealWorld, mode: str, hash_visible: bool, payload_visible: bool
) -> None:
    options = replace(OPTIONS, encryption=mode)
    seed, reader = await world.node("seed", options), await world.node("reader", options)
    wire = Wire()
    tapped = await wire.start(seed.endpoint(Kind.HOT))
    await seed.join(hot(CONTENT), CONTENT, ALL)
    await reader.swarm.open(hot(CONTENT), reader.write(EMPTY), NONE, [tapped])
    await world.until(lambda: reader.pieces() == EVERY, "all pieces")
    await wire.stop()

    assert (hot(CONTENT).info_hash in wire.seen) is hash_visible
    assert (CONTENT[5 * MIB : 5 * MIB + 64] in wire.seen) is payload_visible
    assert b"BitTorrent protocol" not in wire.seen[:68]  # neither greets in clear


@pytest.mark.parametrize("mode", ["handshake", "full"])
async def test_a_peer_that_greets_in_clear_is_cut_off_even_if_it_knows_the_info_hash(
    world: RealWorld, mode: str
) -> None:
    seed = await world.node("seed", replace(OPTIONS, encryption=mode))
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


async def test_tls_says_that_it_is_not_available_and_what_is() -> None:
    with pytest.raises(EncryptionUnavailable) as refused:
        await Engine.start(replace(OPTIONS, encryption="tls"), lambda event: None)

    assert refused.value.mode == "tls"
    assert '"handshake"' in str(refused.value)


async def test_a_taken_port_is_an_error_and_not_another_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(CannotListen) as refused:
            await Engine.start(replace(OPTIONS, sealed_port=port), lambda event: None)

    assert refused.value.address == f"127.0.0.1:{port}"


async def test_the_two_sessions_listen_on_tcp_ports_of_their_own(world: RealWorld) -> None:
    node = await world.node("node")

    ports = {node.endpoint(kind).port for kind in Kind}

    assert len(ports) == 2
    for port in ports:
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


async def test_every_piece_can_be_read_by_path_in_the_moment_it_is_reported(
    world: RealWorld, tmp_path: Path
) -> None:
    path = tmp_path / "reader" / BLOB
    unreadable: list[int] = []

    def look(event: SwarmEvent) -> None:
        if isinstance(event, PieceArrived | PieceAdded):
            with open(path, "rb") as file:
                if os.pread(file.fileno(), MIB, event.index * MIB) != piece(CONTENT, event.index):
                    unreadable.append(event.index)

    fetcher, reader = await world.node("fetcher"), await world.node("reader", look=look)
    await fetcher.join(hot(CONTENT), EMPTY, NONE)
    await reader.join(hot(CONTENT), EMPTY, NONE, [fetcher])
    await fetcher.add(CONTENT, range(4))
    await reader.add(CONTENT, range(4, PIECES))
    await world.until(lambda: reader.pieces() == EVERY, "all pieces at the reader")

    assert {event.index for event in reader.saw(PieceArrived)} >= {0, 1, 2, 3}
    assert unreadable == []


async def test_a_full_disk_is_reported_once_while_the_library_announces_garbage(
    world: RealWorld, small_disk: Path
) -> None:
    node = await world.node("node")
    path = small_disk / BLOB
    path.touch()
    os.truncate(path, len(CONTENT))  # not preallocated: the hole cannot be filled
    await node.swarm.open(hot(CONTENT), str(path), NONE)

    await node.add(CONTENT, range(PIECES))
    await world.until(lambda: node.saw(StorageFailed) != [], "the storage failure")

    with pytest.raises(SwarmClosed) as refused:
        await node.add(CONTENT, [0])
    assert "space" in str(refused.value)
    await node.swarm.close(BLOB, Kind.HOT)
    assert [failure.no_space for failure in node.saw(StorageFailed)] == [True]
    assert node.events[-1] == TorrentRemoved(BLOB, Kind.HOT)
    announced = node.pieces()
    content = path.read_bytes()
    assert any(piece(content, index) != piece(CONTENT, index) for index in announced)


async def test_pieces_are_reported_even_when_the_library_drops_their_alerts(world: RealWorld) -> None:
    content = random_content(48 * MIB)
    seed, reader = await world.node("seed"), await world.node("reader", replace(OPTIONS, alert_queue_max=4))
    await seed.join(hot(content), content, all_of(content))
    await reader.join(hot(content), bytes(len(content)), none_of(content), [seed])
    await world.until(lambda: reader.saw(PeerConnected) != [], "the connection")
    await world.until(lambda: len(reader.pieces()) == 48, "all pieces")

    assert len(reader.saw(PieceArrived)) == 48
    await reader.swarm.close(BLOB, Kind.HOT)
    assert reader.read() == content


async def test_a_journal_with_more_pieces_than_the_alert_queue_holds_is_opened(world: RealWorld) -> None:
    content = bytes(48 * MIB)
    node = await world.node("node", replace(OPTIONS, alert_queue_max=8))

    await node.join(hot(content), content, all_of(content))

    assert node.events == []


async def test_connections_are_bounded(world: RealWorld) -> None:
    seed = await world.node("seed", replace(OPTIONS, connections_max=1))
    first, second = await world.node("first"), await world.node("second")
    await seed.join(hot(CONTENT), CONTENT, ALL)
    await first.join(hot(CONTENT), EMPTY, NONE, [seed])
    await world.until(lambda: first.pieces() == EVERY, "all pieces at the first")
    await second.join(hot(CONTENT), EMPTY, NONE, [seed])
    await world.until(
        lambda: second.saw(PeerDisconnected) != [] or len(seed.saw(PeerDisconnected)) == 1, "the refusal"
    )

    assert len((await seed.swarm.stats()).peers) <= 1


async def test_a_nodes_tag_shows_in_its_peers_statistics(world: RealWorld) -> None:
    seed, reader = await world.node("seed", replace(OPTIONS, tag="gpu-07")), await world.node("reader")
    await seed.join(hot(CONTENT), CONTENT, ALL)
    await reader.join(hot(CONTENT), EMPTY, NONE, [seed])
    await world.until(lambda: reader.pieces() == EVERY, "all pieces")

    assert [peer.tag for peer in (await reader.swarm.stats()).peers] == ["gpu-07"]


async def test_a_rate_limit_is_for_both_sessions_together(world: RealWorld) -> None:
    node = await world.node("node")
    engine = node.swarm
    assert isinstance(engine, Engine)

    def limits() -> list[tuple[int, int]]:
        sessions = [line.session for line in engine._lines.values()]
        classes = [session._lt.get_peer_class(session._all_peers) for session in sessions]
        return [(each["upload_limit"], each["download_limit"]) for each in classes]

    node.swarm.limit(send_bytes_per_s=4001, receive_bytes_per_s=0)
    await node.join(hot(CONTENT), CONTENT, ALL)
    assert limits() == [(4001, 0)] * 2
    await node.join(sealed(CONTENT), CONTENT, ALL)
    assert limits() == [(2000, 0)] * 2
    await node.swarm.close(BLOB, Kind.HOT)
    assert limits() == [(4001, 0)] * 2


async def test_an_opening_that_is_cancelled_leaves_nothing_open(world: RealWorld) -> None:
    node = await world.node("node")
    opening = asyncio.create_task(node.join(hot(CONTENT), CONTENT, ALL))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await world.until(lambda: node.saw(TorrentRemoved) != [], "the removal")

    await node.join(hot(CONTENT), CONTENT, ALL)
    await node.swarm.flush(BLOB, Kind.HOT)


async def test_opening_again_while_the_removal_is_under_way_waits_for_it(world: RealWorld) -> None:
    node = await world.node("node")
    await node.join(hot(CONTENT), CONTENT, ALL)
    closing = asyncio.create_task(node.swarm.close(BLOB, Kind.HOT))
    await asyncio.sleep(0)

    await node.join(hot(CONTENT), CONTENT, ALL)

    await closing
    assert node.events == [TorrentRemoved(BLOB, Kind.HOT)]
    await node.swarm.flush(BLOB, Kind.HOT)


@pytest.mark.parametrize(
    "said",
    [
        signals.Failed(BLOB, "the engine began to check the file"),
        signals.PieceMap(BLOB, (False,) * PIECES),
    ],
)
async def test_a_swarm_that_leaves_the_journal_is_reported_broken_and_removed(
    world: RealWorld, said: signals.TorrentSignal
) -> None:
    node = await world.node("node")
    await node.join(hot(CONTENT), CONTENT, ALL)
    engine = node.swarm
    assert isinstance(engine, Engine)

    engine._handle(engine._lines[Kind.HOT], Kind.HOT, said)
    await world.until(lambda: node.saw(TorrentRemoved) != [], "the removal")

    assert [type(event) for event in node.events] == [TorrentBroken, TorrentRemoved]
    with pytest.raises(SwarmClosed):
        await node.swarm.flush(BLOB, Kind.HOT)


@pytest.mark.parametrize("claimed", [signals.PieceFinished(BLOB, 3), signals.Failed(BLOB, "rejected")])
async def test_a_claim_beyond_the_journal_while_opening_fails_the_opening(
    world: RealWorld, claimed: signals.TorrentSignal
) -> None:
    node = await world.node("node")
    opening = asyncio.create_task(node.join(hot(CONTENT), EMPTY, NONE))
    await asyncio.sleep(0)
    engine = node.swarm
    assert isinstance(engine, Engine)

    engine._handle(engine._lines[Kind.HOT], Kind.HOT, claimed)

    with pytest.raises(JournalMismatch):
        await opening
    await world.until(lambda: node.saw(TorrentRemoved) != [], "the removal")


async def test_shutdown_in_the_middle_of_a_transfer_is_quick_and_frees_the_ports(tmp_path: Path) -> None:
    world = RealWorld(tmp_path, OPTIONS)
    content = random_content(32 * MIB)
    seed, reader = await world.node("seed"), await world.node("reader")
    await seed.join(hot(content), content, all_of(content))
    await reader.join(hot(content), bytes(len(content)), none_of(content), [seed])
    await world.until(lambda: reader.saw(PieceArrived) != [], "a first piece")
    port = reader.endpoint(Kind.HOT).port

    began = world.now()
    await world.end()

    assert world.now() - began < 3
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


async def test_shutdown_does_not_wait_longer_than_it_was_told_for_a_disk_that_hangs(
    world: RealWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    abandoned: list[engine_module._Line] = []
    monkeypatch.setattr(engine_module, "_ABANDONED", abandoned)
    node = await world.node("node")
    await node.join(hot(CONTENT), CONTENT, ALL)

    engine = node.swarm
    assert isinstance(engine, Engine)
    monkeypatch.setattr(engine._lines[Kind.HOT].session, "remove", lambda blob: None)  # never confirmed
    began = world.now()

    await node.swarm.shutdown(timeout_s=0.2)

    assert world.now() - began < 2
    assert node.events == [TorrentRemoved(BLOB, Kind.HOT)]
    assert len(abandoned) == 2
    for line in abandoned:
        line.session.stop()
        os.close(line.wake_reader)
        os.close(line.wake_writer)


async def test_a_limit_beyond_32_bits_is_no_bound(world: RealWorld) -> None:
    node = await world.node("node")
    engine = node.swarm
    assert isinstance(engine, Engine)

    node.swarm.limit(send_bytes_per_s=3_125_000_000, receive_bytes_per_s=2**31 - 1)

    session = engine._lines[Kind.SEALED].session
    peer_class = session._lt.get_peer_class(session._all_peers)
    assert (peer_class["upload_limit"], peer_class["download_limit"]) == (0, 2**31 - 1)


async def test_a_blob_of_700_gb_is_opened_with_its_journal_in_a_moment(world: RealWorld) -> None:
    metainfo = hot_metainfo(b"secret", BLOB, 700 * 10**9)
    node = await world.node("node")
    path = node.path()
    open(path, "wb").close()
    os.truncate(path, metainfo.size_bytes)  # a hole, nothing of it is read or written

    began = world.now()
    await node.swarm.open(metainfo, path, [True] * metainfo.piece_count)

    assert world.now() - began < 5
    assert node.events == []
