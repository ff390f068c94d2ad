"""The pure parts: whom to ask, how records are cut from a stream, how errors travel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from distd.core.refs import Repo
from distd.errors import (
    AccessDenied,
    DistdError,
    HashMismatch,
    HubUnreachable,
    InvalidRequest,
    NoSpace,
    RateLimited,
    RepoNotFound,
    RevisionNotFound,
    StorageFailed,
)
from distd.sharing.denials import DENIED_MAX, DENIED_S, Denials
from distd.sharing.small_choice import BATCH_BLOBS_MAX, BATCH_BYTES_MAX, batches, source_of
from distd.sharing.small_wire import BadRecord, RecordKind, RecordReader, record
from distd.sharing.troubles import Trouble, error_of, is_final, told
from peers import rendezvous

MEMBERS = frozenset({"a", "b", "c", "d"})


def test_all_members_name_the_same_owner_and_the_next_one_when_it_fails() -> None:
    first, second = rendezvous.order("x" * 40, MEMBERS)[:2]
    assert source_of("x" * 40, MEMBERS, set(), set()) == first
    assert source_of("x" * 40, MEMBERS, set(), {first}) == second
    assert source_of("x" * 40, MEMBERS, set(), MEMBERS) is None


def test_a_holder_is_asked_before_the_owner_also_when_it_may_not_fetch() -> None:
    assert source_of("x" * 40, MEMBERS, {"holder"}, set()) == "holder"
    assert source_of("x" * 40, MEMBERS, {"holder"}, {"holder"}) in MEMBERS


@given(some.lists(some.integers(1, BATCH_BYTES_MAX // 3), max_size=700))
def test_batches_keep_their_bounds_lose_nothing_and_keep_the_order(sizes: list[int]) -> None:
    blobs = [(str(index), size) for index, size in enumerate(sizes)]
    found = [list(batch) for batch in batches(blobs)]
    assert [name for batch in found for name in batch] == [name for name, _ in blobs]
    for batch in found:
        assert 0 < len(batch) <= BATCH_BLOBS_MAX
        assert sum(sizes[int(name)] for name in batch) <= BATCH_BYTES_MAX


class Taken:
    """Keeps what a reader gives it."""

    def __init__(self) -> None:
        self.content: dict[int, bytes] = {}
        self.ended: list[int] = []
        self.troubles: dict[int, Trouble] = {}

    async def begin(self, index: int) -> Callable[[bytes], Awaitable[None]]:
        self.content[index] = b""

        async def give(part: bytes) -> None:
            self.content[index] += part

        return give

    async def end(self, index: int) -> None:
        self.ended.append(index)

    def trouble(self, index: int, trouble: Trouble) -> None:
        self.troubles[index] = trouble


@pytest.mark.parametrize("cut_bytes", [1, 2, 9, 10, 1000])
async def test_records_come_out_whole_however_the_stream_is_cut(cut_bytes: int) -> None:
    trouble = told(HubUnreachable("http://hub", "it is gone"))
    stream = (
        record(1, RecordKind.CONTENT, b"second")
        + record(0, RecordKind.SIGN_OF_LIFE)
        + record(2, RecordKind.TROUBLE, msgspec.msgpack.encode(trouble))
        + record(0, RecordKind.CONTENT, b"fi", 5)
        + b"rst"
    )
    taken = Taken()
    reader = RecordReader([5, 6, 7], taken)
    for start in range(0, len(stream), cut_bytes):
        await reader.take(stream[start : start + cut_bytes])
    assert taken.content == {0: b"first", 1: b"second"}
    assert taken.ended == [1, 0]
    assert taken.troubles == {2: trouble}


@pytest.mark.parametrize(
    "stream",
    [
        record(3, RecordKind.CONTENT, b"12345"),
        record(0, RecordKind.CONTENT, b"1234"),
        record(0, RecordKind.CONTENT, b"12345") * 2,
        record(0, RecordKind.TROUBLE, b""),
        record(0, RecordKind.TROUBLE, b"no message"),
        record(0, RecordKind.TROUBLE, b"", 1 << 20),
        record(0, RecordKind.SIGN_OF_LIFE, b"1"),
        b"\0\0\0\0\x09\0\0\0\0",
    ],
)
async def test_a_record_that_was_not_ordered_ends_the_stream(stream: bytes) -> None:
    with pytest.raises(BadRecord):
        await RecordReader([5, 6, 7], Taken()).take(stream)


@pytest.mark.parametrize(
    "error",
    [
        AccessDenied("acme/x", "gated", "ask"),
        HashMismatch("a", "b", "c"),
        HubUnreachable("http://hub", "gone"),
        NoSpace(1, 2, 3, "/store", 4),
        RateLimited("http://hub", 12.5),
        RepoNotFound("acme/x", "http://hub", True),
        RevisionNotFound("acme/x", "main"),
    ],
)
def test_an_error_arrives_as_the_one_that_was_sent(error: DistdError) -> None:
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(told(error)), type=Trouble)
    arrived = error_of(sent, "b")
    assert type(arrived) is type(error)
    assert arrived.facts() == error.facts()
    assert is_final(arrived) == is_final(error)


def test_what_is_no_error_of_ours_becomes_a_failure_of_that_member() -> None:
    for trouble in (
        Trouble("SystemExit", {}),
        Trouble("RateLimited", {"endpoint": "x"}),
        Trouble("RateLimited", {"endpoint": "x", "retry_after_s": "soon"}),
        Trouble("RateLimited", {"endpoint": "x", "retry_after_s": 1.0, "more": 1}),
    ):
        assert isinstance(error_of(trouble, "b"), StorageFailed)
    assert told(InvalidRequest("the token file is unreadable")).kind == "StorageFailed"


def test_a_refusal_of_the_hub_is_remembered_for_a_while_and_nothing_else_is() -> None:
    denials, repo = Denials(), Repo("model", "acme/x")
    denials.note(repo, HubUnreachable("http://hub", "gone"), 0.0)
    assert denials.find(repo, 0.0) is None
    error = AccessDenied("acme/x", "gated", "ask")
    denials.note(repo, error, 0.0)
    assert denials.find(repo, DENIED_S - 0.1) is error
    assert denials.find(repo, DENIED_S) is None
    for number in range(DENIED_MAX):
        denials.note(Repo("model", f"acme/{number}"), error, 0.0)
    assert denials.find(repo, 0.0) is None
