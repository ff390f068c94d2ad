"""Which member a connection belongs to, and what flowed over all of them."""

from __future__ import annotations

from distd.sharing.company import (
    BUSY_SAMPLE_S,
    IDLE_SAMPLE_S,
    STEADY_AFTER_S,
    STEADY_SAMPLE_S,
    Flows,
    owners_of,
    tag_of,
)
from peers.cluster import Member
from peers.membership import MemberFacts, MemberState
from peers.metainfo import Kind
from peers.settings import TAG_CHARACTERS
from peers.swarm import Endpoint, PeerStats


def member(name: str, port: int) -> Member:
    facts = MemberFacts("10.0.0.1:1", hot_address=f"10.0.0.1:{port}", sealed_address=f"10.0.0.1:{port + 1}")
    return Member(name, MemberState.ALIVE, facts, 1)


def connection(port: int, received: int, sent: int, tag: str = "", blob: str = "x") -> PeerStats:
    return PeerStats(blob, Kind.HOT, Endpoint("10.0.0.1", port), tag, received, sent, 0, 0)


MEMBERS = [member("me", 10), member("gpu-02", 20), member("gpu-03", 30)]
OWNERS = owners_of(MEMBERS, "me")


def test_a_connection_is_known_by_the_address_connected_to_or_by_its_tag() -> None:
    flows = Flows()
    sample = [connection(20, 5, 1), connection(31, 7, 0, "gpu-02"), connection(50_000, 3, 2, "gpu-02", "y")]
    flows.observe(sample, OWNERS, 0.0)
    assert (flows.of("gpu-02").received.total_bytes, flows.of("gpu-02").sent.total_bytes) == (8, 3)
    assert flows.of("gpu-03").received.total_bytes == 7


def test_who_is_no_member_and_this_node_itself_are_left_out() -> None:
    flows = Flows()
    flows.observe([connection(10, 5, 5, "me"), connection(9, 5, 5, "stranger")], OWNERS, 0.0)
    assert [flows.of(each.name).received.total_bytes for each in MEMBERS] == [0, 0, 0]
    assert flows.pause_s(0.0) == IDLE_SAMPLE_S


def test_samples_add_up_over_connections_that_end_and_begin_anew() -> None:
    flows = Flows()
    for now, sample in enumerate(
        [[connection(20, 5, 0)], [connection(20, 9, 1)], [], [connection(20, 2, 2)], [connection(20, 1, 3)]]
    ):
        flows.observe(sample, OWNERS, float(now))
    assert (flows.of("gpu-02").received.total_bytes, flows.of("gpu-02").sent.total_bytes) == (12, 6)
    assert flows.of("gpu-02").received.rate(5.0, 4.0) == 3.0


def test_samples_are_close_together_while_connections_come_and_go_only() -> None:
    flows = Flows()
    flows.observe([connection(20, 5, 0)], OWNERS, 1.0)
    assert flows.pause_s(1.0) == BUSY_SAMPLE_S
    flows.observe([connection(20, 9, 0)], OWNERS, 1.0 + STEADY_AFTER_S)
    assert flows.pause_s(1.0 + STEADY_AFTER_S) == STEADY_SAMPLE_S
    flows.observe([connection(20, 9, 0), connection(30, 1, 0)], OWNERS, 10.0)
    assert flows.pause_s(10.0) == BUSY_SAMPLE_S


def test_a_tag_that_two_members_share_says_nothing() -> None:
    long = "x" * TAG_CHARACTERS
    owners = owners_of([member(long + "1", 20), member(long + "2", 30), member("größe", 40)], "me")
    assert long not in owners
    assert owners[tag_of("größe")] == "größe"
    assert owners["10.0.0.1:21"] == long + "1"
