from __future__ import annotations

import random

from peers.introductions import NEWCOMER_S, Introductions
from peers.membership import GossipReceived, MemberEntry, MemberFacts, Membership, MemberState


def entry(name: str) -> MemberEntry:
    return MemberEntry(name, 1, MemberState.ALIVE, MemberFacts(f"{name}:7071"))


def table(name: str, *known: str) -> Membership:
    return Membership(entry(name), (), random.Random(name), 0.0, [entry(each) for each in known])


def test_a_newcomer_tells_its_own_line_to_everybody_once() -> None:
    introductions = Introductions(table("new", "a", "b"), 0.0)
    for name in "ab":
        said = introductions.due(name, 1.0)
        assert said is not None
        assert said.address == f"{name}:7071"
        assert [each.name for each in said.said.lines] == ["new"]
        assert introductions.due(name, 2.0) is None


def test_who_hears_it_knows_the_newcomer_and_answers_like_in_any_exchange() -> None:
    other = table("a", "b")
    introduction = Introductions(table("new", "a"), 0.0).due("a", 1.0)
    assert introduction is not None
    other.handle(GossipReceived("new", introduction.said.lines, members=introduction.said.members), 1.0)
    assert other.live == {"a", "b", "new"}
    assert {each.name for each in other.answer("new", introduction.said, 1.0).lines} >= {"a"}


def test_nobody_introduces_itself_to_itself_to_strangers_or_after_a_while() -> None:
    introductions = Introductions(table("new", "a"), 0.0)
    assert introductions.due("new", 1.0) is None
    assert introductions.due("stranger", 1.0) is None
    assert introductions.due("a", NEWCOMER_S) is None
