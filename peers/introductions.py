"""A newcomer that leads a blob introduces itself to those it asks what they have.

News of a newcomer takes some rounds of gossip to reach everybody. Until then those that have not heard of it follow the former
lead, and both grant the next pieces. One exchange, that begins with the newcomer's own line, makes it known at once. Pure. Times
are seconds of the table's clock.
"""

from __future__ import annotations

from peers.membership import Gossip, Membership, Said

NEWCOMER_S = 15.0
"""Everybody has heard of it by then: news reaches a thousand in about ten rounds."""


class Introductions:
    """Of the member whose ``table`` it is, which starts now; to everybody once."""

    def __init__(self, table: Membership, now: float) -> None:
        self._table = table
        self._until = now + NEWCOMER_S
        self._made: set[str] = set()

    def due(self, member: str, now: float) -> Gossip | None:
        """What to say to the member before it is asked anything; None when it knows this one."""
        other, own = self._table.entry(member), self._table.entry(self._table.me)
        if now >= self._until or member in self._made or other is None or own is None or other is own:
            return None
        self._made.add(member)
        said = self._table.say(other.facts.address, now)
        return Gossip(other.facts.address, Said((own,), said.sums, said.members))
