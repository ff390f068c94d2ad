"""What a member found out about wrong bytes of one blob, each thing said once: material for the story of a pull.

Pure. It only looks at the ledger and the seal; what is found changes nothing here.
"""

from __future__ import annotations

from peers.ledger import Ledger
from peers.member_actions import FoundWrongFetches, FoundWrongWhole, MemberAction
from peers.piece_set import PieceSet
from peers.piece_table import PieceTable
from peers.sealing import Sealing


class Findings:
    """Call `look` after each event; it returns what is new. ``me`` knows the truth once its own seal was right."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._version = 0
        self._whole_told = False
        self._told: dict[str, PieceSet] = {}
        self._summed_up = False

    def look(self, ledger: Ledger, table: PieceTable, sealing: Sealing) -> list[MemberAction]:
        found: list[MemberAction] = []
        if not self._whole_told and sealing.failed(table):
            self._whole_told = True
            found.append(FoundWrongWhole(ledger.fetchers))
        if ledger.contested and (self._version != ledger.version or sealing.sealed != self._summed_up):
            self._version = ledger.version
            found += self._outvoted(ledger, sealing)
        self._summed_up = sealing.sealed
        return found

    def _outvoted(self, ledger: Ledger, sealing: Sealing) -> list[MemberAction]:
        """A member is named with the first piece it lost, and again with all of them once the whole is right."""
        found: list[MemberAction] = []
        for name, lost in sorted(ledger.outvoted(self._me if sealing.sealed else "").items()):
            before = self._told.get(name, 0)
            if lost & ~before and (not before or sealing.sealed):
                self._told[name] = lost
                found.append(FoundWrongFetches(name, lost, proven=sealing.sealed))
        return found
