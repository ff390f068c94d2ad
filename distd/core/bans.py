"""The ban list: members that this node has nothing to do with, by whose word and why.

A ban names a member, never an address, and holds on the node that keeps it until it is lifted there. What follows from
it (no requests, no leads, no connections) is the cluster's part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from distd.errors import Conflict, InvalidRequest

BANS_MAX = 1024
"""A quarter of the largest cluster: with more than that banned, the ban list is not what is wrong."""
REASON_CHARS_MAX = 500
"""It is told to the banned member with every refusal, and stands in a table."""

RECHECK_S = 3600.0
RECHECK_S_MAX = 86_400.0
"""Doubling between these: a module that fails at times passes a re-check at times, and is banned less and less often for it."""
EVIDENCE_LINES_MAX = 10
"""The first and the latest."""


@dataclass(frozen=True, slots=True)
class Ban:
    """`by`: the person, or `distd` where evidence did it. `since` in seconds since the epoch.

    `evidence`: lines for people, what was seen and when; empty when a person decided.
    """

    member: str
    reason: str
    by: str
    since: float
    evidence: tuple[str, ...] = ()
    checked: int = 0
    """How often it was re-checked since and not found well, and banned before."""
    checked_at: float = 0.0

    def recheck_at(self) -> float:
        """When it is asked again by itself."""
        return max(self.since, self.checked_at) + min(RECHECK_S * 2.0 ** min(self.checked, 16), RECHECK_S_MAX)


@dataclass(frozen=True, slots=True)
class Checked:
    """What a re-check came to. `copies`: that were right; `text`: what was seen, for people."""

    verdict: Literal["clean", "wrong", "unknown"]
    copies: int
    text: str


class BanList:
    """Who is banned on this node `me`."""

    def __init__(self, me: str, bans: Iterable[Ban] = ()) -> None:
        self._me = me
        self._bans = {ban.member: ban for ban in bans if ban.member != me}

    def __iter__(self) -> Iterator[Ban]:
        return iter(sorted(self._bans.values(), key=lambda ban: ban.member))

    def get(self, member: str) -> Ban | None:
        return self._bans.get(member)

    def reasons(self) -> Mapping[str, str]:
        """By member, as the banned one is told."""
        return {member: ban.reason for member, ban in self._bans.items()}

    def add(self, ban: Ban) -> bool:
        """False when the member was banned already: the first word stays. Raises InvalidRequest, Conflict."""
        if ban.member == self._me:
            raise InvalidRequest("a node does not ban itself: stop its daemon instead")
        if len(ban.reason) > REASON_CHARS_MAX:
            raise InvalidRequest(f"the reason has {len(ban.reason)} characters; at most {REASON_CHARS_MAX}")
        if ban.member in self._bans:
            return False
        if len(self._bans) >= BANS_MAX:
            raise Conflict(f"{BANS_MAX} members are banned here already: lift some bans (distctl peers bans)")
        self._bans[ban.member] = ban
        return True

    def replace(self, ban: Ban) -> None:
        """Of a member that is banned: what is known of it changed."""
        self._bans[ban.member] = ban

    def lift(self, member: str) -> Ban | None:
        """The ban there was; None when there was none."""
        return self._bans.pop(member, None)
