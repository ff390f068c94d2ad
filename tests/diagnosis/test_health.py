"""What a daemon finds wrong with its cluster, from members and troubles as they are told of."""

from __future__ import annotations

from typing import Any

from distd.sharing.health import certificate_findings, cluster_findings
from peers.cluster import Member
from peers.membership import MemberFacts, MemberState

SECRET = "10.0.0.2:7071: it does not accept this daemon's cluster secret (not_authenticated)"


def member(
    name: str,
    state: MemberState = MemberState.ALIVE,
    version: int = 1,
    secrets: tuple[bytes, ...] = (),
    **more: Any,
) -> Member:
    facts = MemberFacts(f"{name}:7071", wire_version=version, secret_ids=secrets)
    return Member(name, state, facts, 1, **more)


def outcomes(
    *members: Member, troubles: dict[str, str] | None = None, join: tuple[str, ...] = ("10.0.0.2:7071",)
) -> dict[str, str]:
    findings = cluster_findings("me", [member("me"), *members], troubles or {}, join)
    assert all(bool(found.fix) == (found.outcome != "ok") for found in findings)
    return {found.name: found.outcome for found in findings}


def test_a_cluster_that_is_well() -> None:
    assert outcomes(member("b", skew_s=0.2)) == {"cluster.clock": "ok", "cluster": "ok"}


def test_another_secret_is_named_as_such_and_not_as_silence() -> None:
    found = outcomes(troubles={"10.0.0.2:7071": SECRET})
    assert found == {"cluster.secret": "fail", "cluster": "fail"}


def clock_of(*members: Member, refused: dict[str, float] | None = None) -> tuple[str, str]:
    findings = cluster_findings("me", [member("me"), *members], {}, (), refused or {})
    (found,) = (each for each in findings if each.name == "cluster.clock")
    return found.outcome, found.detail.partition(";")[0]


def test_clocks_that_differ_are_named_with_whose_is_off_where_others_tell() -> None:
    two = clock_of(member("b", skew_s=-20.0))
    assert two == (
        "warn",
        "the clock of b (-20 s) differs from this host's, and no third member tells which is off",
    )
    theirs = clock_of(member("b", skew_s=30.0), member("c", skew_s=0.1), member("d", skew_s=0.2))
    assert theirs == ("warn", "the clock of b (+30 s) is off: this host's agrees with 2 of 3 members")
    mine = clock_of(member("b", skew_s=-30.0), member("c", skew_s=-31.0))
    assert mine == ("warn", "this host's clock is off: 30 s ahead of those of 2 of 2 members")
    apart = clock_of(member("b", skew_s=-30.0), member("c", skew_s=40.0))
    assert apart[1].endswith("no third member tells which is off")


def test_from_a_minute_on_a_clock_is_a_failure() -> None:
    assert clock_of(member("b", skew_s=0.1), refused={"c": 90.0}) == (
        "fail",
        "the clock of c (+90 s) is off: this host's agrees with 1 of 2 members",
    )
    assert clock_of(refused={"b": 90.0, "c": 90.4}) == (
        "fail",
        "this host's clock is off: 90 s behind those of 2 of 2 members",
    )


def test_silence_is_told_but_not_of_who_said_goodbye() -> None:
    silent = {"b:7071": "b:7071 cannot be reached: refused", "c:7071": "c:7071 cannot be reached: refused"}
    (found,) = (
        each
        for each in cluster_findings(
            "me", [member("me"), member("b", MemberState.DEAD), member("c", MemberState.LEFT)], silent, ()
        )
        if each.name == "cluster.reach"
    )
    assert found.detail == "b: b:7071 cannot be reached: refused"
    assert "7071 to 7073" in found.fix


def test_another_version_is_a_warning() -> None:
    assert outcomes(member("b", version=2))["cluster.version"] == "warn"


def test_alone_without_anybody_to_join_is_well() -> None:
    assert outcomes(join=()) == {"cluster": "ok"}
    assert outcomes() == {"cluster": "fail"}


def test_a_rotation_under_way_and_the_end_of_each_round_are_told() -> None:
    old, both = (b"old.",), (b"old.", b"new.")

    def found(own: tuple[bytes, ...], *others: tuple[bytes, ...]) -> list[str]:
        members = [member(f"m{n}", secrets=ids) for n, ids in enumerate(others)]
        findings = cluster_findings("me", [member("me", secrets=own), *members], {}, ())
        return [each.detail for each in findings if each.name == "cluster.rotation"]

    assert found(old, old, ()) == []
    assert found(old) == []
    assert "m1 has other lines" in found(both, both, old)[0]
    assert "this round of the rotation is done" in found(both, both, both)[0]


def test_a_certificate_is_warned_of_a_month_before_its_end() -> None:
    day_s, ends = 86_400.0, 1_800_000_000.0
    assert certificate_findings(None, ends) == []
    outcomes = [certificate_findings(ends, ends - days * day_s)[0].outcome for days in (31, 29, -1)]
    assert outcomes == ["ok", "warn", "fail"]
    assert "2027-01-15" in certificate_findings(ends, ends)[0].detail
