from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peers.membership import (
    DEAD_REMEMBERED_S,
    MEMBERS_MAX,
    RECONNECT_S,
    BansChanged,
    FactsChanged,
    Gossip,
    GossipFailed,
    GossipReceived,
    LeaveDecided,
    MemberEntry,
    MemberFacts,
    MemberForgotten,
    Membership,
    MemberState,
    RoundCame,
    Said,
    TellLive,
)

ALIVE, SUSPECT, DEAD, LEFT = MemberState


def entry(name: str, incarnation: int = 1, state: MemberState = ALIVE, **facts: object) -> MemberEntry:
    return MemberEntry(name, incarnation, state, MemberFacts(address=f"{name}:1", **facts))  # type: ignore[arg-type]  # named by the caller


def member(name: str = "me", *known: MemberEntry, join: tuple[str, ...] = ()) -> Membership:
    return Membership(entry(name), join, random.Random(1), 0.0, known)


def hear(to: Membership, now: float, *entries: MemberEntry, sender: str = "x") -> None:
    to.handle(GossipReceived(sender, entries), now)
    to.check()


def exchange(one: Membership, other: Membership, said: Said, now: float) -> int:
    """What one says reaches the other, and its answer comes back; returns how many lines both said."""
    other.handle(GossipReceived(one.me, said.lines), now)
    answer = other.answer(one.me, said, now)
    one.handle(GossipReceived(other.me, answer.lines, answer.sums), now)
    one.check()
    other.check()
    return len(said.lines) + len(answer.lines)


def states(of: Membership) -> dict[str, MemberState]:
    return {line.name: line.state for line in of.table()}


entries = st.lists(
    st.builds(
        entry,
        name=st.sampled_from(["a", "b", "me"]),
        incarnation=st.integers(1, 4),
        state=st.sampled_from(list(MemberState)),
        zone=st.sampled_from(["", "z"]),
    ),
    max_size=12,
)


def others_of(table: Membership) -> set[MemberEntry]:
    return {line for line in table.table() if line.name != "me"}


@given(entries, st.randoms(use_true_random=False))
def test_tables_merge_to_the_same_whatever_the_order_and_however_often(
    told: list[MemberEntry], shuffle: random.Random
) -> None:
    one, other = member(), member()
    hear(one, 0.0, *told)
    shuffled = [*told, *told]
    shuffle.shuffle(shuffled)
    for some in shuffled:
        hear(other, 0.0, some)
    assert others_of(one) == others_of(other)


@given(entries)
def test_nobody_can_make_a_member_believe_in_its_own_death(told: list[MemberEntry]) -> None:
    me = member()
    hear(me, 0.0, *told)
    own = me.entry("me")
    assert own is not None
    assert own.state is ALIVE
    assert all(own.outranks(line) or line == own for line in told if line.name == "me")


def test_a_higher_incarnation_wins_and_then_the_worse_state() -> None:
    me = member("me", entry("a"))
    hear(me, 0.0, entry("a", 1, SUSPECT))
    assert states(me)["a"] is SUSPECT
    hear(me, 0.0, entry("a", 1, ALIVE))
    assert states(me)["a"] is SUSPECT
    hear(me, 0.0, entry("a", 2, ALIVE))
    assert states(me)["a"] is ALIVE


def test_two_failures_in_a_row_make_a_suspect_and_silence_a_death() -> None:
    me = member("me", entry("a"))
    me.handle(GossipFailed("a:1"), 0.0)
    assert states(me)["a"] is ALIVE
    me.handle(GossipFailed("a:1"), 1.0)
    assert (states(me)["a"], "a" in me.live) == (SUSPECT, True)
    actions = me.handle(RoundCame(), 1.0 + me.suspicion_s())
    assert states(me)["a"] is DEAD
    assert TellLive(frozenset({"me"}), 0.0, frozenset()) in actions


def test_an_exchange_between_two_failures_forgives_the_first() -> None:
    me = member("me", entry("a"))
    me.handle(GossipFailed("a:1"), 0.0)
    hear(me, 0.5, entry("a"), sender="a")
    me.handle(GossipFailed("a:1"), 1.0)
    assert states(me)["a"] is ALIVE


def test_a_suspect_that_refutes_in_time_lives() -> None:
    me = member("me", entry("a", 1, SUSPECT))
    hear(me, 3.0, entry("a", 2))
    me.handle(RoundCame(), 100.0)
    assert states(me)["a"] is ALIVE


def test_one_that_failed_is_asked_again_next_round() -> None:
    known = [entry(f"m{number}") for number in range(20)]
    me = member("me", *known)
    me.handle(GossipFailed("m7:1"), 0.0)
    (asked,) = [a for a in me.handle(RoundCame(), 1.0) if isinstance(a, Gossip)]
    assert asked.address == "m7:1"


def test_a_member_that_knows_nobody_gossips_with_those_it_should_join() -> None:
    me = member(join=("seed:1", "me:1"))
    asked = [a.address for a in me.handle(RoundCame(), 0.0) if isinstance(a, Gossip)]
    assert asked == ["seed:1"]


def test_the_dead_are_tried_now_and_then_so_that_partitions_heal() -> None:
    me = member("me", entry("a", 1, DEAD))
    assert [a for a in me.handle(RoundCame(), 0.0) if isinstance(a, Gossip)] == []
    asked = [a.address for a in me.handle(RoundCame(), RECONNECT_S) if isinstance(a, Gossip)]
    assert asked == ["a:1"]


def test_the_dead_are_forgotten_after_a_day() -> None:
    me = member("me", entry("a", 1, DEAD))
    me.handle(RoundCame(), DEAD_REMEMBERED_S)
    assert "a" not in states(me)


def test_a_leaver_says_so_and_is_gone_at_once() -> None:
    leaver, other = member("a", entry("b")), member("b", entry("a"))
    (told,) = [a for a in leaver.handle(LeaveDecided(), 0.0) if isinstance(a, Gossip)]
    other.handle(GossipReceived("a", told.said.lines), 0.1)
    assert (states(other)["a"], other.live) == (LEFT, frozenset({"b"}))
    leaver.check()


def test_a_restarted_daemon_outranks_its_former_life() -> None:
    me = member("me", entry("a", 5, DEAD))
    hear(me, 0.0, entry("a", 9, ALIVE))
    assert "a" in me.live


def test_the_lowest_limit_among_live_members_binds_the_cluster() -> None:
    me = member("me", entry("a", hub_down_cluster=9.0), entry("b", hub_down_cluster=5.0, hub_busy=True))
    (told,) = [a for a in me.handle(RoundCame(), 0.0) if isinstance(a, TellLive)]
    assert (told.hub_down_cluster, told.hub_busy) == (5.0, frozenset({"b"}))
    gone = me.handle(GossipReceived("b", (entry("b", 1, LEFT, hub_down_cluster=5.0),)), 1.0)
    assert gone == [TellLive(frozenset({"me", "a"}), 9.0, frozenset())]


def test_changed_facts_travel_with_a_new_incarnation() -> None:
    me = member()
    actions = me.handle(FactsChanged(MemberFacts(address="me:1", hub_down_cluster=3.0)), 0.0)
    own = me.entry("me")
    assert own is not None
    assert (own.incarnation, own.facts.hub_down_cluster) == (2, 3.0)
    assert actions == [TellLive(frozenset({"me"}), 3.0, frozenset())]


def test_the_table_is_bounded() -> None:
    me = member()
    hear(me, 0.0, *(entry(f"m{number}") for number in range(MEMBERS_MAX + 10)))
    assert len(me.table()) == MEMBERS_MAX


@pytest.mark.parametrize("members", [10, 100])
def test_news_reaches_everybody_in_a_few_rounds(members: int) -> None:
    names = [f"m{number}" for number in range(members)]
    tables = {
        name: Membership(entry(name), ("m0:1",), random.Random(name), 0.0, [entry("m0")]) for name in names
    }
    rounds = 0
    while any(len(table.live) < members for table in tables.values()):
        rounds += 1
        assert rounds < 20
        for table in tables.values():
            for action in table.handle(RoundCame(), float(rounds)):
                if isinstance(action, Gossip):
                    other = tables[action.address.removesuffix(":1")]
                    exchange(table, other, action.said, float(rounds))


def test_a_forgotten_member_does_not_come_back_from_tables_that_still_tell_of_it() -> None:
    table = member("me", entry("a"), entry("gone", 5, DEAD))
    table.handle(MemberForgotten("gone"), 1.0)
    hear(table, 2.0, entry("gone", 5, DEAD), entry("gone", 5, SUSPECT), entry("gone", 5))
    (tombstone,) = (line for line in table.table() if line.name == "gone")
    assert tombstone.forgotten
    other = member("a", entry("gone", 5, DEAD))
    hear(other, 2.0, *table.table(), sender="me")
    assert [line.forgotten for line in other.table() if line.name == "gone"] == [True]
    newcomer = member("new")
    hear(newcomer, 2.0, *table.table(), sender="me")
    assert newcomer.entry("gone") is None
    table.handle(RoundCame(), 2.0 + DEAD_REMEMBERED_S)
    assert table.entry("gone") is None


def test_a_live_member_is_not_forgotten_and_one_that_is_there_after_all_is_back() -> None:
    table = member("me", entry("a"), entry("b", 5, DEAD))
    for name in ("a", "b", "me", "nobody"):
        table.handle(MemberForgotten(name), 1.0)
        table.check()
    assert table.live == {"me", "a"}
    told_so = member("b")
    hear(told_so, 2.0, *table.table(), sender="me")
    hear(table, 3.0, *told_so.table(), sender="b")
    assert table.live == {"me", "a", "b"}


def test_a_banned_member_is_not_live_not_asked_and_not_believed() -> None:
    table = member("me", entry("a"), entry("bad"), entry("dead", 1, DEAD))
    (told,) = (act for act in table.handle(BansChanged(frozenset({"bad", "dead", "me"})), 1.0))
    assert isinstance(told, TellLive)
    assert told.live == {"me", "a"}
    for now in range(2, 40):
        asked = {act.address for act in table.handle(RoundCame(), float(now)) if isinstance(act, Gossip)}
        assert asked <= {"a:1"}
    hear(table, 40.0, entry("a", 9, DEAD), entry("sibyl"), sender="bad")
    assert states(table) == {"me": ALIVE, "a": ALIVE, "bad": ALIVE, "dead": DEAD}
    hear(table, 41.0, entry("bad", 2), sender="a")
    assert table.live == {"me", "a"}
    table.handle(BansChanged(frozenset()), 42.0)
    assert table.live == {"me", "a", "bad"}


def test_a_goodbye_reaches_others_than_the_one_that_just_failed() -> None:
    table = member("me", entry("a"), entry("b"), entry("dead"))
    table.handle(GossipFailed("dead:1"), 0.5)
    told = {act.address for act in table.handle(LeaveDecided(), 0.6) if isinstance(act, Gossip)}
    assert told == {"a:1", "b:1", "dead:1"}
