"""The ledger of a blob: what each piece hashes to, who says so, and which of them to believe.

The Hub gives one hash for a whole file and nothing finer, so the digests of pieces are *claims* by members that fetched
them. A ledger is a set of claims that only grows; two ledgers unite by union, so the order and number of merges do not
matter and no claim is ever overwritten. What a piece's digest *is* follows from its claims alone:

* only the latest fetch of each member counts, so a member can correct itself by fetching again, and in no other way: what
  it says of its whole takes nothing back of what it said that it fetched;
* claims recomputed from a sealed copy (one whose whole hash the Hub confirmed) outrank fetched ones;
* the digest that most members claim is **agreed**; a tie is **disputed** until a further claim decides it.

The members whose counted claim lost are named by `Ledger.outvoted`. One wrong piece may be the Hub's doing, or a byte that
flipped once on the way; `Ledger.blamed` names who lost several.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b

from peers import piece_set
from peers.invariants import require
from peers.piece_set import PieceSet

FETCHES_MAX = 16
"""Claims counted per member and piece: more come only from a member that floods the ledger."""

BLAMED_PIECES_MIN = 3
"""The Hub gives a good member wrong bytes now and then; the same member, for several pieces of one blob, it does not."""

MEMBER_NAME_BYTES_MAX = 255
"""A host name's length (RFC 1035); also what one byte of the packed form can tell."""

XXH3_BYTES = 16
SHA1_BYTES = 20
_WORD = (1 << 64) - 1


class Verdict(Enum):
    """What the claims for one piece add up to."""

    UNKNOWN = "unknown"
    AGREED = "agreed"
    DISPUTED = "disputed"


@dataclass(frozen=True, slots=True, order=True)
class Digests:
    """Of one piece: ``xxh3`` (128 bits) for our own checks, ``sha1`` for the sealed swarm's metainfo."""

    xxh3: bytes
    sha1: bytes


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """``claimant`` says that ``piece`` hashes to ``digests``.

    ``fetch`` counts this member's fetches of this piece from 1; ``sealed`` marks digests recomputed from a copy whose
    whole hash was right.
    """

    piece: int
    claimant: str
    fetch: int
    digests: Digests
    sealed: bool = False

    def is_sound(self, pieces: int) -> bool:
        """Whether the claim can be about a blob of that many pieces at all; ledgers keep no other."""
        return (
            0 <= self.piece < pieces
            and 1 <= self.fetch <= FETCHES_MAX
            and 0 < len(self.claimant.encode()) <= MEMBER_NAME_BYTES_MAX
            and len(self.digests.xxh3) == XXH3_BYTES
            and len(self.digests.sha1) == SHA1_BYTES
        )


@dataclass(frozen=True, slots=True)
class _Decision:
    """One piece's verdict and the facts that leases need about it."""

    verdict: Verdict
    digests: Digests | None
    voters: int
    fetches: int
    losers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LedgerChanges:
    """Claims a reader has not seen, and the version it has seen once it merged them."""

    claims: tuple[Claim, ...]
    version: int


class Ledger:
    """The claims about one blob of ``pieces`` pieces. Versions count the claims that ever arrived *here*."""

    def __init__(self, pieces: int, claims: Iterable[Claim] = ()) -> None:
        self.pieces = pieces
        self._claims: dict[int, dict[tuple[str, int, bool], Claim]] = {}
        self._log: list[Claim] = []
        self._decisions: dict[int, _Decision] = {}
        self._by_member: dict[str, PieceSet] = {}
        self._twice_by_member: dict[str, PieceSet] = {}
        self.agreed: PieceSet = 0
        self.disputed: PieceSet = 0
        self.contested: PieceSet = 0
        self.confirmed: PieceSet = 0
        self.refetched: PieceSet = 0
        self.claims_fingerprint = 0
        self.agreed_fingerprint = 0
        self.merge(claims)

    def __repr__(self) -> str:
        return (
            f"<Ledger {self.agreed.bit_count()}/{self.pieces} agreed, {self.disputed.bit_count()} disputed>"
        )

    def __contains__(self, claim: Claim) -> bool:
        return self._claims.get(claim.piece, {}).get((claim.claimant, claim.fetch, claim.sealed)) == claim

    def __len__(self) -> int:
        return sum(len(claims) for claims in self._claims.values())

    @property
    def version(self) -> int:
        return len(self._log)

    @property
    def complete(self) -> bool:
        """Every piece has an agreed digest: the sealed swarm's metainfo can be made."""
        return self.agreed == piece_set.full(self.pieces)

    @property
    def unclaimed(self) -> PieceSet:
        """Pieces that nobody said anything about."""
        return piece_set.full(self.pieces) & ~(self.agreed | self.disputed)

    def verdict(self, piece: int) -> Verdict:
        decision = self._decisions.get(piece)
        return Verdict.UNKNOWN if decision is None else decision.verdict

    def digests(self, piece: int) -> Digests | None:
        """The agreed digests of a piece, or None while it has none."""
        decision = self._decisions.get(piece)
        return None if decision is None else decision.digests

    def agreed_claim(self, piece: int) -> Claim | None:
        """One claim that stands for the agreed digest: what a journal keeps beside the piece."""
        digests = self.digests(piece)
        if digests is None:
            return None
        return min(claim for claim in self._claims[piece].values() if claim.digests == digests)

    def piece_hashes(self) -> tuple[bytes, ...]:
        """The SHA-1 of every piece for the sealed metainfo. Call only when `complete`."""
        require(self.complete, "the sealed metainfo needs a complete ledger", ledger=self)
        return tuple(self._decisions[piece].digests.sha1 for piece in range(self.pieces))  # type: ignore[union-attr]  # complete: every decision is agreed

    def claims_of(self, piece: int) -> tuple[Claim, ...]:
        """Everything ever claimed about a piece: who fetched it, how often, and what each said."""
        return tuple(sorted(self._claims.get(piece, {}).values()))

    def all_claims(self) -> tuple[Claim, ...]:
        """Every claim, in file order: what is stored beside a published blob."""
        return tuple(claim for piece in sorted(self._claims) for claim in self.claims_of(piece))

    def fetches_by(self, member: str, piece: int) -> int:
        """The highest fetch number this member has claimed for the piece; its next fetch takes one more."""
        own = self._claims.get(piece, {}).values()
        return max((claim.fetch for claim in own if claim.claimant == member and not claim.sealed), default=0)

    def claimed_by(self, member: str) -> PieceSet:
        """The pieces for which this member claimed a digest from a fetch of its own."""
        return self._by_member.get(member, 0)

    @property
    def fetchers(self) -> tuple[str, ...]:
        """Everybody who claims to have fetched a piece, by name."""
        return tuple(sorted(self._by_member))

    def claimed_twice_by(self, member: str) -> PieceSet:
        return self._twice_by_member.get(member, 0)

    def fetched_again_by(self, member: str) -> PieceSet:
        """The member's fetches of pieces that somebody else fetched too.

        Of all who fetched one piece, the first by name fetched it once and each other one again, so that every member that
        knows the claims counts alike, whoever came first.
        """
        others: PieceSet = 0
        for name, pieces in self._by_member.items():
            if name < member:
                others |= pieces
        return self.claimed_by(member) & others

    def changes_since(self, version: int, limit: int) -> LedgerChanges:
        """At most ``limit`` claims that arrived after ``version``; ask again until it equals `version`."""
        claims = tuple(self._log[version : version + limit])
        return LedgerChanges(claims, version + len(claims))

    def blamed(self) -> dict[str, PieceSet]:
        """Of those who were outvoted, the members that were so for `BLAMED_PIECES_MIN` pieces, with these."""
        outvoted = self.outvoted() if self.contested else {}
        return {name: lost for name, lost in outvoted.items() if lost.bit_count() >= BLAMED_PIECES_MIN}

    def outvoted(self, trusted_sealer: str = "") -> dict[str, PieceSet]:
        """Members whose counted claim lost, with the pieces they lost.

        One member's word does not outvote another's: the winning digest has two fetchers or two sealers behind it, or was sealed by
        ``trusted_sealer`` (the reader itself, who saw its own hash come out right).
        """
        outvoted: dict[str, PieceSet] = {}
        for piece in piece_set.each(self.contested):
            decision = self._decisions[piece]
            sealed_here = (
                Claim(piece, trusted_sealer, 1, decision.digests, sealed=True) in self
                if decision.digests is not None
                else False
            )
            if decision.voters >= 2 or sealed_here:
                for loser in decision.losers:
                    outvoted[loser] = outvoted.get(loser, 0) | piece_set.single(piece)
        return outvoted

    def merge(self, claims: Iterable[Claim]) -> PieceSet:
        """Unite with others' claims; the pieces whose verdict or digest changed.

        Commutative, associative and idempotent. Unsound claims are left out (`Claim.is_sound`). Of two claims with the
        same claimant and fetch number (only a faulty member makes them) every ledger keeps the smaller one.
        """
        changed: PieceSet = 0
        for claim in claims:
            if claim.is_sound(self.pieces) and self._keep(claim):
                changed |= self._decide(claim.piece)
        return changed

    def check(self) -> None:
        """Raise `InvariantViolated` when the summaries contradict the claims or a claim got lost."""
        require(not self.agreed & self.disputed, "a piece is agreed and disputed", ledger=self)
        known = sum(piece_set.single(piece) for piece in self._claims)
        require(
            self.agreed | self.disputed == known,
            "every claimed piece has a verdict",
            agreed=self.agreed,
            disputed=self.disputed,
            claimed=known,
        )
        kept = {key for claims in self._claims.values() for key in claims.values()}
        superseded = [claim for claim in self._log if claim not in kept]
        for claim in superseded:
            keeps = self._claims.get(claim.piece, {}).get((claim.claimant, claim.fetch, claim.sealed))
            require(keeps is not None and keeps < claim, "a claim got lost", claim=claim, kept=keeps)
        require(
            self.claims_fingerprint == sum(map(_claim_word, kept)) & _WORD,
            "the fingerprint sums the claims",
            ledger=self,
        )

    def _keep(self, claim: Claim) -> bool:
        claims = self._claims.setdefault(claim.piece, {})
        key = (claim.claimant, claim.fetch, claim.sealed)
        present = claims.get(key)
        if present is not None and present <= claim:
            return False
        if present is not None:
            self.claims_fingerprint = (self.claims_fingerprint - _claim_word(present)) & _WORD
        claims[key] = claim
        self._log.append(claim)
        self.claims_fingerprint = (self.claims_fingerprint + _claim_word(claim)) & _WORD
        if not claim.sealed:
            bit = piece_set.single(claim.piece)
            owned = self._by_member.get(claim.claimant, 0)
            if owned & bit:
                self._twice_by_member[claim.claimant] = self._twice_by_member.get(claim.claimant, 0) | bit
            self._by_member[claim.claimant] = owned | bit
        return True

    def _decide(self, piece: int) -> PieceSet:
        before = self._decisions.get(piece)
        after = decide(tuple(self._claims[piece].values()))
        self._decisions[piece] = after
        bit = piece_set.single(piece)
        self.agreed = _put(self.agreed, bit, after.verdict is Verdict.AGREED)
        self.disputed = _put(self.disputed, bit, after.verdict is Verdict.DISPUTED)
        self.contested = _put(self.contested, bit, bool(after.losers))
        self.confirmed = _put(self.confirmed, bit, after.digests is not None and after.voters >= 2)
        self.refetched = _put(self.refetched, bit, after.digests is not None and after.fetches >= 2)
        old = None if before is None else before.digests
        if old == after.digests and before is not None and before.verdict is after.verdict:
            return 0
        if old is not None:
            self.agreed_fingerprint = (self.agreed_fingerprint - _digests_word(piece, old)) & _WORD
        if after.digests is not None:
            self.agreed_fingerprint = (self.agreed_fingerprint + _digests_word(piece, after.digests)) & _WORD
        return bit


def decide(claims: Sequence[Claim]) -> _Decision:
    """The verdict over all claims for one piece; the rules stand in the module's docstring."""
    if len(claims) == 1:
        return _Decision(Verdict.AGREED, claims[0].digests, 1, 1, ())
    ranked = [claim for claim in claims if claim.sealed] or list(claims)
    votes: dict[Digests, set[str]] = {}
    for claim in _latest(ranked):
        votes.setdefault(claim.digests, set()).add(claim.claimant)
    counts = sorted(((len(voters), digests) for digests, voters in votes.items()), reverse=True)
    if len(counts) > 1 and counts[0][0] == counts[1][0]:
        return _Decision(Verdict.DISPUTED, None, 0, 0, ())
    voters, winner = counts[0]
    fetches = sum(claim.digests == winner for claim in claims)
    losers = {claim.claimant for claim in _latest(claims) if claim.digests != winner}
    return _Decision(Verdict.AGREED, winner, voters, fetches, tuple(sorted(losers)))


def _latest(claims: Sequence[Claim]) -> list[Claim]:
    """Of each claimant the newest fetch, and the newest digests that it sealed."""
    newest: dict[tuple[str, bool], Claim] = {}
    for claim in claims:
        present = newest.get((claim.claimant, claim.sealed))
        if present is None or present.fetch < claim.fetch:
            newest[claim.claimant, claim.sealed] = claim
    return list(newest.values())


def _put(pieces: PieceSet, bit: PieceSet, member: bool) -> PieceSet:
    return pieces | bit if member else pieces & ~bit


def _word(*parts: bytes) -> int:
    """64 bits of a hash, for sums that do not depend on order (an additive set hash, not a proof)."""
    return int.from_bytes(blake2b(b"\0".join(parts), digest_size=8).digest(), "big")


def _claim_word(claim: Claim) -> int:
    kind = b"sealed" if claim.sealed else b"fetched"
    head = f"{claim.piece}/{claim.claimant}/{claim.fetch}".encode()
    return _word(head, kind, claim.digests.xxh3, claim.digests.sha1)


def _digests_word(piece: int, digests: Digests) -> int:
    return _word(str(piece).encode(), digests.xxh3, digests.sha1)
