from __future__ import annotations

import pytest

from distd.core.bans import BANS_MAX, Ban, BanList
from distd.errors import Conflict, InvalidRequest


def test_the_first_word_on_a_member_stays_until_it_is_lifted() -> None:
    bans = BanList("me")
    first = Ban("bad", "wrong bytes", "distd", 1.0, ("piece 7 of e445 was wrong twice",))
    assert bans.add(first)
    assert not bans.add(Ban("bad", "another", "alice", 2.0))
    assert bans.get("bad") == first
    assert bans.reasons() == {"bad": "wrong bytes"}
    assert bans.lift("bad") == first
    assert bans.lift("bad") is None
    assert list(bans) == []


def test_a_node_does_not_ban_itself_and_the_list_is_bounded() -> None:
    bans = BanList("me", [Ban("me", "by mistake", "alice", 1.0)])
    assert list(bans) == []
    with pytest.raises(InvalidRequest, match="itself"):
        bans.add(Ban("me", "", "alice", 1.0))
    with pytest.raises(InvalidRequest, match="501 characters"):
        bans.add(Ban("a", "x" * 501, "alice", 1.0))
    for number in range(BANS_MAX):
        assert bans.add(Ban(f"m{number:04}", "", "alice", 1.0))
    with pytest.raises(Conflict):
        bans.add(Ban("one more", "", "alice", 1.0))
    assert [ban.member for ban in bans] == [f"m{number:04}" for number in range(BANS_MAX)]
