"""What one blob tells its node's way to the Hub after each event, and what it hears from it.

Pure. Times are monotonic seconds.
"""

from __future__ import annotations

from peers.blob import Blob
from peers.fetches import Fetches
from peers.hub_access import HubAccess
from peers.hub_link import HubLink
from peers.ledger import Ledger
from peers.messages import LeadAnswer
from peers.piece_table import PieceTable


class LinkShare:
    """``link`` is the one that all blobs of the node share."""

    def __init__(self, blob: Blob, link: HubLink) -> None:
        self._blob = blob
        self._link = link
        self._had_room = False

    def told(
        self,
        table: PieceTable,
        ledger: Ledger,
        fetches: Fetches,
        access: HubAccess,
        answer: LeadAnswer | None,
        now: float,
    ) -> tuple[bool, bool]:
        """Tell the link what this blob makes of it. Whether that leaves room to others, and whether there is room for this blob
        that it had not before."""
        name, piece_bytes = self._blob.name, self._blob.piece_len_bytes
        known = ledger.agreed | ledger.disputed
        lacking = table.missing & known & ~fetches.pieces
        self._link.lacks(name, lacking.bit_count() * piece_bytes, now)
        if answer is not None and answer.synced:
            self._link.knows(name, known.bit_count() * piece_bytes, now)
        wants = access.open(now) and bool(table.missing) and (answer is None or answer.unleased)
        leaves_room = self._link.note(name, len(fetches.active), fetches.busy, wants, now)
        had, self._had_room = self._had_room, wants and self._link.room(name, now) > 0
        return leaves_room, self._had_room and not had
