"""When a blob cannot be had: the Hub itself is wrong, or nobody is left who could fetch what is missing.

A whole hash that comes out wrong is blamed on the Hub only after every piece was fetched a second time: by another
member, or by this one again. Where this member cannot make sure of that itself (it has no access, and only one other has),
it waits a while for better company before it gives up. Times are monotonic seconds.
"""

from __future__ import annotations

from peers.asking import Asking
from peers.hub_access import HubAccess
from peers.ledger import Ledger
from peers.member_actions import BlobFailure, FailBlob
from peers.piece_set import full
from peers.piece_table import PieceTable
from peers.sealing import Sealing

NO_FETCHER_S = 30.0
"""Without anybody who may ask the Hub, and without a piece from anybody this long, the blob cannot be had."""

BETTER_COMPANY_S = 60.0
"""A partition that hides honest members is often over by then."""


class GivingUp:
    """One member's reasons to fail the blob named ``blob``."""

    def __init__(self, blob: str, me: str) -> None:
        self._blob = blob
        self._me = me
        self._doubted_since: float | None = None

    def reason(
        self,
        table: PieceTable,
        ledger: Ledger,
        sealing: Sealing,
        asking: Asking,
        access: HubAccess,
        swarm_idle_s: float,
        now: float,
    ) -> FailBlob | None:
        """The failure that is due, or None. Call it after each event while pieces are being filled."""
        answer = asking.last_answer
        if not sealing.failed(table):
            self._doubted_since = None
        if answer is None:
            return None
        compared = answer.audited and answer.synced and asking.answered_at == now
        if sealing.failed(table) and compared and self._is_sure(ledger, now):
            return FailBlob(BlobFailure.HASH_MISMATCH, self._blob, sealing.actual_hash)
        alone = answer.fetchers == 0 and answer.ready and bool(table.missing)
        if alone and swarm_idle_s >= NO_FETCHER_S:
            return FailBlob(BlobFailure.ACCESS_DENIED if access.denied else BlobFailure.NO_FETCHER)
        return None

    def _is_sure(self, ledger: Ledger, now: float) -> bool:
        """Whether the digests rest on two members' fetches or on two of our own; or waiting for that was in vain."""
        if self._doubted_since is None:
            self._doubted_since = now
        sure = (ledger.confirmed | ledger.claimed_twice_by(self._me)) == full(ledger.pieces)
        return sure or now - self._doubted_since >= BETTER_COMPANY_S
