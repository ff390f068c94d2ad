"""Which member a connection belongs to, and what flowed over all of them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from distd.sharing.company import owners_of, tag_of
from distd.sharing.flows import BUSY_SAMPLE_S, IDLE_SAMPLE_S, STEADY_AFTER_S, STEADY_SAMPLE_S, Flows
from peers.cluster import Member
from peers.membership import MemberFacts, MemberState
from peers.metainfo import Kind
from peers.settings import TAG_CHARACTERS
from peers.swarm import Endpoint, PeerStats, SwarmStats


def member(name: str, port: int) -> Member:
    facts = MemberFacts("10.0.0.1:1", hot_address=f"10.0.0.1:{port}", sealed_address=f"10.0.0.1:{port + 1}")
    return Member(name, MemberState.ALIVE, facts, 1)


def connection(port: int, received: int, sent: int, tag: str = "", blob: str = "x") -> PeerStats:
    return PeerStats(blob, Kind.HOT, Endpoint("10.0.0.1", port), tag, received, sent, 0, 0)


def observe(
    flows: Flows,
    connections: list[PeerStats],
    now: float,
    received: int | None = None,
    sent: int | None = None,
) -> None:
    """A sample; `received` and `sent` are the engine's counters where they say more than the connections."""
    stats = SwarmStats(
        sum(each.received_bytes for each in connections) if received is None else received,
        sum(each.sent_bytes for each in connections) if sent is None else sent,
        tuple(connections),
    )
    flows.observe(stats, OWNERS, now, now)


def moved(flows: Flows, name: str) -> tuple[int, int]:
    flow = flows.of(name)
    return flow.received.total_bytes, flow.sent.total_bytes


MEMBERS = [member("me", 10), member("gpu-02", 20), member("gpu-03", 30)]
OWNERS = owners_of(MEMBERS, "me")


def test_a_connection_is_known_by_the_address_connected_to_or_by_its_tag() -> None:
    flows = Flows()
    sample = [connection(20, 5, 1), connection(31, 7, 0, "gpu-02"), connection(50_000, 3, 2, "gpu-02", "y")]
    observe(flows, sample, 0.0)
    assert (flows.of("gpu-02").received.total_bytes, flows.of("gpu-02").sent.total_bytes) == (8, 3)
    assert flows.of("gpu-03").received.total_bytes == 7


def test_who_is_no_member_and_this_node_itself_are_left_out() -> None:
    flows = Flows()
    observe(flows, [connection(10, 5, 5, "me"), connection(9, 5, 5, "stranger")], 0.0)
    assert [flows.of(each.name).received.total_bytes for each in MEMBERS] == [0, 0, 0]
    assert flows.pause_s(0.0) == IDLE_SAMPLE_S


def test_samples_add_up_over_connections_that_end_and_begin_anew() -> None:
    flows = Flows()
    for now, sample in enumerate(
        [[connection(20, 5, 0)], [connection(20, 9, 1)], [], [connection(20, 2, 2)], [connection(20, 1, 3)]]
    ):
        observe(flows, sample, float(now))
    assert (flows.of("gpu-02").received.total_bytes, flows.of("gpu-02").sent.total_bytes) == (12, 6)
    assert flows.of("gpu-02").received.rate(5.0, 4.0) == 3.0


def test_samples_are_close_together_while_connections_come_and_go_only() -> None:
    flows = Flows()
    observe(flows, [connection(20, 5, 0)], 1.0)
    assert flows.pause_s(1.0) == BUSY_SAMPLE_S
    observe(flows, [connection(20, 9, 0)], 1.0 + STEADY_AFTER_S)
    assert flows.pause_s(1.0 + STEADY_AFTER_S) == STEADY_SAMPLE_S
    observe(flows, [connection(20, 9, 0), connection(30, 1, 0)], 10.0)
    assert flows.pause_s(10.0) == BUSY_SAMPLE_S


def test_a_tag_that_two_members_share_says_nothing() -> None:
    long = "x" * TAG_CHARACTERS
    owners = owners_of([member(long + "1", 20), member(long + "2", 30), member("größe", 40)], "me")
    assert long not in owners
    assert owners[tag_of("größe")] == "größe"
    assert owners["10.0.0.1:21"] == long + "1"


def test_what_moved_after_the_last_sample_is_given_to_whose_connection_ended() -> None:
    flows = Flows()
    observe(flows, [connection(20, 5, 1), connection(30, 7, 2)], 0.0)
    observe(flows, [connection(30, 9, 2)], 0.25, received=20, sent=3)
    assert (moved(flows, "gpu-02"), moved(flows, "gpu-03")) == ((11, 1), (9, 2))
    # The counters may be told later than the end.
    observe(flows, [connection(30, 9, 2)], 0.5, received=23, sent=3)
    assert (moved(flows, "gpu-02"), moved(flows, "gpu-03")) == ((14, 1), (9, 2))


def test_several_that_ended_between_two_samples_share_the_rest_by_what_they_moved_last() -> None:
    flows = Flows()
    observe(flows, [connection(20, 30, 0), connection(30, 10, 0)], 0.0)
    observe(flows, [], 0.25, received=80, sent=0)
    assert (moved(flows, "gpu-02"), moved(flows, "gpu-03")) == ((60, 0), (20, 0))


def test_the_last_look_at_a_swarm_that_is_closed_is_counted_once() -> None:
    flows = Flows()
    observe(flows, [connection(20, 5, 0), connection(20, 1, 0, blob="y")], 0.0)
    flows.ended(Kind.HOT, "x", [connection(20, 9, 4)], OWNERS, 0.2)
    # A sample that was begun before the swarm was closed, and is told after that.
    late = SwarmStats(9, 4, (connection(20, 8, 4), connection(20, 1, 0, blob="y")))
    flows.observe(late, OWNERS, 0.1, 0.3)
    assert moved(flows, "gpu-02") == (10, 4)
    # The same two meet again over the same blob.
    observe(flows, [connection(20, 2, 0), connection(20, 1, 0, blob="y")], 1.0, received=12, sent=4)
    assert moved(flows, "gpu-02") == (12, 4)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(0, 9)), max_size=30))
@settings(max_examples=150)
def test_all_flows_together_are_what_the_engine_counted(steps: list[tuple[int, int, int]]) -> None:
    """Connections that move bytes, are sampled, and end in either way, in any order."""
    flows, live, total = Flows(), {0: 0, 1: 0}, 0
    observe(flows, [connection(20 + 10 * each, 0, 0) for each in live], 0.0)
    for step, (what, which, size) in enumerate(steps):
        now = step + 1.0
        rows = [connection(20 + 10 * each, live[each], 0, blob=f"b{each}") for each in live]
        if what == 0 and which in live:
            live[which] += size
            total += size
        elif what == 1:
            observe(flows, rows, now, received=total, sent=0)
        elif what == 2 and which in live:  # closed here
            flows.ended(Kind.HOT, f"b{which}", [row for row in rows if row.blob == f"b{which}"], OWNERS, now)
            live[which] = 0
        elif which in live:  # the other side closed
            live[which] = 0
    observe(flows, [], len(steps) + 1.0, received=total, sent=0)
    assert moved(flows, "gpu-02")[0] + moved(flows, "gpu-03")[0] == total
