from __future__ import annotations

from peers.doors import SOURCE_REMEMBERED_S, SOURCES_PER_MEMBER_MAX, Sources, refused_hosts
from peers.membership import MemberEntry, MemberFacts, MemberState


def member(name: str, host: str, state: MemberState = MemberState.ALIVE, hot: str = "") -> MemberEntry:
    facts = MemberFacts(
        f"{host}:7071", hot_address=f"{hot or host}:7072", sealed_address=f"{hot or host}:7073"
    )
    return MemberEntry(name, 1, state, facts)


def test_hosts_that_are_a_banned_members_alone_are_refused() -> None:
    table = [member("me", "10.0.0.1"), member("bad", "10.0.0.2", hot="10.1.0.2"), member("good", "10.0.0.3")]
    assert refused_hosts("me", table, {}, {"bad"}) == {"10.0.0.2", "10.1.0.2"}
    assert refused_hosts("me", table, {"bad": ["192.0.2.9"]}, {"bad"}) == {
        "10.0.0.2",
        "10.1.0.2",
        "192.0.2.9",
    }
    assert refused_hosts("me", table, {}, set()) == frozenset()


def test_a_host_of_anybody_else_is_never_refused() -> None:
    table = [
        member("me", "10.0.0.1"),
        member("bad", "10.0.0.2"),
        member("neighbour", "10.0.0.2", MemberState.DEAD),
        member("elsewhere", "10.0.0.3"),
    ]
    assert refused_hosts("me", table, {}, {"bad"}) == frozenset()
    behind_one_gateway = {"bad": ["192.0.2.9"], "elsewhere": ["192.0.2.9"]}
    assert refused_hosts("me", table[:2], behind_one_gateway, {"bad"}) == {"10.0.0.2"}
    claims_mine = [member("me", "10.0.0.1"), member("bad", "10.0.0.2", hot="10.0.0.1")]
    assert refused_hosts("me", claims_mine, {}, {"bad", "me"}) == {"10.0.0.2"}


def test_names_are_no_hosts_and_ipv4_in_ipv6_is_ipv4() -> None:
    sources = Sources()
    sources.note("bad", "::ffff:10.0.0.2", 0.0)
    sources.note("bad", "fe80::1%eth0", 0.0)
    sources.note("bad", None, 0.0)
    told = [member("bad", "bad.example", hot="10.0.0.9")]
    assert refused_hosts("me", told, sources.of(0.0), {"bad"}) == {"10.0.0.2", "fe80::1", "10.0.0.9"}


def test_whence_a_member_came_is_bounded_and_forgotten() -> None:
    sources = Sources()
    for number in range(SOURCES_PER_MEMBER_MAX + 2):
        sources.note("a", f"10.0.0.{number}", float(number))
    assert len(sources.of(6.0)["a"]) == SOURCES_PER_MEMBER_MAX
    assert sources.of(6.0 + SOURCE_REMEMBERED_S)["a"] == frozenset()
