"""The joint's small parts by themselves: memory of fetched pieces, waiting answers, names and sizes from the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from distd.core.manifest import ManifestFile
from distd.core.refs import parse_repo
from distd.hub.fetcher import Fetcher, RemoteFile
from distd.hub.fetcher import Sink as FetchSink
from distd.sharing.calls import asked_of_lead, probed
from distd.sharing.lead_host import LeadHost, NotAnswered
from distd.sharing.remembered import Remembered
from distd.sharing.spans import WAITING_BYTES_MAX, HubSpans
from peers import lead_wire
from peers import member_events as event
from peers.blob import Blob
from peers.cluster_errors import CallRefused
from peers.messages import LeadRequest, Report
from peers.piece_set import Span

ETAG = "ab" * 32
MIB = 1 << 20
BLOB = Blob.of(ETAG, 8 * MIB)
WAIT_S = 5.0


class ZeroFetcher(Fetcher):
    """Delivers zeros at once: the content does not matter here, only what becomes of it."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1", token=lambda: None, user_agent="test", connections=1)

    async def fetch(self, remote: RemoteFile, start: int, end: int, sink: FetchSink) -> None:
        for _ in range(start, end, MIB):
            await sink(bytes(MIB))


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def spans_of(
    blob: Blob,
    threads: ThreadPoolExecutor,
    wanted: bool,
    seen: list[int],
) -> HubSpans:
    def fetched(happened: event.HubPieceFetched) -> bool:
        seen.append(happened.piece)
        return wanted

    file = ManifestFile("model.safetensors", blob.size_bytes, blob.name)
    remote = RemoteFile(parse_repo("acme/tiny", "model"), "0" * 40, file)
    return HubSpans(
        blob,
        remote,
        ZeroFetcher(),
        threads,
        feed=lambda _: None,
        fetched=fetched,
        received=lambda _: None,
        dropped=lambda _: None,
    )


async def reached(seen: list[int], count: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while len(seen) < count:  # noqa: ASYNC110  # a list has no event; bounded by the timeout
            await asyncio.sleep(0.01)


async def test_pieces_that_nobody_takes_leave_room_for_all_that_follow(threads: ThreadPoolExecutor) -> None:
    blob = Blob.of(ETAG, 2 * WAITING_BYTES_MAX)
    seen: list[int] = []
    spans = spans_of(blob, threads, False, seen)

    spans.start(1, Span(0, blob.pieces))

    await reached(seen, blob.pieces)
    with pytest.raises(KeyError):
        spans.take(0)
    await spans.close()


async def test_pieces_that_wait_to_be_placed_hold_the_fetch_back(threads: ThreadPoolExecutor) -> None:
    blob = Blob.of(ETAG, 2 * WAITING_BYTES_MAX)
    seen: list[int] = []
    spans = spans_of(blob, threads, True, seen)
    room = WAITING_BYTES_MAX // blob.piece_len_bytes

    spans.start(1, Span(0, blob.pieces))
    await reached(seen, room)
    await asyncio.sleep(0.1)  # time to overstep, if it would
    assert len(seen) == room

    for piece in range(blob.pieces):
        await reached(seen, piece + 1)
        spans.take(piece)
        await spans.placed()
    assert seen == list(range(blob.pieces))
    await spans.close()


async def test_piece_fetched_twice_is_taken_twice(threads: ThreadPoolExecutor) -> None:
    seen: list[int] = []
    spans = spans_of(BLOB, threads, True, seen)
    spans.start(1, Span(0, 1))
    spans.start(2, Span(0, 1))
    await reached(seen, 2)

    assert len(spans.take(0)) == len(spans.take(0)) == BLOB.piece_len_bytes
    await spans.close()


def request(sequence: int, member: str = "n1", wait_s: float = 30.0) -> LeadRequest:
    return LeadRequest(sequence, "n0", Report(member, held=b""), wait_s=wait_s)


async def unreachable(member: str, blob: Blob) -> Report | None:
    return None


async def test_newer_request_of_a_member_ends_the_wait_of_the_older() -> None:
    host = LeadHost("n0", probe=unreachable, last_term=lambda _: 0)
    older = asyncio.create_task(host.ask(BLOB, request(1, "n0")))
    await asyncio.sleep(0)
    newer = asyncio.create_task(host.ask(BLOB, request(2, "n0", wait_s=0.0)))

    async with asyncio.timeout(WAIT_S):
        with pytest.raises(NotAnswered):
            await older
        assert (await newer).sequence == 2
    host.close()


async def test_requests_that_wait_end_with_the_lead() -> None:
    host = LeadHost("n0", probe=unreachable, last_term=lambda _: 0)
    waiting = asyncio.create_task(host.ask(BLOB, request(1, "n0")))
    await asyncio.sleep(0)

    host.close()

    async with asyncio.timeout(WAIT_S):
        with pytest.raises(NotAnswered):
            await waiting
        with pytest.raises(NotAnswered):
            await host.ask(BLOB, request(2, "n0"))


async def test_member_with_a_wrong_size_has_a_lead_of_its_own() -> None:
    host = LeadHost("n0", probe=unreachable, last_term=lambda _: 0)
    async with asyncio.timeout(WAIT_S):
        await host.ask(Blob.of(ETAG, 3 * MIB), request(1, "n0", wait_s=0.0))
        word = await host.ask(BLOB, request(2, "n0", wait_s=0.0))
    assert word.sequence == 2
    host.close()


@pytest.mark.parametrize("name", ["..", ".", "a" * 63, "A" * 64, "ab" * 31 + "..", "x.journal"])
def test_name_from_the_wire_that_is_no_etag_is_refused(name: str) -> None:
    blob = Blob.of(name, MIB)
    with pytest.raises(CallRefused) as by_probe:
        probed(lead_wire.encode_probe(blob))
    with pytest.raises(CallRefused) as by_request:
        asked_of_lead("n1", lead_wire.encode_request(blob, request(1)))
    assert by_probe.value.code == by_request.value.code == "invalid_request"


@pytest.mark.parametrize("size_bytes", [(1 << 42) + 1, 1 << 60])
def test_size_from_the_wire_beyond_any_file_is_refused(size_bytes: int) -> None:
    with pytest.raises(CallRefused) as refused:
        probed(lead_wire.encode_probe(Blob.of(ETAG, size_bytes)))
    assert refused.value.code == "invalid_request"


def test_member_speaks_for_itself_only() -> None:
    with pytest.raises(CallRefused):
        asked_of_lead("n2", lead_wire.encode_request(BLOB, request(1)))
    assert asked_of_lead("n1", lead_wire.encode_request(BLOB, request(1)))[0] == BLOB


def test_bytes_that_are_no_message_are_refused() -> None:
    for body in (b"", b"\xc1", b"\x93\x01\x02\x03"):
        with pytest.raises(CallRefused):
            probed(body)
        with pytest.raises(CallRefused):
            asked_of_lead("n1", body)


def test_damaged_lines_among_the_remembered_members_are_left_out(tmp_path: Path) -> None:
    assert Remembered(tmp_path).addresses == ()
    (tmp_path / "members").write_bytes(b"127.0.0.1:7071\nnonsense\n\xff\xfe\n[::1]:7071\n127.0.0.1:99999\n")
    assert Remembered(tmp_path).addresses == ("127.0.0.1:7071", "[::1]:7071")
