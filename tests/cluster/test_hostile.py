"""What strangers and those between members can do: nothing but break connections."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time

import pytest

from peers import cluster_server, wire
from peers.auth import HEADER, NONCE_BYTES, Signer
from peers.cluster import Cluster
from peers.cluster_errors import AuthFailed, ClusterError, MemberUnreachable
from peers.cluster_server import Patience
from peers.frames import FRAME_BYTES_MAX
from peers.secret import generate, parse
from tests.cluster.test_transport import Collected
from tests.cluster.worlds import SECRET, Wire, World, speak, until


def request(
    to: Cluster,
    body: bytes = b"hi",
    *,
    sender: str = "insider",
    path: str = "/c1/echo",
    now: float | None = None,
    head: str = "",
    start_id: bytes | None = None,
) -> bytes:
    """A genuine request as bytes, by somebody who has the secret."""
    proof = Signer(SECRET, sender).sign(
        to.me,
        to.start_id if start_id is None else start_id,
        1,
        "POST",
        path,
        hashlib.sha256(body).digest(),
        secrets.token_bytes(NONCE_BYTES),
        time.time() if now is None else now,
    )
    length = f"Content-Length: {len(body)}\r\n" if "Transfer-Encoding" not in head else ""
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{HEADER}: {proof.header()}\r\n{length}{head}\r\n"
    ).encode() + body


def assert_bare_401(answer: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 401 "), answer
    assert body == b""
    assert b"aiohttp" not in head
    assert b"Distd" not in head


async def on_the_wire(world: World) -> tuple[Cluster, Cluster, Wire]:
    """Two members, the second of which is reached through somebody's hands only."""
    between = await world.wire()
    second = await world.start("m1", advertise=between.address)
    listening = second._server._socket
    assert listening is not None
    between.target = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    first = await world.start("m0", (between.address,), gossip_pace=0.01)
    await until(lambda: "m1" in first.live, "m1 is known")
    return first, second, between


async def test_a_genuine_request_is_answered(world: World) -> None:
    member = await world.start("m0")
    answer = await speak(member.address, request(member))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\ninsider says hi")


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /c1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi",
        b"GET /s1/count?parts=1&part_bytes=1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /c1/gossip HTTP/1.1\r\nHost: x\r\nDistd-Auth: v=1\r\nContent-Length: 99999999999\r\n\r\n",
        b"GET /nothing/here HTTP/1.1\r\nHost: x\r\nDistd-Auth: \xff\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_a_stranger_gets_a_bare_401(world: World, raw: bytes) -> None:
    member = await world.start("m0")
    assert_bare_401(await speak(member.address, raw))
    assert world.served == {}


async def test_what_is_not_http_gets_no_explanation(world: World) -> None:
    member = await world.start("m0")
    for raw in (
        b"\x16\x03\x01 hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    ):
        _, _, body = (await speak(member.address, raw)).partition(b"\r\n\r\n")
        assert body == b""


async def test_a_strangers_body_is_not_read(world: World) -> None:
    member = await world.start("m0")
    host, port = member.address.split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /c1/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    sent_bytes = 0
    while sent_bytes < 1 << 28:
        try:
            writer.write(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
            await asyncio.wait_for(writer.drain(), 5)
        except ConnectionError:
            break
        sent_bytes += 1 << 16
    assert sent_bytes < 1 << 26  # what the kernel's buffers take
    writer.transport.abort()


async def test_a_request_heard_and_repeated_is_refused(world: World) -> None:
    member = await world.start("m0")
    heard = request(member)
    assert (await speak(member.address, heard)).startswith(b"HTTP/1.1 200 ")
    assert_bare_401(await speak(member.address, heard))
    assert world.served == {"m0": 1}


async def test_a_request_heard_before_a_restart_is_not_carried_out_after_it(world: World) -> None:
    member = await world.start("m0")
    heard = request(member)
    await member.stop()
    again = await world.start("m0", listen=member.address)
    answer = await speak(again.address, heard)
    assert answer.startswith(b"HTTP/1.1 421 ")
    assert again.start_id in answer
    assert world.served == {}


async def test_a_request_for_one_member_is_not_carried_out_by_another(world: World) -> None:
    first, second = await world.start("m0"), await world.start("m1")
    assert (await speak(second.address, request(first))).startswith(b"HTTP/1.1 421 ")
    assert world.served == {}


@pytest.mark.parametrize("late_s", [-61.0, 61.0])
async def test_a_request_outside_the_window_is_not_carried_out(world: World, late_s: float) -> None:
    member = await world.start("m0")
    answer = await speak(member.address, request(member, now=time.time() + late_s))
    assert b"clock_skew" in answer
    assert world.served == {}


async def test_a_request_with_another_body_is_refused(world: World) -> None:
    member = await world.start("m0")
    assert_bare_401(await speak(member.address, request(member, b"hi")[:-2] + b"ho"))
    assert world.served == {}


async def test_a_body_too_long_is_refused_before_it_is_sent(world: World) -> None:
    member = await world.start("m0")
    announced = request(member, bytes(wire.MESSAGE_BYTES_MAX + 1))[: -wire.MESSAGE_BYTES_MAX]
    assert (await speak(member.address, announced)).startswith(b"HTTP/1.1 413 ")


async def test_a_body_of_unknown_length_is_cut_at_the_limit(world: World) -> None:
    member = await world.start("m0")
    chunks = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    head = request(member, b"", head="Transfer-Encoding: chunked\r\n")
    answer = await speak(member.address, head + chunks * 4 + b"1\r\nx\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert world.served == {}


async def test_a_head_that_dribbles_in_is_cut(world: World) -> None:
    member = await world.start("m0", patience=Patience(idle_s=0.3))
    host, port = member.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    began = time.monotonic()
    writer.write(b"POST /c1/echo HTTP/1.1\r\nX-Slow: ")
    while not reader.at_eof() and time.monotonic() - began < 10:
        try:
            writer.write(b"1")
            await asyncio.wait_for(reader.read(1), 0.05)
        except TimeoutError:
            continue
        except ConnectionError:
            break
    assert time.monotonic() - began < 5
    writer.transport.abort()


async def test_a_members_body_that_dribbles_in_is_cut(world: World) -> None:
    member = await world.start("m0", patience=Patience(body_s=0.3))
    began = time.monotonic()
    answer = await speak(member.address, request(member, b"never all of it")[:-1])
    assert b"busy" in answer
    assert time.monotonic() - began < 5


async def test_many_silent_strangers_do_not_keep_a_member_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_server, "STRANGERS_MAX", 8)
    member = await world.start("m0")
    host, port = member.address.split(":")
    strangers = [await asyncio.open_connection(host, int(port)) for _ in range(30)]
    await asyncio.wait_for(strangers[0][0].read(), 5)  # the oldest is ended
    assert (await speak(member.address, request(member))).startswith(b"HTTP/1.1 200 ")
    assert member._server._listener is not None
    assert len(member._server._listener.connections) <= 10
    for _, writer in strangers:
        writer.transport.abort()


@pytest.mark.parametrize("altered", [b"/c1/echo", b"from=m0", b"to=m1", b"hello there", b"mac=", b"time=1"])
async def test_a_request_altered_on_the_way_is_not_carried_out(world: World, altered: bytes) -> None:
    first, _, between = await on_the_wire(world)

    def alter(data: bytes) -> bytes:
        at = data.find(altered)
        if at < 0:
            return data
        last = at + len(altered)  # the byte after a name, the last one of a text
        place = last if altered.endswith(b"=") else last - 1
        return data[:place] + (b"0" if data[place : place + 1] != b"0" else b"1") + data[place + 1 :]

    between.alter_request = alter
    with pytest.raises(AuthFailed) as failed:
        await first.call("m1", "echo", b"hello there", 5.0)
    assert failed.value.refused
    assert world.served == {}


@pytest.mark.parametrize(
    "forge",
    [
        lambda data: data.replace(b"m0 says", b"m9 says"),
        lambda data: data.replace(b"Distd-Answer: ", b"Distd-Answer: 00"),
        lambda data: data.replace(b" 200 OK", b" 409 OK"),
        lambda data: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi" if b"says" in data else data,
    ],
    ids=["body", "proof", "status", "whole"],
)
async def test_a_forged_answer_is_not_believed(world: World, forge) -> None:  # type: ignore[no-untyped-def]  # a parameter
    first, _, between = await on_the_wire(world)
    between.alter_answer = forge
    with pytest.raises(AuthFailed) as failed:
        await first.call("m1", "echo", b"", 5.0)
    assert not failed.value.refused


async def test_an_answer_to_another_request_is_not_believed(world: World) -> None:
    first, _, between = await on_the_wire(world)
    answers: list[bytes] = []

    def swap(data: bytes) -> bytes:
        answers.append(data)
        return answers[0]

    between.alter_answer = swap
    assert await first.call("m1", "echo", b"same", 5.0) == b"m0 says same"
    with pytest.raises(AuthFailed):
        await first.call("m1", "echo", b"same", 5.0)


async def test_a_refusal_that_names_another_start_is_not_believed(world: World) -> None:
    """Else whoever sits between could make members address a start whose nonces are forgotten."""
    first, second, between = await on_the_wire(world)
    between.alter_answer = lambda data: data.replace(second.start_id, bytes(16))
    first._client._known.clear()
    with pytest.raises(AuthFailed):
        await first.call("m1", "echo", b"", 5.0)


async def test_an_altered_stream_gives_its_genuine_frames_only(world: World) -> None:
    first, _, between = await on_the_wire(world)
    between.alter_answer = lambda data: data.replace(b"\x01" * 64, b"\x01" * 63 + b"\x00")
    sink = Collected()
    with pytest.raises(AuthFailed):
        await first.fetch("m1", "count", {"parts": "3", "part_bytes": str(FRAME_BYTES_MAX)}, sink, 1 << 30)
    assert sink.parts == [bytes(FRAME_BYTES_MAX)]


async def test_a_stream_without_its_end_never_looks_complete(world: World) -> None:
    first, _, between = await on_the_wire(world)
    # The last frame is of length 0; as chunked HTTP its 36 bytes come in a chunk of their own.
    between.alter_answer = lambda data: data[: data.rfind(b"24\r\n\x00\x00\x00\x00")] + b"0\r\n\r\n"
    with pytest.raises(MemberUnreachable, match="cut"):
        await first.fetch("m1", "count", {"parts": "1", "part_bytes": "100"}, Collected(), 1 << 30)


async def test_garbage_in_either_direction_is_a_failure_and_no_more(world: World) -> None:
    first, _, between = await on_the_wire(world)
    for alter in (lambda data: b"", lambda data: secrets.token_bytes(len(data)), lambda data: data[:40]):
        between.alter_answer = alter
        with pytest.raises(ClusterError):
            await first.call("m1", "echo", b"", 0.5)
    between.alter_answer = lambda data: data
    assert await first.call("m1", "echo", b"", 5.0) == b"m0 says "


async def test_a_large_body_is_not_sent_to_who_refuses_its_head(world: World) -> None:
    """The connection would be reset while the body is on its way, and the refusal lost."""
    first, _, between = await on_the_wire(world)
    between.requests.clear()
    first._client._signer = Signer(parse(generate(), "another"), "m0")
    with pytest.raises(AuthFailed) as failed:
        await first.call("m1", "echo", bytes(wire.MESSAGE_BYTES_MAX), 10.0)
    assert failed.value.refused
    assert sum(map(len, between.requests)) < 2000
    assert world.served == {}
