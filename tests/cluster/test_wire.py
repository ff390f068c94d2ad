"""What members send is read back as it was, by neighbouring versions too; anything else is refused whole."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peers import wire
from peers.membership import MEMBERS_MAX, MemberEntry, MemberFacts, MemberState, Said
from peers.roster import BUCKETS
from peers.wire import MESSAGE_BYTES_MAX, Refusal, Unreadable

ADDRESSES = st.sampled_from(["10.0.0.1:7071", "[2001:db8::1]:1", "node-7.example:65535"])
FACTS = st.builds(
    MemberFacts,
    address=ADDRESSES,
    zone=st.text(max_size=20),
    hot_address=ADDRESSES | st.just(""),
    sealed_address=ADDRESSES | st.just(""),
    fetches_hub=st.booleans(),
    hub_down_cluster=st.floats(0, 1e12),
    hub_busy=st.booleans(),
    wire_version=st.integers(0, 9),
)
ENTRIES = st.builds(
    MemberEntry,
    name=st.text(min_size=1, max_size=60),
    incarnation=st.integers(0, 1 << 50),
    state=st.sampled_from(MemberState),
    facts=FACTS,
)


SUMS = st.tuples(*[st.integers(0, (1 << 32) - 1)] * BUCKETS) | st.just(())
SAID = st.builds(
    Said,
    lines=st.lists(ENTRIES, max_size=5).map(tuple),
    sums=SUMS,
    members=st.integers(0, MEMBERS_MAX),
    wants_all=st.booleans(),
)


@given(SAID)
def test_what_was_said_is_read_back_as_it_was(said: Said) -> None:
    body = wire.encode_gossip(said, 12.5)
    assert wire.decode_gossip(body) == (said, 12.5)


def test_a_member_of_before_the_sums_says_and_reads_whole_tables() -> None:
    entry = MemberEntry("a", 1, MemberState.ALIVE, MemberFacts("10.0.0.1:1"))
    row = ["a", 1, 0, "10.0.0.1:1"]
    old = msgspec.msgpack.encode([0, {"rows": [row], "clock_s": 1.0}])
    assert wire.decode_gossip(old, 1) == (Said((entry,)), 1.0)
    new = msgspec.msgpack.decode(wire.encode_gossip(Said((entry,), (1,) * BUCKETS, 7), 1.0))
    assert new[1]["rows"][0][:4] == row


@pytest.mark.parametrize("sums", [bytes(4), bytes(127), bytes(4 * 64)], ids=["one", "torn", "too many"])
def test_a_number_of_sums_that_cannot_be_is_refused(sums: bytes) -> None:
    with pytest.raises(Unreadable):
        wire.decode_gossip(msgspec.msgpack.encode([1, {"rows": [], "sums": sums}]))


def test_the_largest_table_fits_with_room() -> None:
    entries = tuple(
        MemberEntry(
            f"node-{number:04}." + "x" * 50,
            1 << 41,
            MemberState.ALIVE,
            MemberFacts("10.20.30.40:7071", "zone-7", "10.20.30.40:7072", "10.20.30.40:7073"),
        )
        for number in range(MEMBERS_MAX)
    )
    body = wire.encode_gossip(Said(entries), 0.0)
    assert len(body) < MESSAGE_BYTES_MAX / 4
    assert wire.decode_gossip(body)[0].lines == entries
    with pytest.raises(Unreadable):
        wire.decode_gossip(wire.encode_gossip(Said((*entries, entries[0])), 0.0))


@given(st.binary(max_size=200))
def test_garbage_is_unreadable_and_no_worse(body: bytes) -> None:
    for read in (wire.decode_gossip, wire.decode_refusal, wire.version_of):
        try:
            read(body)
        except Unreadable:
            continue
        assert msgspec.msgpack.decode(body) is not None


@given(st.data())
def test_a_table_with_a_changed_byte_is_a_table_or_unreadable(data: st.DataObject) -> None:
    entry = MemberEntry("a", 1, MemberState.ALIVE, MemberFacts("10.0.0.1:7071"))
    body = bytearray(wire.encode_gossip(Said((entry,)), 0.0))
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        said, _ = wire.decode_gossip(bytes(body))
    except Unreadable:
        return
    assert all(isinstance(each, MemberEntry) for each in said.lines)


@pytest.mark.parametrize(
    "entry",
    [
        MemberEntry("", 1, MemberState.ALIVE, MemberFacts("10.0.0.1:1")),
        MemberEntry("ü" * 200, 1, MemberState.ALIVE, MemberFacts("10.0.0.1:1")),
        MemberEntry("a", -1, MemberState.ALIVE, MemberFacts("10.0.0.1:1")),
        MemberEntry("a", 1, MemberState.ALIVE, MemberFacts("")),
        MemberEntry("a", 1, MemberState.ALIVE, MemberFacts("user@10.0.0.1:1")),
        MemberEntry("a", 1, MemberState.ALIVE, MemberFacts("10.0.0.1:1", hot_address="x/y:1")),
        MemberEntry("a", 1, MemberState.ALIVE, MemberFacts("10.0.0.1:1", zone="z" * 2000)),
        MemberEntry("a", 1, MemberState.ALIVE, MemberFacts("10.0.0.1:1", hub_down_cluster=-1.0)),
        MemberEntry("a", 1, MemberState.ALIVE, MemberFacts("10.0.0.1:1", hub_down_cluster=float("inf"))),
        MemberEntry("a", 1, MemberState.ALIVE, MemberFacts("10.0.0.1:1", hub_down_cluster=float("nan"))),
    ],
)
def test_an_entry_that_cannot_be_is_refused(entry: MemberEntry) -> None:
    with pytest.raises(Unreadable):
        wire.decode_gossip(wire.encode_gossip(Said((entry,)), 0.0))


def test_own_and_the_version_below_are_read_and_no_other() -> None:
    for spoken, read in ((1, 1), (1, 2), (2, 2), (0, 1)):
        assert wire.decode(wire.encode("x", spoken), str, read) == "x"
    for spoken, read in ((2, 1), (1, 3), (0, 2)):
        with pytest.raises(Unreadable, match=f"wire version {spoken}"):
            wire.decode(wire.encode("x", spoken), str, read)
    assert wire.version_of(wire.encode("x", 7)) == 7


def test_fields_that_a_later_version_adds_are_ignored() -> None:
    row = [
        "a",
        1,
        0,
        "10.0.0.1:1",
        "",
        "",
        "",
        True,
        0.0,
        False,
        1,
        b"",
        False,
        False,
        "later",
        {"and": "more"},
    ]
    body = msgspec.msgpack.encode([1, {"rows": [row], "clock_s": 1.0, "later": True}, "later"])
    entry = MemberEntry("a", 1, MemberState.ALIVE, MemberFacts("10.0.0.1:1"))
    assert wire.decode_gossip(body)[0] == Said((entry,))
    refusal = msgspec.msgpack.encode(
        {"code": "x", "member": "a", "start_id": b"", "wire_version": 1, "clock_s": 1.0, "later": 1}
    )
    assert wire.decode_refusal(refusal) == Refusal("x", "a", b"", 1, 1.0)


def test_a_message_too_long_is_neither_written_nor_read() -> None:
    with pytest.raises(Unreadable):
        wire.encode(bytes(MESSAGE_BYTES_MAX))
    with pytest.raises(Unreadable):
        wire.decode(bytes(MESSAGE_BYTES_MAX + 1), bytes)
