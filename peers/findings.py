"""What a member finds out about wrong bytes of one blob and who they are from, each thing said once.

Pure. It looks at the ledger and the seal and has suspects asked (`suspicion`); what is found changes nothing here.
"""

from __future__ import annotations

from peers import piece_set
from peers.ledger import Digests, Ledger
from peers.member_actions import AskSuspect, BlameMember, FoundWrongFetches, FoundWrongWhole, MemberAction
from peers.member_events import MemberAccused, PieceRefused, SuspectAnswered
from peers.messages import LeadAnswer
from peers.piece_set import PieceSet
from peers.piece_table import PieceTable
from peers.sealing import Sealing
from peers.suspicion import Suspicion


def own_words(
    ledger: Ledger, table: PieceTable, me: str, piece: int, published: bool
) -> tuple[bytes | None, Digests | None]:
    """What ``me`` states when it is suspected: the digest it holds the piece under, if checked, and what it claims to have
    fetched. Send the bytes only together with what was stated before and after they were read."""
    agreed = ledger.digests(piece)
    stated = table.digest(piece) if table.checked & piece_set.single(piece) else None
    if published:
        stated = None if agreed is None else agreed.xxh3
    own = [claim for claim in ledger.claims_of(piece) if claim.claimant == me and not claim.sealed]
    return stated, own[-1].digests if own else None


class Findings:
    """Call `look` after each event; it returns what is new. ``me`` knows the truth once its own seal was right."""

    def __init__(self, blob: str, me: str) -> None:
        self.suspicion = Suspicion(blob, me)
        self._me = me
        self._version = 0
        self._whole_told = False
        self._told: dict[str, PieceSet] = {}
        self._summed_up = False

    def heard(
        self, happened: PieceRefused | MemberAccused | SuspectAnswered, ledger: Ledger, sealing: Sealing
    ) -> list[MemberAction]:
        """Something about wrong bytes happened elsewhere than in the ledger."""
        match happened:
            case PieceRefused(piece):
                self.suspicion.doubt(piece_set.single(piece))
            case MemberAccused(member, pieces):
                self.suspicion.accused(member, pieces)
            case SuspectAnswered():
                return self._answered(happened, ledger, sealing)
        return []

    def _answered(self, happened: SuspectAnswered, ledger: Ledger, sealing: Sealing) -> list[MemberAction]:
        """A suspect told of its copy, or did not."""
        asked = (happened.member, happened.piece)
        evidence = self.suspicion.answered(*asked, happened.testimony, ledger, sealing.sealed)
        return [] if evidence is None else [BlameMember(evidence)]

    def look(
        self, ledger: Ledger, table: PieceTable, sealing: Sealing, answer: LeadAnswer | None
    ) -> list[MemberAction]:
        found: list[MemberAction] = []
        if not self._whole_told and sealing.failed(table):
            self._whole_told = True
            found.append(FoundWrongWhole(ledger.fetchers))
        if ledger.contested and (self._version != ledger.version or sealing.sealed != self._summed_up):
            self._version = ledger.version
            found += self._outvoted(ledger, sealing)
        self._summed_up = sealing.sealed
        swarm = [] if answer is None else [member.name for member in answer.swarm]
        asks = self.suspicion.due(ledger, swarm, sealing.sealed)
        return found + [AskSuspect(member, piece) for member, piece in asks]

    def _outvoted(self, ledger: Ledger, sealing: Sealing) -> list[MemberAction]:
        """A member is named with the first piece it lost, and again with all of them once the whole is right."""
        found: list[MemberAction] = []
        for name, lost in sorted(ledger.outvoted(self._me if sealing.sealed else "").items()):
            before = self._told.get(name, 0)
            if lost & ~before and (not before or sealing.sealed):
                self._told[name] = lost
                found.append(FoundWrongFetches(name, lost, proven=sealing.sealed))
        return found
