"""Which secret and wire version members share swarms under: all come to the same from one table."""

from __future__ import annotations

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from peers.membership import MemberFacts
from peers.swarm_terms import agreed_secret, agreed_wire_version

OLD, NEW, THIRD = b"old.", b"new.", b"3rd."


def facts(*ids: bytes, wire_version: int = 1) -> MemberFacts:
    return MemberFacts("a:1", wire_version=wire_version, secret_ids=ids)


def chosen(accepted: tuple[bytes, ...], members: list[MemberFacts]) -> bytes:
    return accepted[agreed_secret(accepted, members)]


def test_a_rotation_keeps_all_together_and_moves_them_once() -> None:
    """Eight members, one after the other, three rounds: at every step all choose the same, and it changes once."""
    rounds = [(OLD,), (OLD, NEW), (NEW, OLD), (NEW,)]
    members = [rounds[0]] * 8
    seen: list[bytes] = []
    for follows in rounds[1:]:
        for number in random.Random(7).sample(range(8), 8):
            members[number] = follows
            table = [facts(*each) for each in members]
            choices = {chosen(each, table) for each in members}
            assert len(choices) == 1, members
            seen += choices
    assert seen[0] == OLD
    assert seen[-1] == NEW
    assert sum(before != after for before, after in itertools.pairwise(seen)) == 1


@given(st.lists(st.sampled_from([(OLD, NEW), (NEW, OLD)]), min_size=1, max_size=9))
def test_whatever_the_order_of_the_lines_all_choose_the_same(members: list[tuple[bytes, ...]]) -> None:
    table = [facts(*each) for each in members]
    assert len({chosen(each, table) for each in members}) == 1


def test_members_that_do_not_tell_their_secrets_do_not_count() -> None:
    assert chosen((NEW, OLD), [facts(), facts(), facts(NEW, OLD)]) == NEW
    assert chosen((NEW,), []) == NEW


def test_somebody_with_a_secret_of_its_own_divides_nobody() -> None:
    table = [facts(OLD, NEW), facts(NEW, OLD), facts(THIRD)]
    assert chosen((OLD, NEW), table) == chosen((NEW, OLD), table)


def test_the_lowest_wire_version_spoken_by_all_is_used() -> None:
    assert agreed_wire_version(2, [facts(wire_version=2), facts(wire_version=1)]) == 1
    assert agreed_wire_version(1, [facts(wire_version=2), facts(wire_version=1)]) == 1
    assert agreed_wire_version(2, [facts(wire_version=2), facts(wire_version=2)]) == 2
    assert agreed_wire_version(2, [facts(wire_version=2), facts(wire_version=0)]) == 2, "not spoken here"
    assert agreed_wire_version(0, [facts(wire_version=1)]) == 0
