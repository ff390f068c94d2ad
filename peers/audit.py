"""Which pieces are fetched a second time, and in which order, after all matched the ledger and the whole did not match the Hub.

The whole hash tells right or wrong and nothing finer, so a bad piece is found by fetching pieces once more, by another
member, and comparing digests. Suspects come first, so that in the usual cases little has to be fetched again:

1. everything that rests on the word of a member that lost a dispute already;
2. one piece of each member that fetched any: a member that damages all it fetches is found by it;
3. the rest, in file order.

A little at a time, and nothing while a difference is being decided or the corrected whole is hashed: what the Hub sends
after the last bad piece was found is sent in vain. Pure. Times are monotonic seconds of the lead.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from peers import piece_set
from peers.ledger import Ledger
from peers.piece_set import PieceSet

LOOKAHEAD = 4
"""Spans are so many times shorter than at first, when everything is needed anyway."""

HASHING_S = 15.0
HASHED_BYTES_PER_S = 300e6
"""A corrected whole is hashed within this time, on a slow machine too. A difference is decided by then as well. If neither
happens, nobody is left who would do it, and the search goes on."""


class Audit:
    """The search for bad pieces of one blob. ``begun`` stays true: from then on all have to be compared before anybody
    may say that the Hub itself is wrong."""

    def __init__(self, size_bytes: int) -> None:
        self.begun = False
        self._size_bytes = size_bytes
        self._failed_on: int | None = None
        self._moved_at = float("-inf")
        self._version = 0

    def heard(self, seal_failed: bool, in_sync: bool, ledger: Ledger, now: float) -> bool:
        """Take a member's report. ``in_sync``: it knows exactly this ledger, so that these very digests make a wrong
        whole. True when the search begins with it, or may go on."""
        before = (self.begun, self._failed_on)
        self.begun = self.begun or seal_failed
        if seal_failed and in_sync:
            self._failed_on = ledger.agreed_fingerprint
        goes_on = before != (self.begun, self._failed_on)
        if goes_on or self._version != ledger.version:
            self._version = ledger.version
            self._moved_at = now
        return goes_on

    def uncompared(self, ledger: Ledger, fetchers: AbstractSet[str]) -> PieceSet:
        """The pieces whose digest rests on one member's fetch; on one try of it, where nobody else can fetch."""
        if not self.begun:
            return piece_set.EMPTY
        compared = ledger.confirmed if len(fetchers) > 1 else ledger.refetched
        return piece_set.full(ledger.pieces) & ~compared & ~ledger.disputed

    def is_over(self, ledger: Ledger, fetchers: AbstractSet[str]) -> bool:
        """Whether, after a failed seal, every piece was compared and nothing is left to decide."""
        decided = self.begun and not (ledger.disputed and undecided(ledger, fetchers))
        return decided and not self.uncompared(ledger, fetchers)

    def wanted(self, ledger: Ledger, fetchers: AbstractSet[str], undecided: PieceSet, now: float) -> PieceSet:
        """The pieces to be fetched again now; none while the outcome of what was fetched again is awaited."""
        left = self.uncompared(ledger, fetchers)
        if not left or not self._goes_on(ledger, undecided, now):
            return piece_set.EMPTY
        suspects: PieceSet = 0
        for member in ledger.outvoted():
            suspects |= left & ledger.claimed_by(member)
        return suspects or self._samples(ledger, left) or left

    def _goes_on(self, ledger: Ledger, undecided: PieceSet, now: float) -> bool:
        if not undecided and self._failed_on == ledger.agreed_fingerprint:
            return True
        return now - self._moved_at >= HASHING_S + self._size_bytes / HASHED_BYTES_PER_S

    def _samples(self, ledger: Ledger, left: PieceSet) -> PieceSet:
        """A piece of each fetcher of whom none was compared yet."""
        looked_at = piece_set.full(ledger.pieces) & ~left
        samples: PieceSet = 0
        for fetcher in ledger.fetchers:
            claimed = ledger.claimed_by(fetcher)
            if claimed & left and not claimed & looked_at:
                samples |= piece_set.single(piece_set.first(claimed & left))
        return samples


def second_try(ledger: Ledger, fetchers: AbstractSet[str], member: str) -> PieceSet:
    """Pieces that all fetchers have claimed already and this member only once: it may look again."""
    claimed_by_all = piece_set.full(ledger.pieces)
    for other in fetchers - {member}:
        claimed_by_all &= ledger.claimed_by(other)
    return claimed_by_all & ~ledger.claimed_twice_by(member)


def undecided(ledger: Ledger, fetchers: AbstractSet[str]) -> PieceSet:
    """Disputed pieces that a further fetch by one of them could still decide."""
    tried_by_all = piece_set.full(ledger.pieces)
    for fetcher in fetchers:
        tried_by_all &= ledger.claimed_twice_by(fetcher)
    return ledger.disputed & ~tried_by_all
