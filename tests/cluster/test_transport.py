"""Calls and streams between members that mean well."""

from __future__ import annotations

import asyncio

import pytest

from peers import cluster_server, wire
from peers.cluster_errors import (
    CallRefused,
    LimitExceeded,
    MemberUnknown,
    MemberUnreachable,
)
from peers.cluster_server import Patience
from peers.frames import FRAME_BYTES_MAX
from tests.cluster.worlds import World, until


class Collected:
    """A sink."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    async def __call__(self, part: bytes) -> None:
        self.parts.append(part)


async def test_a_member_answers_its_own_calls(world: World) -> None:
    member = await world.start("m0")
    assert await member.call("m0", "echo", b"hi", 1.0) == b"m0 says hi"


async def test_whoever_took_a_members_address_is_not_taken_for_it(world: World) -> None:
    first, second = await world.grow(2, gossip_pace=0.01)
    await second.stop(leave=False)
    await world.start("m2", listen=second.address)
    with pytest.raises(MemberUnreachable, match=f"m2 answers at {second.address}"):
        await first.call("m1", "echo", b"", 5.0)
    assert world.served == {}


async def test_a_refusal_carries_its_code(world: World) -> None:
    first, _ = await world.grow(2)
    with pytest.raises(CallRefused) as refused:
        await first.call("m1", "refuse", b"", 5.0)
    assert (refused.value.code, refused.value.detail) == ("conflict", "not now")
    assert refused.value.retryable
    assert refused.value.member == "m1"


@pytest.mark.parametrize("member", ["m0", "m1"])
async def test_a_defect_of_a_handler_is_told_without_its_words(world: World, member: str) -> None:
    first, _ = await world.grow(2)
    with pytest.raises(CallRefused) as refused:
        await first.call(member, "fail", b"", 5.0)
    assert (refused.value.code, refused.value.detail) == ("internal", "")


async def test_calls_and_streams_nobody_registered_are_not_found(world: World) -> None:
    first, _ = await world.grow(2)
    with pytest.raises(CallRefused) as refused:
        await first.call("m1", "nothing", b"", 5.0)
    assert refused.value.code == "not_found"
    with pytest.raises(CallRefused) as refused:
        await first.fetch("m1", "nothing", {}, Collected(), 10)
    assert refused.value.code == "not_found"
    with pytest.raises(MemberUnknown):
        await first.call("nobody", "echo", b"", 5.0)


async def test_a_call_that_takes_too_long_ends_and_its_handler_is_cancelled(world: World) -> None:
    first, second = await world.grow(2)
    ended = asyncio.Event()

    async def hang(sender: str, body: bytes) -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    second.register("hang", hang)
    with pytest.raises(MemberUnreachable, match="no answer in time"):
        await first.call("m1", "hang", b"", 0.2)
    await asyncio.wait_for(ended.wait(), 5)


async def test_stopping_ends_waiting_calls_on_both_sides(world: World) -> None:
    first, second = await world.grow(2)
    reached = asyncio.Event()

    async def hang(sender: str, body: bytes) -> bytes:
        reached.set()
        await asyncio.Event().wait()
        return b""

    second.register("hang", hang)
    call = asyncio.create_task(first.call("m1", "hang", b"", 60.0))
    await asyncio.wait_for(reached.wait(), 5)
    async with asyncio.timeout(5):
        await second.stop()
        with pytest.raises(MemberUnreachable):
            await call


async def test_the_largest_body_passes_and_one_byte_more_does_not(world: World) -> None:
    first, second = await world.grow(2)

    async def length(sender: str, body: bytes) -> bytes:
        return str(len(body)).encode()

    async def mirror(sender: str, body: bytes) -> bytes:
        return body

    second.register("length", length)
    second.register("mirror", mirror)
    limit = wire.MESSAGE_BYTES_MAX
    assert await first.call("m1", "length", bytes(limit), 20.0) == str(limit).encode()
    assert len(await first.call("m1", "mirror", bytes(limit), 20.0)) == limit
    with pytest.raises(LimitExceeded):
        await first.call("m1", "length", bytes(limit + 1), 20.0)


async def test_an_answer_too_long_is_refused_where_it_is_made(world: World) -> None:
    first, second = await world.grow(2)

    async def flood(sender: str, body: bytes) -> bytes:
        return bytes(wire.MESSAGE_BYTES_MAX + 1)

    second.register("flood", flood)
    with pytest.raises(CallRefused) as refused:
        await first.call("m1", "flood", b"", 20.0)
    assert refused.value.code == "too_large"


async def test_a_stream_arrives_whole_in_bounded_parts(world: World) -> None:
    first, _ = await world.grow(2)
    sink = Collected()
    part_bytes = FRAME_BYTES_MAX + 5
    received = await first.fetch(
        "m1", "count", {"parts": "3", "part_bytes": str(part_bytes)}, sink, 3 * part_bytes
    )
    assert received == 3 * part_bytes
    assert b"".join(sink.parts) == b"".join(bytes([number]) * part_bytes for number in range(3))
    assert max(map(len, sink.parts)) == FRAME_BYTES_MAX


async def test_an_empty_stream_is_a_stream(world: World) -> None:
    first, _ = await world.grow(2)
    assert await first.fetch("m1", "count", {"parts": "0", "part_bytes": "0"}, Collected(), 0) == 0


async def test_queries_of_any_text_arrive_as_sent(world: World) -> None:
    first, second = await world.grow(2)
    query = {"blob": "a/b?c=d&e#f %41+ü", "empty": ""}
    seen = {}

    async def note(sender: str, asked):  # type: ignore[no-untyped-def]  # the shape is the protocol's
        seen.update(asked)
        yield b"x"

    second.register_stream("note", note)
    await first.fetch("m1", "note", query, Collected(), 1)
    assert seen == query


async def test_a_stream_longer_than_its_limit_is_cut_at_the_receiver(world: World) -> None:
    first, _ = await world.grow(2)
    sink = Collected()
    with pytest.raises(LimitExceeded):
        await first.fetch("m1", "count", {"parts": "10", "part_bytes": "1000"}, sink, 2500)
    assert sum(map(len, sink.parts)) <= 2500


async def test_a_stream_can_be_refused_before_its_first_byte(world: World) -> None:
    first, _ = await world.grow(2)
    with pytest.raises(CallRefused) as refused:
        await first.fetch("m1", "count", {"refuse": "yes"}, Collected(), 10)
    assert refused.value.code == "not_found"


async def test_a_stream_that_breaks_at_its_source_never_looks_complete(world: World) -> None:
    first, _ = await world.grow(2)
    sink = Collected()
    with pytest.raises(MemberUnreachable):
        await first.fetch("m1", "count", {"parts": "2", "part_bytes": "9", "break": "yes"}, sink, 100)


async def test_a_stream_that_stalls_ends(world: World) -> None:
    first, second = await world.grow(2)

    async def stall(sender: str, asked):  # type: ignore[no-untyped-def]  # as above
        yield b"one part"
        await asyncio.Event().wait()

    second.register_stream("stall", stall)
    sink = Collected()
    with pytest.raises(MemberUnreachable, match="in time"):
        await first.fetch("m1", "stall", {}, sink, 100, timeout_s=0.2)
    assert sink.parts == [b"one part"]


async def test_what_a_sink_raises_is_passed_on_as_it_is(world: World) -> None:
    first, _ = await world.grow(2)

    async def full(part: bytes) -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        await first.fetch("m1", "count", {"parts": "2", "part_bytes": "9"}, full, 100)


async def test_a_receiver_that_stops_reading_is_cut(world: World) -> None:
    first = await world.start("m0")
    second = await world.start("m1", (first.address,), patience=Patience(frame_s=0.2))
    await until(lambda: "m1" in first.live, "m1 is known")
    ended = asyncio.Event()

    async def endless(sender: str, asked):  # type: ignore[no-untyped-def]  # as above
        try:
            while True:
                yield bytes(FRAME_BYTES_MAX)
        finally:
            ended.set()

    async def stall(part: bytes) -> None:
        await ended.wait()

    second.register_stream("endless", endless)
    with pytest.raises(MemberUnreachable):
        await first.fetch("m1", "endless", {}, stall, 1 << 40)
    assert ended.is_set()


async def test_connections_are_kept_between_calls(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    note = cluster_server._Listener.connection_made

    def count(self, handler, transport):  # type: ignore[no-untyped-def]  # as the method it wraps
        opened.append(transport)
        note(self, handler, transport)

    monkeypatch.setattr(cluster_server._Listener, "connection_made", count)
    first, _ = await world.grow(2, gossip_pace=0.01)
    for _ in range(20):
        await first.call("m1", "echo", b"", 5.0)
        await first.fetch("m1", "count", {"parts": "1", "part_bytes": "9"}, Collected(), 100)
    assert len(opened) <= 4
