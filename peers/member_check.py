"""What the machine of a blob on a member must never be: looked at by tests after every event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peers.invariants import require
from peers.messages import SwarmPhase
from peers.swarm_choice import Stage

if TYPE_CHECKING:
    from peers.member import BlobMember


def check(member: BlobMember) -> None:
    """Raise `InvariantViolated` if the machine contradicts itself."""
    if member.stage in (Stage.STARTING, Stage.FILLING):
        member.table.check(member.ledger)
    require(
        member.stage not in (Stage.PUBLISHING, Stage.PUBLISHED)
        or member.sealing.sealed
        or member.swarm.was_published,
        "nothing is published before its seal",
        member=member,
    )
    require(
        member.stage is not Stage.FILLING
        or member.swarm.phase is not SwarmPhase.SEALED
        or member.ledger.complete,
        "the sealed swarm needs a complete ledger",
        member=member,
    )
