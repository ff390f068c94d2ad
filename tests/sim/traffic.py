"""What members say to each other in a simulated cluster, in bytes as real members would send them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from peers import lead_wire, wire
from peers.blob import Blob
from peers.membership import Said
from peers.messages import LeadAnswer, LeadRefusal, LeadRequest

LINES_MEASURED = 32
"""A table's lines are alike: the size of a large one follows from that of a part."""


@dataclass
class Traffic:
    """Counted at the sender. ``named``: the most members that each was told to connect to."""

    blob: Blob
    lead_bytes: Counter[str] = field(default_factory=Counter)
    gossip_bytes: Counter[str] = field(default_factory=Counter)
    named: Counter[str] = field(default_factory=Counter)

    def asked(self, member: str, request: LeadRequest) -> None:
        self.lead_bytes[member] += len(lead_wire.encode_request(self.blob, request))

    def answered(self, lead: str, member: str, answer: LeadAnswer | LeadRefusal) -> None:
        """What the lead sends counts for the member that gets it: the lead's own sum is everybody's."""
        self.lead_bytes[member] += len(lead_wire.encode_answer(answer))

    def gossiped(self, member: str, said: Said) -> None:
        some = replace(said, lines=said.lines[:LINES_MEASURED])
        bare = len(wire.encode_gossip(replace(said, lines=()), 0.0))
        lines = len(wire.encode_gossip(some, 0.0)) - bare
        self.gossip_bytes[member] += bare + lines * len(said.lines) // max(1, len(some.lines))

    def connects(self, member: str, members: int) -> None:
        self.named[member] = max(self.named[member], members)
