"""Under which terms members meet in a swarm: secret, wire version and CA, from which each derives the same torrents.

While a secret is rotated, or some members are of the next release, not all would choose the same by themselves. So what
each accepts travels in the membership table, and all choose from that table by one rule: what most live members can take.
Tables agree within a gossip round or two; whoever is in a swarm under other terms then enters it anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from peers.membership import MemberFacts


@dataclass(frozen=True, slots=True)
class SwarmTerms:
    """What a torrent is derived from, beside its blob."""

    secret: bytes = field(repr=False)
    wire_version: int
    tls_ca: bytes = field(default=b"", repr=False)


def agreed_secret(accepted: Sequence[bytes], members: Iterable[MemberFacts]) -> int:
    """Which of the ``accepted`` secrets (ids, the signing one first) live members share swarms under, as an index.

    The one that most members accept, of those the one that most sign with: a swap of the lines moves everybody once,
    when half of the members have swapped. The id decides a tie, because everybody reads the same there. Members that
    tell no ids do not count.
    """
    told = [facts.secret_ids for facts in members if facts.secret_ids]

    def rank(index: int) -> tuple[int, int, bytes]:
        own = accepted[index]
        return sum(own in each for each in told), sum(own == each[0] for each in told), own

    return max(range(len(accepted)), key=rank)


def agreed_wire_version(own: int, members: Iterable[MemberFacts]) -> int:
    """The highest version that all live members speak. One that is further back than the neighbour below is not waited
    for: nothing is said to it at all."""
    lowest_spoken = max(own - 1, 0)
    spoken = [facts.wire_version for facts in members if facts.wire_version >= lowest_spoken]
    return min([own, *spoken])
