"""Members find each other, notice who is gone, and speak with those of another version or secret."""

from __future__ import annotations

import time
from typing import Any

import pytest

from peers import secret, wire
from peers.auth import secret_ids
from peers.cluster import Cluster, ClusterSettings
from peers.cluster_errors import CallRefused, ClocksDiffer, ListenRefused, MemberBanned, MemberUnknown
from peers.membership import MemberEntry, MemberFacts, MemberState, Said
from peers.secret import Secret
from tests.cluster.worlds import SECRET, World, acquainted, state_of, until


async def test_eight_members_learn_each_other_from_one_seed(world: World) -> None:
    members = await world.grow(8)
    assert await members[3].call("m5", "echo", b"hello", 5.0) == b"m3 says hello"


async def test_facts_of_a_member_reach_the_others(world: World) -> None:
    first, second = await world.grow(2)
    changes = []
    first.on_change(lambda: changes.append(first.view))
    second.change_facts(
        MemberFacts("ignored", "rack 7", "10.0.0.2:7072", "10.0.0.2:7073", False, 1e6, True, wire_version=9)
    )
    await until(lambda: first.view.hub_busy == {"m1"}, "the new facts arrive")
    told = next(member for member in first.members() if member.name == "m1")
    assert told.facts == MemberFacts(
        second.address, "rack 7", "10.0.0.2:7072", "10.0.0.2:7073", False, 1e6, True, 1, secret_ids(SECRET)
    )
    assert first.view.hub_down_cluster == 1e6
    assert changes[-1] == first.view


async def test_a_member_knows_round_trip_clock_and_start_of_whom_it_talks_to(world: World) -> None:
    first, second = await world.grow(2)
    await until(lambda: second.members()[0].rtt_s is not None, "an exchange")
    told = second.members()[0]
    assert told.start_id == first.start_id
    assert told.rtt_s is not None
    assert 0 < told.rtt_s < 5
    assert told.heard_s_ago is not None
    assert 0 <= told.heard_s_ago < 5
    assert told.skew_s is not None
    assert abs(told.skew_s) < 5
    assert second.members()[1].start_id == second.start_id


async def test_a_killed_member_is_suspected_and_then_dead(world: World) -> None:
    first, second, third = await world.grow(3)
    seen: list[str] = []
    first.on_change(lambda: seen.append(state_of(first, "m2")))
    await third.stop(leave=False)
    began = time.monotonic()
    await until(lambda: all(state_of(each, "m2") == "DEAD" for each in (first, second)), "m2 is dead")
    assert time.monotonic() - began < 5
    assert "SUSPECT" in seen
    assert seen.index("SUSPECT") < seen.index("DEAD")
    assert first.live == {"m0", "m1"}
    with pytest.raises(MemberUnknown):
        await first.call("m2", "echo", b"", 1.0)


async def test_a_hanging_member_is_found_dead(world: World) -> None:
    address = await world.silence()
    entry = MemberEntry("hung", 1, MemberState.ALIVE, MemberFacts(address))
    member = await world.start("m0", known=(entry,), gossip_timeout_s=0.1)
    await until(lambda: state_of(member, "hung") == "DEAD", "the hanging member is dead")
    assert "no answer in time" in member.troubles()[address]


async def test_a_leaving_member_is_gone_at_once(world: World) -> None:
    members = await world.grow(4)
    await members[3].stop()
    await until(lambda: all(state_of(each, "m3") == "LEFT" for each in members[:3]), "the leave is known")


async def test_stopping_twice_and_before_the_start_does_no_harm(world: World) -> None:
    member = await world.start("m0")
    await member.stop()
    await member.stop()
    await Cluster(ClusterSettings("never started")).stop()


async def test_a_banned_member_is_refused_whatever_it_asks_until_the_ban_is_lifted(world: World) -> None:
    first, second, third = await world.grow(3)
    for each in (first, second):
        each.ban({"m2": "it sent wrong bytes", each.me: "never itself"})
        assert each.live == {"m0", "m1"}
        assert state_of(each, "m2") == "ALIVE"
    with pytest.raises(MemberBanned, match="it sent wrong bytes"):
        await first.call("m2", "echo", b"", 1.0)
    with pytest.raises(CallRefused, match="banned"):
        await third.call("m0", "echo", b"", 1.0)
    with pytest.raises(CallRefused, match="banned"):
        await third.fetch("m0", "count", {"parts": "1", "part_bytes": "1"}, nowhere, 10)
    assert world.served.get("m2", 0) == 0
    await until(lambda: third.live == {"m2"}, "the banned one is alone")
    assert all(each.live == {"m0", "m1"} for each in (first, second))
    for each in (first, second):
        each.ban({})
    await acquainted(first, second, third)
    assert await third.call("m0", "echo", b"again", 5.0) == b"m2 says again"


async def test_a_member_is_shunned_when_more_ban_it_than_talk_with_it(world: World) -> None:
    """Bad members do not ban each other."""
    *good, other, bad = await world.grow(5)
    await acquainted(*good, other, bad)
    for number, each in enumerate(good):
        each.ban({bad.me: "it sent wrong bytes"})
        with pytest.raises(CallRefused, match="banned"):
            await bad.call(each.me, "echo", b"", 1.0)
        assert bad.is_shunned == (number >= 2)
    assert bad.live == {other.me, bad.me}
    assert not other.is_shunned


async def test_a_newcomer_that_introduces_itself_is_known_at_once(world: World) -> None:
    first, second = await world.grow(2, gossip_pace=0.001)
    third = await world.start("m2", (first.address,), gossip_pace=0.001)
    await until(lambda: third.live == {"m0", "m1", "m2"}, "the newcomer knows all by the one it joined")
    assert second.live == {"m0", "m1"}
    await third.introduce("m1")
    assert second.live == {"m0", "m1", "m2"}


async def test_a_dead_member_that_was_forgotten_is_in_nobodys_list(world: World) -> None:
    first, second, third = await world.grow(3)
    with pytest.raises(MemberUnknown):
        first.forget("m2")
    await third.stop(leave=False)
    await until(lambda: all(state_of(each, "m2") == "DEAD" for each in (first, second)), "m2 is dead")
    first.forget("m2")
    await until(lambda: [member.name for member in second.members()] == ["m0", "m1"], "m2 is forgotten")
    assert [member.name for member in first.members()] == ["m0", "m1"]
    again = await world.start("m2", (first.address,))
    await acquainted(first, second, again)


async def nowhere(part: bytes) -> None:
    raise AssertionError("a refused stream has no parts")


async def test_a_restarted_member_is_learnt_with_its_new_start(world: World) -> None:
    first, second, third = await world.grow(3)
    await first.call("m2", "echo", b"", 5.0)
    port = third.address.rpartition(":")[2]
    await third.stop(leave=False)
    again = await world.start("m2", (first.address,), listen=f"127.0.0.1:{port}")
    assert again.start_id != third.start_id
    await acquainted(first, second, again)
    await until(
        lambda: next(each for each in first.members() if each.name == "m2").start_id == again.start_id,
        "the new start id",
    )
    assert await first.call("m2", "echo", b"hi", 5.0) == b"m0 says hi"


async def test_a_host_given_to_another_member_does_not_stand_for_the_old_one(world: World) -> None:
    first, second = await world.grow(2)
    await second.stop(leave=False)
    renamed = await world.start("renamed", (first.address,), listen=second.address)
    await until(lambda: first.live == {"m0", "renamed"}, "m1 is dead, its successor lives")
    assert renamed.live >= {"m0", "renamed"}


async def test_a_daemon_with_a_name_already_taken_is_told(world: World) -> None:
    first = await world.start("m0")
    twin = await world.start("m0", (first.address,))
    await until(lambda: first.address in twin.troubles(), "the twin notices")
    assert "name_taken" in twin.troubles()[first.address]
    assert first.live == {"m0"}


@pytest.mark.parametrize("versions", [(1, 2), (2, 1), (0, 1), (1, 0)])
async def test_neighbouring_wire_versions_work_together(world: World, versions: tuple[int, int]) -> None:
    seed = await world.start("seed", wire_version=versions[0])
    joiner = await world.start("joiner", (seed.address,), wire_version=versions[1])
    third = await world.start("third", (seed.address,), wire_version=versions[0])
    await acquainted(seed, joiner, third)
    await third.stop()
    await acquainted(seed, joiner)
    assert await joiner.call("seed", "echo", b"hi", 5.0) == b"joiner says hi"
    assert await seed.call("joiner", "echo", b"hi", 5.0) == b"seed says hi"
    assert seed.wire_version_with("joiner") == joiner.wire_version_with("seed") == min(versions)


async def test_distant_wire_versions_are_named(world: World) -> None:
    seed = await world.start("seed", wire_version=1)
    joiner = await world.start("joiner", (seed.address,), wire_version=3)
    await until(lambda: seed.address in joiner.troubles(), "the refusal arrives")
    assert "wire_version" in joiner.troubles()[seed.address]
    assert seed.live == {"seed"}


async def test_a_clock_too_far_off_is_named_with_its_seconds(world: World) -> None:
    seed = await world.start("seed")
    fast = await world.start("fast", (seed.address,), wall=lambda: time.time() + 90)
    await until(lambda: seed.address in fast.troubles(), "the refusal arrives")
    assert "the clock of seed is 90 s behind this host's (clock_skew)" in fast.troubles()[seed.address]
    assert seed.live == {"seed"}


async def test_a_call_across_differing_clocks_says_so(world: World) -> None:
    seed = await world.start("seed")
    offset_s = [0.0]
    member = await world.start("member", (seed.address,), wall=lambda: time.time() + offset_s[0])
    await acquainted(seed, member)
    offset_s[0] = -75.0
    with pytest.raises(ClocksDiffer) as refused:
        await member.call("seed", "echo", b"", 5.0)
    assert refused.value.skew_s == pytest.approx(-75, abs=5)
    assert world.served == {}


async def test_a_clock_that_is_off_within_the_window_is_seen_before_it_hurts(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    seed = await world.start("seed")
    member = await world.start("member", (seed.address,), wall=lambda: time.time() + 30)
    await acquainted(seed, member)
    await until(lambda: member.members()[1].skew_s is not None, "an exchange")
    assert member.members()[1].skew_s == pytest.approx(-30, abs=5)
    assert "the clock of seed differs by -30 s" in caplog.text


async def test_a_member_with_another_secret_stays_out(world: World) -> None:
    seed = await world.start("seed")
    stranger = await world.start("stranger", (seed.address,), secret=Secret((secret.generate().encode(),)))
    await until(lambda: seed.address in stranger.troubles(), "the refusal arrives")
    assert "secret" in stranger.troubles()[seed.address]
    assert seed.live == {"seed"}


async def test_everybody_keeps_talking_while_the_secret_is_rotated(world: World) -> None:
    old, new = (secret.generate().encode() for _ in range(2))
    members = await world.grow(3, secret=Secret((old,)))
    for lines in ((old, new), (new, old), (new,)):
        for number in range(3):
            await members[number].stop()
            others = [each for each in members if each is not members[number]]
            restarted = await world.start(
                f"m{number}", tuple(each.address for each in others), secret=Secret(lines)
            )
            members[number] = restarted
            await acquainted(*members)
            for other in others:
                assert await other.call(restarted.me, "echo", b"", 5.0) == f"{other.me} says ".encode()
                assert await restarted.call(other.me, "echo", b"", 5.0) == f"{restarted.me} says ".encode()


async def test_members_meet_over_ipv6(world: World) -> None:
    seed = await world.start("seed", listen="[::1]:0")
    joiner = await world.start("joiner", (seed.address,), listen="[::1]:0")
    assert seed.address.startswith("[::1]:")
    await acquainted(seed, joiner)
    assert await seed.call("joiner", "echo", b"hi", 5.0) == b"seed says hi"


async def test_a_name_stands_for_all_its_addresses_each_time_it_is_asked(world: World) -> None:
    first = await world.start("first", listen="127.0.0.2:0")
    port = first.address.rpartition(":")[2]
    second = await world.start("second", listen=f"127.0.0.3:{port}")
    answers = [[], ["127.0.0.4"], ["127.0.0.4", "127.0.0.2", "127.0.0.3"]]

    async def resolve(host: str) -> list[str]:
        assert host == "seeds.example"
        return answers.pop(0) if len(answers) > 1 else answers[0]

    joiner = await world.start("joiner", (f"seeds.example:{port}",), resolve=resolve)
    await acquainted(first, second, joiner)


async def test_two_halves_that_started_apart_meet_by_a_later_answer_of_the_name(world: World) -> None:
    addresses = ["127.0.0.2"]

    async def resolve(host: str) -> list[str]:
        return addresses

    seed = await world.start("seed", listen="127.0.0.2:0")
    port = seed.address.rpartition(":")[2]
    joiner = await world.start("joiner", (f"seeds.example:{port}",), resolve=resolve, gossip_pace=60.0)
    other_seed = await world.start("other seed", listen=f"127.0.0.3:{port}")
    other = await world.start("other", (other_seed.address,))
    await acquainted(seed, joiner)
    await acquainted(other_seed, other)
    addresses.append("127.0.0.3")
    await acquainted(seed, joiner, other_seed, other)


async def test_a_name_that_stands_for_this_host_too_is_no_trouble(world: World) -> None:
    asked = []

    async def resolve(host: str) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    seed = await world.start("seed")
    port = seed.address.rpartition(":")[2]
    await seed.stop()
    alone = await world.start("seed", (f"me.example:{port}",), listen=f"127.0.0.1:{port}", resolve=resolve)
    await until(lambda: len(asked) > 3, "it asks its own name")
    assert alone.troubles() == {}


async def test_without_a_secret_only_loopback_is_listened_on(world: World) -> None:
    with pytest.raises(ListenRefused, match="secret_file"):
        await Cluster(ClusterSettings("m0", listen="0.0.0.0:0")).start()
    first = await world.start("first", secret=None)
    second = await world.start("second", (first.address,), secret=None)
    await acquainted(first, second)


async def test_a_listener_on_all_addresses_tells_the_one_it_is_given(world: World) -> None:
    first = await world.start("first", listen="0.0.0.0:0", advertise="127.0.0.1:0")
    second = await world.start("second", (first.address,))
    await acquainted(first, second)


@pytest.mark.parametrize(
    "wrong", [{"listen": "7071"}, {"join": ("a/b:1",)}, {"advertise": "host"}, {"name": ""}]
)
def test_settings_that_cannot_work_are_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        ClusterSettings(**({"name": "m0"} | wrong))


async def test_an_address_in_use_is_refused_with_its_reason(world: World) -> None:
    first = await world.start("first")
    with pytest.raises(ListenRefused, match=first.address):
        await Cluster(ClusterSettings("second", listen=first.address, secret=SECRET)).start()


async def test_the_advertised_address_is_what_others_learn(world: World) -> None:
    free = await world.start("free")
    port = free.address.rpartition(":")[2]
    await free.stop()
    member = await world.start("m0", listen=f"127.0.0.1:{port}", advertise="node7.example:0")
    assert member.facts.address == f"node7.example:{port}"


async def test_a_table_with_an_unusable_address_is_refused(world: World) -> None:
    first, _ = await world.grow(2)
    entry = MemberEntry("evil", 1, MemberState.ALIVE, MemberFacts("127.0.0.1:1/../admin?x"))
    with pytest.raises(CallRefused) as refused:
        await first.call("m1", "gossip", wire.encode_gossip(Said((entry,)), 0.0), 5.0)
    assert refused.value.code == "unreadable"
    assert first.live == {"m0", "m1"}
