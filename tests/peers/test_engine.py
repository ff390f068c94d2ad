"""What only the real engine has: sockets, disks that fail, alerts that are lost."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from peers import engine as engine_module
from peers import signals
from peers.engine import Engine
from peers.metainfo import Kind, hot_metainfo
from peers.settings import CannotListen, EngineOptions
from peers.swarm import (
    Endpoint,
    JournalMismatch,
    PeerDisconnected,
    PieceAdded,
    PieceArrived,
    StorageFailed,
    SwarmClosed,
    SwarmEvent,
    TorrentBroken,
    TorrentRemoved,
)
from peers.throttle import engine_rate
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


async def test_a_taken_port_is_an_error_and_not_another_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(CannotListen) as refused:
            await Engine.start(replace(OPTIONS, sealed_port=port), lambda event: None)

    assert refused.value.address == f"127.0.0.1:{port}"


async def test_the_two_sessions_listen_on_tcp_ports_of_their_own(real_world: RealWorld) -> None:
    node = await real_world.node("node")

    ports = {node.endpoint(kind).port for kind in Kind}

    assert len(ports) == 2
    for port in ports:
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


async def test_every_piece_can_be_read_by_path_in_the_moment_it_is_reported(
    real_world: RealWorld, tmp_path: Path
) -> None:
    path = tmp_path / "reader" / BLOB
    unreadable: list[int] = []

    def look(event: SwarmEvent) -> None:
        if isinstance(event, PieceArrived | PieceAdded):
            with open(path, "rb") as file:
                if os.pread(file.fileno(), MIB, event.index * MIB) != piece(CONTENT, event.index):
                    unreadable.append(event.index)

    fetcher, reader = await real_world.node("fetcher"), await real_world.node("reader", look=look)
    await fetcher.join(hot(CONTENT), EMPTY, NONE)
    await reader.join(hot(CONTENT), EMPTY, NONE, [fetcher])
    await fetcher.add(CONTENT, range(4))
    await reader.add(CONTENT, range(4, PIECES))
    await real_world.until(lambda: reader.pieces() == EVERY, "all pieces at the reader")

    assert {event.index for event in reader.saw(PieceArrived)} >= {0, 1, 2, 3}
    assert unreadable == []


async def test_a_full_disk_is_reported_once_while_the_library_announces_garbage(
    real_world: RealWorld, small_disk: Path
) -> None:
    node = await real_world.node("node")
    path = small_disk / BLOB
    path.touch()
    os.truncate(path, len(CONTENT))  # not preallocated: the hole cannot be filled
    await node.swarm.open(hot(CONTENT), str(path), NONE)

    await node.add(CONTENT, range(PIECES))
    await real_world.until(lambda: node.saw(StorageFailed) != [], "the storage failure")

    with pytest.raises(SwarmClosed) as refused:
        await node.add(CONTENT, [0])
    assert "space" in str(refused.value)
    await node.swarm.close(BLOB, Kind.HOT)
    assert [failure.no_space for failure in node.saw(StorageFailed)] == [True]
    assert node.events[-1] == TorrentRemoved(BLOB, Kind.HOT)
    announced = node.pieces()
    content = path.read_bytes()
    assert any(piece(content, index) != piece(CONTENT, index) for index in announced)


async def test_pieces_are_reported_even_when_the_library_drops_their_alerts(real_world: RealWorld) -> None:
    content = random_content(24 * MIB)
    seed, reader = (
        await real_world.node("seed"),
        await real_world.node("reader", replace(OPTIONS, alert_queue_max=4)),
    )
    await seed.join(hot(content), content, all_of(content))
    await reader.join(hot(content), bytes(len(content)), none_of(content), [seed])
    deadline = real_world.now() + 20
    while reader.read() != content and real_world.now() < deadline:
        time.sleep(0.02)  # noqa: ASYNC251  # holding the loop is the fault: nobody takes alerts meanwhile

    await real_world.until(lambda: len(reader.pieces()) == 24, "all pieces")

    assert len(reader.saw(PieceArrived)) == 24


async def test_an_opening_that_shutdown_overtakes_ends_with_it(real_world: RealWorld) -> None:
    node = await real_world.node("node")
    opening = asyncio.create_task(node.join(hot(CONTENT), CONTENT, ALL))
    await asyncio.sleep(0)

    await node.swarm.shutdown(timeout_s=5)

    with pytest.raises(SwarmClosed):
        await opening


async def test_a_journal_with_more_pieces_than_the_alert_queue_holds_is_opened(real_world: RealWorld) -> None:
    content = bytes(48 * MIB)
    node = await real_world.node("node", replace(OPTIONS, alert_queue_max=8))

    await node.join(hot(content), content, all_of(content))

    assert node.events == []


async def test_connections_are_bounded(real_world: RealWorld) -> None:
    seed = await real_world.node("seed", replace(OPTIONS, connections_max=1))
    first, second = await real_world.node("first"), await real_world.node("second")
    await seed.join(hot(CONTENT), CONTENT, ALL)
    await first.join(hot(CONTENT), EMPTY, NONE, [seed])
    await real_world.until(lambda: first.pieces() == EVERY, "all pieces at the first")
    await second.join(hot(CONTENT), EMPTY, NONE, [seed])
    await real_world.until(
        lambda: second.saw(PeerDisconnected) != [] or len(seed.saw(PeerDisconnected)) == 1, "the refusal"
    )

    assert len((await seed.swarm.stats()).peers) <= 1


async def test_a_nodes_tag_shows_in_its_peers_statistics(real_world: RealWorld) -> None:
    seed, reader = (
        await real_world.node("seed", replace(OPTIONS, tag="gpu-07")),
        await real_world.node("reader"),
    )
    await seed.join(hot(CONTENT), CONTENT, ALL)
    await reader.join(hot(CONTENT), EMPTY, NONE, [seed])
    await real_world.until(lambda: reader.pieces() == EVERY, "all pieces")

    assert [peer.tag for peer in (await reader.swarm.stats()).peers] == ["gpu-07"]


async def test_a_rate_limit_is_for_both_sessions_together(real_world: RealWorld) -> None:
    node = await real_world.node("node")
    engine = node.swarm
    assert isinstance(engine, Engine)

    def limits() -> list[tuple[int, int]]:
        sessions = [line.session for line in engine._lines.values()]
        classes = [session._lt.get_peer_class(session._all_peers) for session in sessions]
        return [(each["upload_limit"], each["download_limit"]) for each in classes]

    node.swarm.limit(send_bytes_per_s=4162, receive_bytes_per_s=0)  # 4001 and their headers
    await node.join(hot(CONTENT), CONTENT, ALL)
    assert limits() == [(4001, 0)] * 2
    await node.join(sealed(CONTENT), CONTENT, ALL)
    assert limits() == [(2000, 0)] * 2
    await node.swarm.close(BLOB, Kind.HOT)
    assert limits() == [(4001, 0)] * 2


async def test_an_opening_that_is_cancelled_leaves_nothing_open(real_world: RealWorld) -> None:
    node = await real_world.node("node")
    opening = asyncio.create_task(node.join(hot(CONTENT), CONTENT, ALL))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await real_world.until(lambda: node.saw(TorrentRemoved) != [], "the removal")

    await node.join(hot(CONTENT), CONTENT, ALL)
    await node.swarm.flush(BLOB, Kind.HOT)


async def test_opening_again_while_the_removal_is_under_way_waits_for_it(real_world: RealWorld) -> None:
    node = await real_world.node("node")
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
    real_world: RealWorld, said: signals.TorrentSignal
) -> None:
    node = await real_world.node("node")
    await node.join(hot(CONTENT), CONTENT, ALL)
    engine = node.swarm
    assert isinstance(engine, Engine)

    engine._handle(engine._lines[Kind.HOT], Kind.HOT, said)
    await real_world.until(lambda: node.saw(TorrentRemoved) != [], "the removal")

    assert [type(event) for event in node.events] == [TorrentBroken, TorrentRemoved]
    with pytest.raises(SwarmClosed):
        await node.swarm.flush(BLOB, Kind.HOT)


@pytest.mark.parametrize("claimed", [signals.PieceFinished(BLOB, 3), signals.Failed(BLOB, "rejected")])
async def test_a_claim_beyond_the_journal_while_opening_fails_the_opening(
    real_world: RealWorld, claimed: signals.TorrentSignal
) -> None:
    node = await real_world.node("node")
    opening = asyncio.create_task(node.join(hot(CONTENT), EMPTY, NONE))
    await asyncio.sleep(0)
    engine = node.swarm
    assert isinstance(engine, Engine)

    engine._handle(engine._lines[Kind.HOT], Kind.HOT, claimed)

    with pytest.raises(JournalMismatch):
        await opening
    await real_world.until(lambda: node.saw(TorrentRemoved) != [], "the removal")


async def test_shutdown_in_the_middle_of_a_transfer_is_quick_and_frees_the_ports(
    real_world: RealWorld,
) -> None:
    content = random_content(32 * MIB)
    seed, reader = await real_world.node("seed"), await real_world.node("reader")
    await seed.join(hot(content), content, all_of(content))
    await reader.join(hot(content), bytes(len(content)), none_of(content), [seed])
    await real_world.until(lambda: reader.saw(PieceArrived) != [], "a first piece")
    port = reader.endpoint(Kind.HOT).port

    began = real_world.now()
    await real_world.end()

    assert real_world.now() - began < 3
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


async def test_shutdown_does_not_wait_longer_than_it_was_told_for_a_disk_that_hangs(
    real_world: RealWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    abandoned: list[engine_module._Line] = []
    monkeypatch.setattr(engine_module, "_ABANDONED", abandoned)
    node = await real_world.node("node")
    await node.join(hot(CONTENT), CONTENT, ALL)

    engine = node.swarm
    assert isinstance(engine, Engine)
    monkeypatch.setattr(engine._lines[Kind.HOT].session, "remove", lambda blob: None)  # never confirmed
    began = real_world.now()

    await node.swarm.shutdown(timeout_s=0.2)

    assert real_world.now() - began < 2
    assert node.events == [TorrentRemoved(BLOB, Kind.HOT)]
    assert len(abandoned) == 2
    for line in abandoned:
        line.session.stop()
        os.close(line.wake_reader)
        os.close(line.wake_writer)


async def test_a_limit_beyond_32_bits_is_no_bound(real_world: RealWorld) -> None:
    node = await real_world.node("node")
    engine = node.swarm
    assert isinstance(engine, Engine)

    node.swarm.limit(send_bytes_per_s=3_125_000_000, receive_bytes_per_s=2_000_000_000)

    session = engine._lines[Kind.SEALED].session
    peer_class = session._lt.get_peer_class(session._all_peers)
    assert (peer_class["upload_limit"], peer_class["download_limit"]) == (0, engine_rate(2_000_000_000))


async def test_a_blob_of_700_gb_is_opened_with_its_journal_in_a_moment(real_world: RealWorld) -> None:
    metainfo = hot_metainfo(b"secret", BLOB, 700 * 10**9)
    node = await real_world.node("node")
    path = node.path()
    open(path, "wb").close()
    os.truncate(path, metainfo.size_bytes)  # a hole, nothing of it is read or written

    began = real_world.now()
    await node.swarm.open(metainfo, path, [True] * metainfo.piece_count)

    assert real_world.now() - began < 5
    assert node.events == []


async def test_on_all_addresses_both_families_reach_one_port_and_a_refused_host_is_cut_off(
    real_world: RealWorld,
) -> None:
    events: list[SwarmEvent] = []
    hub = await real_world.node("hub", replace(OPTIONS, host="::"), look=events.append)
    four = await real_world.node("four")
    six = await real_world.node("six", replace(OPTIONS, host="::1"))
    port = hub.endpoint(Kind.HOT).port
    await hub.join(hot(CONTENT), EMPTY, NONE)
    for other, host in ((four, "127.0.0.1"), (six, "::1")):
        await other.join(hot(CONTENT), EMPTY, NONE)
        other.swarm.connect(BLOB, Kind.HOT, [Endpoint(host, port)])
    await hub.add(CONTENT, [0])
    await real_world.until(lambda: four.pieces() == six.pieces() == {0}, "the first piece at both")

    engine = hub.swarm
    assert isinstance(engine, Engine)
    engine.refuse({"::1"})
    gone = lambda: any(isinstance(e, PeerDisconnected) and e.peer.host == "::1" for e in events)  # noqa: E731
    await real_world.until(gone, "the refused one is cut off")
    six.swarm.connect(BLOB, Kind.HOT, [Endpoint("::1", port)])
    engine.connect(BLOB, Kind.HOT, [six.endpoint(Kind.HOT)])
    await hub.add(CONTENT, [1])
    await real_world.until(lambda: four.pieces() == {0, 1}, "the second piece where nobody is refused")
    assert six.pieces() == {0}

    engine.refuse(())
    engine.connect(BLOB, Kind.HOT, [six.endpoint(Kind.HOT)])
    await real_world.until(
        lambda: six.pieces() == {0, 1}, "the second piece where nobody is refused any more"
    )
