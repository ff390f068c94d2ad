from __future__ import annotations

from peers.messages import SWARM_NAMES_MAX, SwarmMember, SwarmPhase
from peers.standing import ACROSS_ZONES, Standings
from tests.peers_core.builders import PIECES, report


def test_the_union_of_holdings_follows_gains_losses_and_leavers() -> None:
    standings = Standings(PIECES)
    standings.note(report("a", 0, 1), 0.0)
    standings.note(report("b", 1, 2), 0.0)
    assert standings.held_by_any(but=frozenset()) == 0b111
    assert standings.held_by_any(but=frozenset({"b"})) == 0b011
    standings.note(report("a", 0), 1.0)
    assert standings.held_by_any(but=frozenset()) == 0b111
    standings.forget("b")
    assert standings.held_by_any(but=frozenset()) == 0b001


def test_the_roster_names_those_in_a_swarm_or_able_to_serve() -> None:
    standings = Standings(PIECES)
    standings.note(report("b", phase=SwarmPhase.HOT), 0.0)
    standings.note(report("a", published=True), 0.0)
    standings.note_nothing("c", 0.0)
    assert standings.roster() == (
        SwarmMember("a", SwarmPhase.NONE, True),
        SwarmMember("b", SwarmPhase.HOT, False),
    )
    standings.note(report("b", phase=SwarmPhase.SEALED), 1.0)
    assert standings.roster()[1].phase is SwarmPhase.SEALED


def test_unfinished_members_of_the_hot_swarm_are_counted() -> None:
    standings = Standings(PIECES)
    standings.note(report("a", phase=SwarmPhase.HOT), 0.0)
    assert standings.unfinished_hot() == 1
    standings.note(report("a", *range(PIECES), phase=SwarmPhase.HOT), 0.0)
    assert standings.unfinished_hot() == 0


def test_who_cannot_fetch_is_no_fetcher_and_its_needs_are_known() -> None:
    standings = Standings(PIECES)
    standings.note(report("a", may_fetch=False, stuck=b"\x05"), 0.0)
    standings.note(report("b", stuck=b"\x02"), 0.0)
    assert standings.fetchers() == {"b"}
    assert standings.stuck_without_access() == 0b101


def test_a_large_swarm_is_named_in_part_and_not_the_same_part_to_everybody() -> None:
    standings = Standings(PIECES)
    for number in range(200):
        standings.note(report(f"m{number}", phase=SwarmPhase.HOT), 0.0)
    one, other = standings.swarm_for("m0", "blob"), standings.swarm_for("m1", "blob")
    assert len(one) == SWARM_NAMES_MAX
    assert "m0" not in {member.name for member in one}
    assert set(one) != set(other)
    assert standings.swarm_for("m0", "blob") == one


def named(zones: dict[str, str], member: str) -> list[str]:
    """The zones of those whom a large swarm's member is told."""
    standings = Standings(PIECES, zones=zones)
    for name in zones:
        standings.note(report(name, phase=SwarmPhase.HOT), 0.0)
    return [zones[other.name] for other in standings.swarm_for(member, "blob")]


def test_in_a_large_swarm_the_own_zone_comes_first_and_some_are_of_others() -> None:
    large = named({f"m{number}": f"rack-{number % 2}" for number in range(200)}, "m0")
    assert (len(large), large.count("rack-1")) == (SWARM_NAMES_MAX, ACROSS_ZONES)
    small = named({f"m{number}": f"rack-{number % 20}" for number in range(200)}, "m0")
    assert (len(small), small.count("rack-0")) == (SWARM_NAMES_MAX, 9)
    alone = named({f"m{number}": "" for number in range(200)}, "m0")
    assert len(alone) == SWARM_NAMES_MAX


def test_who_is_taken_out_of_service_is_named_while_it_holds_what_nobody_else_does() -> None:
    standings = Standings(PIECES, draining=frozenset({"leaver"}))
    standings.note(report("leaver", 0, 1, phase=SwarmPhase.HOT), 0.0)
    standings.note(report("a", 0, phase=SwarmPhase.HOT), 0.0)
    assert [member.name for member in standings.swarm_for("a", "blob")] == ["leaver"]
    standings.note(report("a", 0, 1, phase=SwarmPhase.HOT), 1.0)
    assert standings.swarm_for("a", "blob") == ()
    assert [member.name for member in standings.swarm_for("leaver", "blob")] == ["a"]
    standings.members_changed(frozenset(), {})
    assert [member.name for member in standings.swarm_for("a", "blob")] == ["leaver"]


def test_what_one_member_alone_has_is_known() -> None:
    standings = Standings(PIECES)
    standings.note(report("a", 0, 1), 0.0)
    assert not standings.holds_alone("a"), "there is nobody else"
    standings.note(report("b", 0), 0.0)
    assert standings.holds_alone("a")
    assert not standings.holds_alone("b")
    standings.note(report("b", 0, 1), 1.0)
    assert not standings.holds_alone("a")
