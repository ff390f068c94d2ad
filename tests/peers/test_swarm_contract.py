"""The contract of the `Swarm` port, run over the real engine and the in-memory one.

Each trap that was measured with libtorrent is a test here; what only the real engine has (encryption,
sockets, a disk that is full) is in test_engine.py.
"""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from peers.metainfo import Kind
from peers.swarm import (
    UNFLUSHED_BYTES_MAX,
    ConnectionsEnded,
    Flushed,
    HashFailed,
    JournalMismatch,
    PeerConnected,
    PeerDisconnected,
    PieceAdded,
    PieceArrived,
    StorageFailed,
    SwarmClosed,
    TorrentRemoved,
)
from tests.peers.worlds import (
    BLOB,
    MIB,
    World,
    all_of,
    corrupted,
    hot,
    none_of,
    piece,
    random_content,
    sealed,
)

PIECES = 12
CONTENT = random_content(PIECES * MIB - 12_345)
EMPTY = bytes(len(CONTENT))
EVERY = set(range(PIECES))
NONE, ALL = none_of(CONTENT), all_of(CONTENT)


async def test_a_piece_added_at_one_node_arrives_at_the_other_and_can_be_read_by_path(world: World) -> None:
    fetcher, other = await world.node("fetcher"), await world.node("other")
    await fetcher.join(hot(CONTENT), EMPTY, NONE)
    await other.join(hot(CONTENT), EMPTY, NONE, [fetcher])

    await fetcher.add(CONTENT, sorted(EVERY))
    await world.until(lambda: other.pieces() == EVERY, "all pieces at the other node")

    assert fetcher.saw(PieceArrived) == []
    assert {event.index for event in fetcher.saw(PieceAdded)} == EVERY
    assert other.saw(PieceAdded) == []
    assert other.read() == fetcher.read() == CONTENT


async def test_four_nodes_that_fetch_a_quarter_each_all_get_everything(world: World) -> None:
    nodes = [await world.node(f"node{number}") for number in range(4)]
    for number, node in enumerate(nodes):
        await node.join(hot(CONTENT), EMPTY, NONE, nodes[:number])
    for number, node in enumerate(nodes):
        await node.add(CONTENT, range(number, PIECES, 4))

    await world.until(lambda: all(node.pieces() == EVERY for node in nodes), "all pieces everywhere")

    assert [node.read() == CONTENT for node in nodes] == [True] * 4


@pytest.mark.parametrize("swarm", [Kind.HOT, Kind.SEALED])
@pytest.mark.parametrize(
    ("name", "length", "have", "reason"),
    [
        (BLOB, None, NONE, "does not exist"),
        (BLOB, len(CONTENT) - 1, NONE, "bytes instead of"),
        (BLOB, len(CONTENT) + 1, NONE, "bytes instead of"),
        (BLOB, len(CONTENT), [], "journal has 0 pieces"),
        (BLOB, len(CONTENT), ALL[:-1], "journal has 11 pieces"),
        ("another", len(CONTENT), NONE, "is named another"),
    ],
)
async def test_a_file_or_journal_that_would_start_a_check_is_refused_before_it_becomes_a_seed_of_zeros(
    world: World, swarm: Kind, name: str, length: int | None, have: list[bool], reason: str
) -> None:
    node = await world.node("node")
    if length is not None:
        node.write(bytes(length), name)
    metainfo = hot(CONTENT) if swarm is Kind.HOT else sealed(CONTENT)

    with pytest.raises(JournalMismatch) as refused:
        await node.swarm.open(metainfo, node.path(name), have)

    assert reason in str(refused.value)
    assert node.events == []
    with pytest.raises(SwarmClosed):
        node.swarm.connect(BLOB, swarm, [])


async def test_the_hot_swarm_delivers_a_corrupt_piece_as_held_and_only_the_read_back_tells(
    world: World,
) -> None:
    wrong = corrupted(CONTENT, [5])
    liar, relay, victim = await world.node("liar"), await world.node("relay"), await world.node("victim")
    await liar.join(hot(CONTENT), wrong, ALL)
    await relay.join(hot(CONTENT), EMPTY, NONE, [liar])
    await victim.join(hot(CONTENT), EMPTY, NONE, [relay])

    await world.until(lambda: victim.pieces() == EVERY, "all pieces at the victim")

    assert victim.saw(HashFailed) == []
    digests = [
        (await victim.swarm.read_back(BLOB, Kind.HOT, index, [hashlib.sha1]))[0] for index in range(PIECES)
    ]
    good = [digest == hashlib.sha1(piece(CONTENT, index)).digest() for index, digest in enumerate(digests)]
    assert [index for index, right in enumerate(good) if not right] == [5]


async def test_the_sealed_swarm_refuses_corrupt_pieces_and_fetches_them_from_a_good_seed(
    world: World,
) -> None:
    liar, good, reader = await world.node("liar"), await world.node("good"), await world.node("reader")
    await liar.join(sealed(CONTENT), corrupted(CONTENT, [3]), ALL)
    await reader.join(sealed(CONTENT), EMPTY, NONE, [liar])
    await world.until(lambda: reader.saw(HashFailed) != [], "a refused piece")
    assert reader.saw(HashFailed)[0] == HashFailed(BLOB, Kind.SEALED, 3)
    assert 3 not in reader.pieces(Kind.SEALED)

    await good.join(sealed(CONTENT), CONTENT, ALL)
    reader.swarm.connect(BLOB, Kind.SEALED, [good.endpoint(Kind.SEALED)])
    await world.until(lambda: reader.pieces(Kind.SEALED) == EVERY, "all pieces at the reader")

    assert reader.read() == CONTENT


async def test_wrong_bytes_added_to_a_sealed_swarm_are_refused_and_right_ones_then_taken(
    world: World,
) -> None:
    node = await world.node("node")
    await node.join(sealed(CONTENT), EMPTY, NONE)

    await node.add(corrupted(CONTENT, [2]), [2], Kind.SEALED)
    await world.until(lambda: node.saw(HashFailed) != [], "the refusal")
    await node.add(CONTENT, [2], Kind.SEALED)
    await world.until(lambda: node.pieces(Kind.SEALED) == {2}, "the right piece")

    assert piece(node.read(), 2) == piece(CONTENT, 2)


async def test_repair_is_opening_sealed_with_what_was_checked_and_fetches_only_the_rest(world: World) -> None:
    seed, broken = await world.node("seed"), await world.node("broken")
    wrong = [1, 4, 9]
    await seed.join(sealed(CONTENT), CONTENT, ALL)
    checked = [index not in wrong for index in range(PIECES)]
    await broken.join(sealed(CONTENT), corrupted(CONTENT, wrong), checked, [seed])

    await world.until(lambda: broken.pieces(Kind.SEALED) == set(wrong), "the repaired pieces")

    assert broken.read() == CONTENT
    assert (await broken.swarm.stats()).received_bytes == 3 * MIB


async def test_resuming_takes_the_journal_as_it_is_without_reading_the_file(world: World) -> None:
    seed, resumed = await world.node("seed"), await world.node("resumed")
    await seed.join(hot(CONTENT), CONTENT, ALL)
    have = [index % 2 == 0 for index in range(PIECES)]

    await resumed.join(hot(CONTENT), EMPTY, have, [seed])  # zeros where the journal says held
    await world.until(lambda: resumed.pieces() == {index for index in EVERY if index % 2}, "the odd pieces")

    content = resumed.read()
    assert [piece(content, index) == piece(CONTENT, index) for index in range(PIECES)] == [
        not held for held in have
    ]


async def test_flush_reports_when_announced_pieces_are_in_the_file(world: World) -> None:
    node = await world.node("node")
    await node.join(hot(CONTENT), EMPTY, NONE)
    await node.add(CONTENT, sorted(EVERY))
    await world.until(lambda: node.pieces() == EVERY, "all pieces stored")

    await node.swarm.flush(BLOB, Kind.HOT)

    assert Flushed(BLOB, Kind.HOT) in node.events
    assert node.read() == CONTENT


async def test_adding_waits_when_64_mib_are_handed_over_and_not_yet_written(world: World) -> None:
    content = bytes(80 * MIB)
    node = await world.node("node")
    await node.join(hot(content), content, none_of(content))
    returned = 0

    async def add(index: int) -> None:
        nonlocal returned
        await node.swarm.add_piece(BLOB, Kind.HOT, index, bytes(MIB))
        returned += 1

    tasks = [asyncio.create_task(add(index)) for index in range(80)]
    await asyncio.sleep(0)
    assert returned * MIB == UNFLUSHED_BYTES_MAX
    excess = 0

    def everything_added() -> bool:
        nonlocal excess
        excess = max(excess, returned - len(node.saw(PieceAdded)))
        return len(node.saw(PieceAdded)) == 80

    await world.until(everything_added, "all pieces stored")
    await asyncio.gather(*tasks)
    assert excess * MIB <= UNFLUSHED_BYTES_MAX


async def test_a_caller_waiting_to_add_is_told_when_the_swarm_is_closed(world: World) -> None:
    content = bytes(80 * MIB)
    node = await world.node("node")
    await node.join(hot(content), content, none_of(content))
    tasks = [
        asyncio.create_task(node.swarm.add_piece(BLOB, Kind.HOT, index, bytes(MIB))) for index in range(80)
    ]
    await asyncio.sleep(0)

    await node.swarm.close(BLOB, Kind.HOT)

    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [type(None)] * 64 + [SwarmClosed] * 16


async def test_adding_a_piece_that_is_held_changes_nothing(world: World) -> None:
    node = await world.node("node")
    await node.join(hot(CONTENT), CONTENT, ALL)

    await node.add(corrupted(CONTENT, [0]), [0])
    await node.swarm.flush(BLOB, Kind.HOT)

    assert node.read() == CONTENT
    assert node.saw(PieceAdded) == []


async def test_a_piece_of_the_wrong_length_is_refused(world: World) -> None:
    node = await world.node("node")
    await node.join(hot(CONTENT), EMPTY, NONE)

    with pytest.raises(ValueError, match="piece 11"):
        await node.swarm.add_piece(BLOB, Kind.HOT, PIECES - 1, bytes(MIB))  # the last one is shorter
    with pytest.raises(IndexError):
        await node.swarm.add_piece(BLOB, Kind.HOT, PIECES, bytes(MIB))


async def test_after_a_rename_the_swarm_serves_nothing_and_the_holder_hears_of_it(world: World) -> None:
    holder, reader = await world.node("holder"), await world.node("reader")
    await holder.join(hot(CONTENT), CONTENT, ALL)
    world.rename(holder.path(), holder.path("published"))
    await reader.join(hot(CONTENT), EMPTY, NONE, [holder])

    await world.until(lambda: holder.saw(StorageFailed) != [], "the storage failure")

    assert holder.saw(StorageFailed)[0].no_space is False
    assert reader.pieces() == set()


async def test_a_file_published_under_a_second_name_is_served_on_by_its_first(world: World) -> None:
    holder, early, late = [await world.node(name) for name in ("holder", "early", "late")]
    await holder.join(hot(CONTENT), EMPTY, NONE)
    await early.join(hot(CONTENT), EMPTY, NONE, [holder])
    await holder.add(CONTENT, sorted(EVERY))
    await world.until(lambda: early.pieces() == EVERY, "all pieces at the first reader")
    world.publish(early.path(), early.path("published"))
    await holder.swarm.close(BLOB, Kind.HOT)
    await late.join(hot(CONTENT), EMPTY, NONE, [early])

    await world.until(lambda: late.pieces() == EVERY, "all pieces at the second reader")
    await early.swarm.close(BLOB, Kind.HOT)

    assert late.read() == world.read(early.path("published")) == CONTENT
    assert early.saw(StorageFailed) == []


async def test_leased_pieces_are_not_asked_of_peers_until_the_lease_is_lost(world: World) -> None:
    seed, leaser = await world.node("seed"), await world.node("leaser")
    leased = {0, 1, 7}
    await seed.join(hot(CONTENT), CONTENT, ALL)
    await leaser.join(hot(CONTENT), EMPTY, NONE)
    leaser.swarm.want(BLOB, Kind.HOT, leased, wanted=False)
    leaser.swarm.connect(BLOB, Kind.HOT, [seed.endpoint(Kind.HOT)])

    await world.until(lambda: leaser.pieces() == EVERY - leased, "all but the leased pieces")
    size_bytes = sum(len(piece(CONTENT, index)) for index in EVERY - leased)
    assert (await leaser.swarm.stats()).received_bytes == size_bytes
    await leaser.add(CONTENT, [7])
    leaser.swarm.want(BLOB, Kind.HOT, [0, 1], wanted=True)
    await world.until(lambda: leaser.pieces() == EVERY, "the rest")

    assert leaser.saw(PieceAdded) == [PieceAdded(BLOB, Kind.HOT, 7)]
    assert leaser.read() == CONTENT


async def test_members_that_want_nothing_of_each_other_for_the_moment_stay_connected(world: World) -> None:
    one, two = await world.node("one"), await world.node("two")
    for node, peers in ((one, []), (two, [one])):
        await node.join(hot(CONTENT), EMPTY, NONE)
        node.swarm.want(BLOB, Kind.HOT, EVERY, wanted=False)
        node.swarm.connect(BLOB, Kind.HOT, [peer.endpoint(Kind.HOT) for peer in peers])
    await world.until(lambda: all(node.saw(PeerConnected) for node in (one, two)), "the connection")
    for index in sorted(EVERY):
        two.swarm.want(BLOB, Kind.HOT, [index], wanted=True)
        await one.add(CONTENT, [index])
        await world.until(lambda index=index: index in two.pieces(), "the piece")  # type: ignore[misc]  # a default binds the loop's value

    await one.swarm.flush(BLOB, Kind.HOT)  # both are complete now
    await two.swarm.stats()

    assert one.saw(PeerDisconnected) == two.saw(PeerDisconnected) == []
    assert two.read() == CONTENT


async def test_closing_returns_after_removal_and_nothing_is_heard_afterwards(world: World) -> None:
    seed, reader = await world.node("seed"), await world.node("reader")
    await seed.join(hot(CONTENT), CONTENT, ALL)
    await reader.join(hot(CONTENT), EMPTY, NONE, [seed])
    await world.until(lambda: reader.saw(PieceArrived) != [], "a first piece")

    await reader.swarm.close(BLOB, Kind.HOT)

    assert reader.events[-1] == TorrentRemoved(BLOB, Kind.HOT)
    content = reader.read()
    with pytest.raises(SwarmClosed):
        await reader.swarm.flush(BLOB, Kind.HOT)
    with pytest.raises(SwarmClosed):
        await reader.add(CONTENT, [0])
    await reader.swarm.close(BLOB, Kind.HOT)
    assert reader.events[-1] == TorrentRemoved(BLOB, Kind.HOT)
    assert reader.read() == content
    have = [index in reader.pieces() for index in range(PIECES)]
    await reader.swarm.open(hot(CONTENT), reader.path(), have, [seed.endpoint(Kind.HOT)])
    await world.until(lambda: reader.pieces() == EVERY, "the rest after opening again")
    assert reader.read() == CONTENT


async def test_a_swarm_is_opened_once_and_a_blob_may_be_in_both_swarms_at_once(world: World) -> None:
    node, reader = await world.node("node"), await world.node("reader")
    await node.join(hot(CONTENT), CONTENT, ALL)
    with pytest.raises(ValueError, match="is open"):
        await node.swarm.open(hot(CONTENT), node.path(), ALL)
    await node.join(sealed(CONTENT), CONTENT, ALL)

    await reader.join(sealed(CONTENT), EMPTY, NONE, [node])
    await world.until(lambda: reader.pieces(Kind.SEALED) == EVERY, "all pieces by the sealed swarm")

    await node.swarm.close(BLOB, Kind.SEALED)
    await node.swarm.flush(BLOB, Kind.HOT)


async def test_a_stranger_without_the_secret_cannot_join(world: World) -> None:
    member, stranger = await world.node("member"), await world.node("stranger")
    await member.join(hot(CONTENT), CONTENT, ALL)
    await stranger.join(hot(CONTENT, secret=b"guessed"), EMPTY, NONE, [member])

    await world.until(lambda: stranger.saw(PeerDisconnected) != [], "the refusal")

    assert stranger.pieces() == set()
    assert member.saw(PeerConnected) == []


async def test_a_rate_limit_holds_on_loopback_and_can_be_lifted(world: World) -> None:
    seed, reader = await world.node("seed"), await world.node("reader")
    await seed.join(hot(CONTENT), CONTENT, ALL)
    seed.swarm.limit(send_bytes_per_s=2 * MIB, receive_bytes_per_s=0)
    began = world.now()
    await reader.join(hot(CONTENT), EMPTY, NONE, [seed])
    await world.until(lambda: len(reader.pieces()) >= 4, "a third of the pieces")
    assert world.now() - began > 1.2  # 4 MiB at 2 MiB/s less a first burst; without a limit 0.1 s

    seed.swarm.limit(send_bytes_per_s=0, receive_bytes_per_s=0)
    began = world.now()
    await world.until(lambda: reader.pieces() == EVERY, "the rest")
    assert world.now() - began < 3.5  # at the limit 4 s


async def test_statistics_count_payload_by_peer_and_in_total(world: World) -> None:
    seed, reader = await world.node("seed"), await world.node("reader")
    await seed.join(hot(CONTENT), CONTENT, ALL)
    await reader.join(hot(CONTENT), EMPTY, NONE, [seed])
    await world.until(lambda: reader.pieces() == EVERY, "all pieces")

    stats = await reader.swarm.stats()

    assert stats.received_bytes == len(CONTENT)
    assert stats.sent_bytes == 0
    assert [(peer.peer, peer.received_bytes) for peer in stats.peers] == [
        (seed.endpoint(Kind.HOT), len(CONTENT))
    ]
    await reader.swarm.close(BLOB, Kind.HOT)
    assert (await reader.swarm.stats()).received_bytes == len(CONTENT)
    assert (await reader.swarm.stats()).peers == ()
    (last,) = reader.saw(ConnectionsEnded)
    assert [(peer.peer, peer.received_bytes) for peer in last.connections] == [
        (seed.endpoint(Kind.HOT), len(CONTENT))
    ]


async def test_shutdown_closes_what_is_open_and_says_so(world: World) -> None:
    seed, reader = await world.node("seed"), await world.node("reader")
    await seed.join(hot(CONTENT), CONTENT, ALL)
    await reader.join(hot(CONTENT), EMPTY, NONE, [seed])
    await world.until(lambda: reader.saw(PeerConnected) != [], "the connection")

    began = world.now()
    await reader.swarm.shutdown(timeout_s=5)

    assert world.now() - began < 2
    assert reader.events[-1] == TorrentRemoved(BLOB, Kind.HOT)
