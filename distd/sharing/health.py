"""The usual mistakes of a cluster, in what is known of its members: secrets, clocks, firewalls, versions, packets."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Literal

from distd.api.schema import Finding
from distd.sharing.packets import packet_findings
from distd.sharing.reachability import reach_findings
from peers.auth import WINDOW_S
from peers.cluster import Cluster, Member
from peers.gossiping import SKEW_TOLD_S
from peers.membership import MemberState
from peers.tls import EXPIRY_TOLD_S

NAMED_MAX = 5
"""Of the members or addresses with the same trouble: the rest are counted."""
LIVE = (MemberState.ALIVE, MemberState.SUSPECT)
NOBODY: Mapping[str, float] = {}


def cluster_checks(cluster: Cluster, join: Sequence[str]) -> list[Callable[[], Awaitable[list[Finding]]]]:
    """What `distctl doctor` has a member look at."""

    async def members() -> list[Finding]:
        found = cluster_findings(
            cluster.me, cluster.members(), cluster.troubles(), join, cluster.refused_clocks()
        )
        return found + certificate_findings(cluster.certificate_ends, time.time())

    return [members, lambda: packet_findings(cluster), lambda: reach_findings(cluster)]


def cluster_findings(
    me: str,
    members: Sequence[Member],
    troubles: Mapping[str, str],
    join: Sequence[str],
    refused_clocks: Mapping[str, float] = NOBODY,
) -> list[Finding]:
    """`troubles`: by address why it could not be reached last; `refused_clocks`: members that refuse this one for its clock, and
    theirs minus ours. One finding a kind of trouble. Pure."""
    others = [member for member in members if member.name != me]
    live = [member for member in others if member.state in LIVE]
    return [
        *_secrets(troubles),
        *_clocks(live, refused_clocks),
        *_silent(others, troubles),
        *_versions(me, members, live),
        *_rotation(me, members, live),
        *_company(others, live, join),
    ]


def certificate_findings(ends: float | None, now: float) -> list[Finding]:
    """`ends` and `now` in seconds since the epoch; `ends` is None without TLS. Pure."""
    if ends is None:
        return []
    told = f"this node's certificate ends on {datetime.fromtimestamp(ends, UTC):%Y-%m-%d}"
    if ends - now > EXPIRY_TOLD_S:
        return [Finding("cluster.certificate", "ok", told)]
    outcome: Literal["warn", "fail"] = "warn" if ends > now else "fail"
    fix = "make a new one with `distctl cluster cert`, copy it to this node and reload distd"
    return [Finding("cluster.certificate", outcome, told, fix)]


def _rotation(me: str, members: Sequence[Member], live: Sequence[Member]) -> list[Finding]:
    """Whether a rotation of the secret is under way, and which of its rounds all members are through."""
    own = next((member.facts.secret_ids for member in members if member.name == me), ())
    others = {member.name: member.facts.secret_ids for member in live if member.facts.secret_ids}
    differing = [name for name, ids in others.items() if ids != own]
    if differing:
        detail = (
            f"the secret file of {_some(differing)} has other lines than this node's: a rotation is under way"
        )
        return [
            Finding(
                "cluster.rotation", "warn", detail, "bring every member through the same round, then the next"
            )
        ]
    if len(own) > 1:
        detail = "every live member's secret file has the same two lines: this round of the rotation is done"
        return [
            Finding("cluster.rotation", "warn", detail, "swap the lines everywhere, or remove the old one")
        ]
    return []


def _secrets(troubles: Mapping[str, str]) -> list[Finding]:
    refused = [address for address, text in troubles.items() if "not_authenticated" in text]
    if not refused:
        return []
    detail = f"{_some(refused)} did not accept this daemon's cluster secret, or the other way round"
    return [
        Finding(
            "cluster.secret",
            "fail",
            detail,
            "put the same secret file on every member (cluster.secret_file, or the credential cluster-secret; compare"
            " sha256sum) and restart the daemon",
        )
    ]


def _clocks(live: Sequence[Member], refused: Mapping[str, float]) -> list[Finding]:
    """`refused`: members that refuse this one for its clock. Where most others agree with each other, it is known whose is off."""
    skews = {member.name: member.skew_s for member in live if member.skew_s is not None} | dict(refused)
    off = {name: skew for name, skew in skews.items() if abs(skew) >= SKEW_TOLD_S}
    if not off:
        told = f"within {SKEW_TOLD_S:.0f} s of every member's"
        return [Finding("cluster.clock", "ok", told)] if live else []
    agreeing, middle = len(skews) - len(off), median(off.values())
    alike = all(abs(skew - middle) < SKEW_TOLD_S for skew in off.values())
    named = _some([f"{name} ({skew:+.0f} s)" for name, skew in off.items()])
    if len(off) > max(1, agreeing) and alike:
        word = "behind" if middle > 0 else "ahead of"
        detail = f"this host's clock is off: {abs(middle):.0f} s {word} those of {len(off)} of {len(skews)} members"
        fix = "set this host's clock by NTP (chronyc tracking, timedatectl)"
    elif agreeing:
        detail = f"the clock of {named} is off: this host's agrees with {agreeing} of {len(skews)} members"
        fix = "set the clock there by NTP (chronyc tracking, timedatectl)"
    else:
        detail = f"the clock of {named} differs from this host's, and no third member tells which is off"
        fix = "synchronise the clocks of both by NTP (chronyc tracking, timedatectl)"
    beyond = any(abs(skew) >= WINDOW_S for skew in off.values())
    limit = f"; from {WINDOW_S:.0f} s on members refuse each other"
    return [Finding("cluster.clock", "fail" if refused or beyond else "warn", detail + limit, fix)]


def _silent(others: Sequence[Member], troubles: Mapping[str, str]) -> list[Finding]:
    """Addresses that do not answer, but for those of members that said goodbye."""
    left = {member.facts.address for member in others if member.state is MemberState.LEFT}
    names = {member.facts.address: member.name for member in others}
    kinds = ("not_authenticated", "clock_skew")
    silent = {
        address: text
        for address, text in troubles.items()
        if address not in left and not any(kind in text for kind in kinds)
    }
    if not silent:
        return []
    told = _some([f"{names.get(address, address)}: {text}" for address, text in silent.items()])
    fix = "is distd running there, and do the firewalls let TCP 7071 to 7073 through in both directions?"
    return [Finding("cluster.reach", "warn", told, fix)]


def _versions(me: str, members: Sequence[Member], live: Sequence[Member]) -> list[Finding]:
    (own,) = (member.facts.wire_version for member in members if member.name == me)
    other = [member.name for member in live if member.facts.wire_version != own]
    if not other:
        return []
    detail = f"{_some(other)} speak another version between members; this works for one release"
    return [Finding("cluster.version", "warn", detail, "bring all members to one version of distd")]


def _company(others: Sequence[Member], live: Sequence[Member], join: Sequence[str]) -> list[Finding]:
    if live:
        return [Finding("cluster", "ok", f"{len(live)} of {len(others)} other members can be reached")]
    if not join and not others:
        return [Finding("cluster", "ok", "no other member, and nobody to join")]
    return [
        Finding(
            "cluster",
            "fail",
            "no other member can be reached: pulls fetch everything from the Hub",
            "check cluster.join, the secret, and that the members listen beyond loopback (cluster.listen)",
        )
    ]


def _some(words: Sequence[str]) -> str:
    shown = ", ".join(words[:NAMED_MAX])
    return f"{shown} and {len(words) - NAMED_MAX} more" if len(words) > NAMED_MAX else shown
