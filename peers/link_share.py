"""What one blob makes of its node's way to the Hub: it tells the link, and hears when it is its turn.

That is how a blob learns, too, that members are slow company (`slow_company`): pieces that they have are then asked of the lead
as those on which this member is stuck. Pure. Times are monotonic seconds.
"""

from __future__ import annotations

from peers.blob import Blob
from peers.fetches import Fetches
from peers.hub_access import HubAccess
from peers.hub_link import HubLink
from peers.ledger import Ledger
from peers.member_actions import FoundMembersSlow, MemberAction, PassHubTurn
from peers.messages import LeadAnswer
from peers.piece_set import EMPTY, PieceSet
from peers.piece_table import PieceTable


class LinkShare:
    """Of one blob at the node's ``link``. ``overdue`` are pieces that members have and would bring clearly later than the Hub."""

    def __init__(self, blob: Blob, link: HubLink) -> None:
        self.overdue: PieceSet = EMPTY
        self.news = False
        self._blob = blob
        self._link = link
        self._had_room = False
        self._asked_overdue = False
        self._answered_overdue = False
        self._told = False

    def asked(self) -> None:
        """A request with what is overdue went to the lead."""
        self._asked_overdue = bool(self.overdue)

    def answered(self) -> None:
        """It was answered: what the answer says to be left may be pieces that others have."""
        self._answered_overdue = self._asked_overdue

    def left(self) -> list[MemberAction]:
        """The blob wants nothing more from the Hub. Idempotent."""
        self.overdue = EMPTY
        return [PassHubTurn()] if self._link.leave(self._blob.name) else []

    def look(
        self,
        table: PieceTable,
        ledger: Ledger,
        fetches: Fetches,
        access: HubAccess,
        answer: LeadAnswer | None,
        now: float,
    ) -> list[MemberAction]:
        """Call it after each event; `news` then tells whether the lead is to hear of it."""
        blob, link = self._blob, self._link
        fresh = answer is None or (answer.unleased and not self._answered_overdue)
        wants = access.open(now) and bool(table.missing) and fresh
        known = ledger.agreed | ledger.disputed
        lacking = table.missing & known & ~fetches.pieces
        link.lacks(
            blob.name, lacking.bit_count() * blob.piece_len_bytes, now, piece_bytes=blob.piece_len_bytes
        )
        if answer is not None and answer.synced:
            link.knows(blob.name, known.bit_count() * blob.piece_len_bytes, now)
        passed = link.note(blob.name, len(fetches.active), fetches.busy, wants, now)
        found = self._find_overdue(lacking & ~table.arriving_pieces, ledger, access, now)
        room = (wants or bool(self.overdue)) and link.room(blob.name, now) > 0
        self.news = room and not self._had_room
        self._had_room = room
        return [PassHubTurn(), *found] if passed else found

    def _find_overdue(
        self, lacking: PieceSet, ledger: Ledger, access: HubAccess, now: float
    ) -> list[MemberAction]:
        """A limit of the cluster says that its way to the Hub is one and scarce: no byte goes over it twice then."""
        alone = access.open(now) and not access.share_bytes_per_s
        outpaced = self._link.outpaces_members(now) if alone and lacking else None
        once = lacking & ~ledger.refetched
        self.overdue = EMPTY if outpaced is None else once or lacking
        if outpaced is None or self._told:
            return []
        self._told = True
        return [FoundMembersSlow(lacking, outpaced.wait_s, outpaced.fetch_s)]
