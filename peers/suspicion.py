"""Who is asked for single copies after wrong bytes came, and what of the answers is evidence.

A piece of a swarm mixes blocks of many members, and what a swarm says of a sender can be forged. So suspects are asked one by
one over the authenticated API of the cluster for their copy of a piece: what a member states about its copy and what it
sends come from it and nobody else. Evidence is a member that contradicts itself or what is proven:

* COPY   it holds pieces as checked, states their digests, and sends other bytes: more than one piece, since a disk may rot in
         one place and be repaired when its owner hashes the whole;
* CLAIM  it stands by digests of several pieces from the Hub that are false: this member's whole is right with others.

No evidence: a member that says it does not hold the piece (swarms announce pieces that were found wrong later), one that does
not answer, one wrong piece from the Hub, or what others say of it.

Pure. Times do not matter here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import islice

from peers import piece_set, rendezvous
from peers.ledger import BLAMED_PIECES_MIN, Digests, Ledger
from peers.piece_set import PieceSet

COPIES_PER_MEMBER_MAX = 3
"""Of one blob: who sends damaged bytes is found by one or two; who does not is not asked for more. Once this member knows
the truth, somebody whose claims are false is asked for as many as evidence takes."""

QUESTIONS_PER_MEMBER_MAX = 12
"""Those included that it answers by saying that it does not hold the piece, which cost nothing. One more for each piece that
was refused: who held hardly anything at the first doubt has sent what is wrong now, or somebody else who did not."""

ACCUSED_PIECES_MAX = 8
"""Of one member, by all that accuse it: these are asked for first, and once more where it lacked them before."""

DOUBTED_MAX = 8
"""Pieces looked into, the latest: many wrong ones have the same cause."""

COPIES_MAX = 24
"""Of one blob, for each member found: in a large swarm every member asks some, and each its own choice."""

DAMAGED_PIECES_MIN = 2
"""Different pieces of which a member sent other bytes than it states."""

ASKED_AT_ONCE_MAX = 2
"""A copy is in memory while it is hashed."""


class EvidenceKind(Enum):
    COPY = "copy"
    CLAIM = "claim"


@dataclass(frozen=True, slots=True)
class Testimony:
    """What a member said of its copy of a piece, authenticated. ``stated``: the digest it holds it under, None without a
    copy that it calls checked; ``sent``: of the bytes that came; ``claimed``: what it says it fetched from the Hub."""

    stated: bytes | None
    sent: bytes | None
    claimed: Digests | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Against ``member``: of ``pieces`` it sent, or claims, something wrong; the last, ``piece``, should have ``right`` and
    it was ``wrong`` (xxh3-128)."""

    member: str
    kind: EvidenceKind
    pieces: PieceSet
    piece: int
    right: bytes
    wrong: bytes


class Suspicion:
    """The suspects of one blob, as seen by the member ``me``."""

    def __init__(self, blob: str, me: str) -> None:
        self._blob = blob
        self._me = me
        self._doubted: dict[int, None] = {}
        self._refused = 0
        self._asked: dict[str, set[int]] = {}
        self._lacking: dict[str, set[int]] = {}
        self._proven = False
        self._waiting: set[tuple[str, int]] = set()
        self._damaged: dict[str, set[int]] = {}
        self._accused: dict[str, dict[int, None]] = {}
        self._false_claims: dict[str, dict[int, tuple[bytes, bytes]]] = {}
        self.evidence: dict[str, Evidence] = {}

    def doubt(self, pieces: PieceSet) -> None:
        """Wrong bytes of these pieces came from a swarm."""
        self._refused += pieces.bit_count()
        for piece in piece_set.each(pieces):
            self._doubted.pop(piece, None)
            self._doubted[piece] = None
            if len(self._doubted) > DOUBTED_MAX:
                del self._doubted[next(iter(self._doubted))]

    def accused(self, member: str, pieces: PieceSet) -> None:
        """Somebody else found evidence against the member, in these pieces: a reason to look at them, no more. Of those that it
        lacked when it was asked it has something by now."""
        self._damaged.setdefault(member, set())
        accused = self._accused.setdefault(member, {})
        for piece in islice(piece_set.each(pieces), ACCUSED_PIECES_MAX - len(accused)):
            if piece not in accused and piece in self._lacking.get(member, ()):
                self._lacking[member].discard(piece)
                self._asked[member].discard(piece)
            accused[piece] = None

    def due(self, ledger: Ledger, swarm: Iterable[str], proven: bool) -> list[tuple[str, int]]:
        """Members to ask now, each with a piece. ``swarm``: who is in it; ``proven``: this member's whole is right."""
        asks: list[tuple[str, int]] = []
        if proven and not self._proven:
            self._begin_anew()
            self._proven = True
        free = ASKED_AT_ONCE_MAX - len(self._waiting)
        copies_max = COPIES_MAX + 2 * COPIES_PER_MEMBER_MAX * len(self._damaged)
        if not free or not self._has_reason(ledger, proven) or self._copies >= copies_max:
            return asks
        for member, piece in self._candidates(ledger, list(swarm), proven):
            if len(asks) >= free or self._copies >= copies_max:
                break
            if self._may_ask(member, piece, proven):
                self._asked.setdefault(member, set()).add(piece)
                self._waiting.add((member, piece))
                asks.append((member, piece))
        return asks

    def answered(
        self, member: str, piece: int, told: Testimony | None, ledger: Ledger, proven: bool
    ) -> Evidence | None:
        """Take an answer, None for none; evidence that is new."""
        if (member, piece) not in self._waiting:
            return None
        self._waiting.discard((member, piece))
        if (told is None or told.sent is None) and piece in self._asked.get(member, ()):
            self._lacking.setdefault(member, set()).add(piece)
        if told is None or member in self.evidence:
            return None
        found = None
        truth = ledger.digests(piece) if proven else None
        if told.stated is not None and told.sent is not None and told.sent != told.stated:
            self._damaged.setdefault(member, set()).add(piece)
            if len(self._damaged[member]) >= DAMAGED_PIECES_MIN:
                damaged = sum(map(piece_set.single, self._damaged[member]))
                found = Evidence(member, EvidenceKind.COPY, damaged, piece, told.stated, told.sent)
        elif truth is not None and told.claimed is not None and told.claimed.xxh3 != truth.xxh3:
            false = self._false_claims.setdefault(member, {})
            false[piece] = (truth.xxh3, told.claimed.xxh3)
            if len(false) >= BLAMED_PIECES_MIN:
                lost = sum(map(piece_set.single, false))
                found = Evidence(member, EvidenceKind.CLAIM, lost, piece, *false[piece])
        if found is not None:
            self.evidence[member] = found
            # Whoever is found explains what was doubted: what is wrong from now on has another cause.
            self._begin_anew()
        return found

    def _begin_anew(self) -> None:
        self._doubted.clear()
        self._refused = 0
        self._asked.clear()
        self._lacking.clear()

    def _has_reason(self, ledger: Ledger, proven: bool) -> bool:
        return bool(
            self._doubted or self._damaged.keys() - self.evidence.keys() or (proven and ledger.contested)
        )

    @property
    def _copies(self) -> int:
        return sum(map(len, self._asked.values())) - sum(map(len, self._lacking.values()))

    def _may_ask(self, member: str, piece: int, proven: bool) -> bool:
        asked = self._asked.get(member, set())
        more = 2 * COPIES_PER_MEMBER_MAX if proven or member in self._damaged else 0
        copies = len(asked) - len(self._lacking.get(member, ()))
        enough = copies >= COPIES_PER_MEMBER_MAX + more or piece in asked
        enough = enough or len(asked) >= QUESTIONS_PER_MEMBER_MAX + more + self._refused
        return member != self._me and member not in self.evidence and not enough

    def _candidates(self, ledger: Ledger, swarm: list[str], proven: bool) -> list[tuple[str, int]]:
        """Who sent one damaged piece or is accused, about others; with the truth known, who lost, about what it lost;
        then, of each doubted piece, who claimed it and all others."""
        pairs: list[tuple[str, int]] = []
        for member, damaged in self._damaged.items():
            asked = sum(map(piece_set.single, self._asked.get(member, ())))
            unasked = ledger.agreed & ~asked
            after = unasked & ~piece_set.full(max(damaged, default=-1) + 1) or unasked
            pieces = (
                *self._accused.get(member, ()),
                *islice(piece_set.each(after), QUESTIONS_PER_MEMBER_MAX),
            )
            pairs += [(member, piece) for piece in pieces]
        if proven:
            for member, lost in sorted(ledger.outvoted(self._me).items()):
                if lost.bit_count() >= BLAMED_PIECES_MIN:
                    pairs += [(member, piece) for piece in piece_set.each(lost)]
        for piece in reversed(self._doubted):
            if not ledger.agreed >> piece & 1:
                continue
            claimants = [claim.claimant for claim in ledger.claims_of(piece) if not claim.sealed]
            others = rendezvous.order(f"{self._blob}/{self._me}/{piece}", set(swarm) - set(claimants))
            pairs += [(member, piece) for member in (*dict.fromkeys(claimants), *others)]
        return pairs
