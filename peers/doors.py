"""From which hosts a banned member's connections come, where those are nobody else's.

A BitTorrent connection carries no proven name, so it is known by its host alone. A host is refused when banned members are
there and nobody else is: not this member itself, and no member that is not banned, alive or not, by the addresses that it
tells and those its proven requests came from. So several members behind one address are never refused for one of them.
Pure but for what it remembers; times are seconds.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping

from peers import addresses
from peers.membership import MEMBERS_MAX, MemberEntry

SOURCES_PER_MEMBER_MAX = 4
"""A host with more ways out than that is a gateway of many."""

SOURCE_REMEMBERED_S = 3600.0
"""Members talk every few minutes at the least; an address that changed hands is forgotten."""


class Sources:
    """Whence proven requests of each member came."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, float]] = {}

    def note(self, member: str, host: str | None, now: float) -> None:
        found = numeric(host or "")
        if found is None or (member not in self._seen and len(self._seen) >= MEMBERS_MAX):
            return
        seen = self._seen.setdefault(member, {})
        seen.pop(found, None)
        seen[found] = now
        if len(seen) > SOURCES_PER_MEMBER_MAX:
            del seen[next(iter(seen))]

    def of(self, now: float) -> dict[str, frozenset[str]]:
        return {
            member: frozenset(host for host, at in seen.items() if now - at < SOURCE_REMEMBERED_S)
            for member, seen in self._seen.items()
        }


def refused_hosts(
    me: str,
    table: Iterable[MemberEntry],
    sources: Mapping[str, Collection[str]],
    banned: Collection[str],
) -> frozenset[str]:
    """The numeric hosts that belong to banned members and to nobody else."""
    if not banned:
        return frozenset()
    theirs: set[str] = set()
    others: set[str] = set()
    told = {entry.name: _hosts(entry) for entry in table}
    for name in told.keys() | sources.keys():
        hosts = told.get(name, set()) | set(sources.get(name, ()))
        if name in banned and name != me:
            theirs |= hosts
        else:
            others |= hosts
    return frozenset(theirs - others)


def numeric(host: str) -> str | None:
    """The host as it is compared, IPv4 in IPv6 as IPv4; None for a name."""
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


def _hosts(entry: MemberEntry) -> set[str]:
    facts = entry.facts
    told = (facts.address, facts.hot_address, facts.sealed_address)
    found = (numeric(addresses.split(address)[0]) for address in told if address)
    return {host for host in found if host is not None}
