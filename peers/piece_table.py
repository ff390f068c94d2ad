"""The life of each piece on one member, and what is known about the bytes on its disk.

A piece is in exactly one state:

    missing   no bytes we would use
    held      bytes on this disk, not compared yet: no digest of ours, or none in the ledger
    checked   read back, and equal to the ledger's agreed digest
    disputed  bytes on this disk, whose digest the ledger's claims disagree about

Which of the four follows from three facts: are there bytes, what do they hash to, what does the ledger say
(`PieceTable.settle`). Apart from its state a piece may be *leased* here, *arriving* (fetched here, on its way to the disk)
and *in the swarm* (the engine of the open swarm believes it has it and will not fetch it again).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from peers import piece_set
from peers.invariants import require
from peers.ledger import Ledger, Verdict
from peers.piece_set import PieceSet

_WORD = (1 << 64) - 1


class PieceState(Enum):
    MISSING = "missing"
    HELD = "held"
    CHECKED = "checked"
    DISPUTED = "disputed"


@dataclass(frozen=True, slots=True)
class Settled:
    """What `PieceTable.settle` changed: pieces newly checked, checked no longer, and found wrong."""

    checked: PieceSet
    unchecked: PieceSet
    rejected: PieceSet


class PieceTable:
    """The pieces of one blob on this member. ``generation`` of a piece rises with each write of its bytes, so that a
    digest of earlier bytes is recognised and dropped; ``fingerprint`` sums the digests, so equal ones mean equal bytes."""

    def __init__(self, pieces: int) -> None:
        self.pieces = pieces
        self.missing: PieceSet = piece_set.full(pieces)
        self.held: PieceSet = 0
        self.checked: PieceSet = 0
        self.disputed: PieceSet = 0
        self.in_swarm: PieceSet = 0
        self.arriving: dict[int, float] = {}
        self.fingerprint = 0
        self._read_back: PieceSet = 0
        self._again: PieceSet = 0
        self._digests: dict[int, bytes] = {}
        self._generations: dict[int, int] = {}

    def __repr__(self) -> str:
        return (
            f"<PieceTable {self.checked.bit_count()} checked, {self.held.bit_count()} held, "
            f"{self.disputed.bit_count()} disputed, {self.missing.bit_count()} missing>"
        )

    def state(self, piece: int) -> PieceState:
        bit = piece_set.single(piece)
        if self.checked & bit:
            return PieceState.CHECKED
        if self.held & bit:
            return PieceState.HELD
        return PieceState.DISPUTED if self.disputed & bit else PieceState.MISSING

    @property
    def all_checked(self) -> bool:
        return self.checked == piece_set.full(self.pieces)

    @property
    def arriving_pieces(self) -> PieceSet:
        """Fetched here and on their way to the disk."""
        pieces: PieceSet = 0
        for piece in self.arriving:
            pieces |= piece_set.single(piece)
        return pieces

    @property
    def secured(self) -> PieceSet:
        """What this member answers for to the lead: checked, being read once more, or fetched here and on its way."""
        return self.checked | (self._again & self.undigested()) | self.arriving_pieces

    def digest(self, piece: int) -> bytes | None:
        """The xxh3 of the bytes on this disk as last read back, or None when not read back since the last write."""
        return self._digests.get(piece)

    def generation(self, piece: int) -> int:
        return self._generations.get(piece, 0)

    def undigested(self) -> PieceSet:
        """Held pieces that were not read back yet."""
        return self.held & ~self._read_back

    def being_written(self, piece: int, now: float) -> None:
        """Bytes fetched here are on their way to the disk; whatever was there is gone."""
        self._drop_bytes(piece)
        self.arriving[piece] = now

    def written(self, piece: int) -> None:
        """The piece's bytes are on the disk, from the swarm or from the Hub: to be read back.

        Repeated news about bytes already known changes nothing.
        """
        bit = piece_set.single(piece)
        if self.missing & bit:
            self._generations[piece] = self.generation(piece) + 1
            self._move(piece, PieceState.HELD)

    def digested(self, piece: int, generation: int, xxh3: bytes) -> bool:
        """The bytes of that generation hash to ``xxh3``. False, and nothing changed, when they are gone meanwhile."""
        if self.missing & piece_set.single(piece) or generation != self.generation(piece):
            return False
        self._note_digest(piece, xxh3)
        self.arriving.pop(piece, None)
        return True

    def read_again(self) -> PieceSet:
        """Forget every digest: all bytes are to be read back once more. The pieces checked no longer."""
        self._again = unchecked = self.checked
        for piece in piece_set.each(self.checked | self.disputed):
            self._move(piece, PieceState.HELD)
        for piece in piece_set.each(self.held):
            self._forget_digest(piece)
            self._generations[piece] = self.generation(piece) + 1
        return unchecked

    def restore(self, piece: int, xxh3: bytes) -> None:
        """The journal says that the piece was checked with this digest before a restart."""
        self._move(piece, PieceState.HELD)
        self._note_digest(piece, xxh3)

    def unreadable(self, piece: int, generation: int) -> None:
        """The bytes of that generation cannot be read back: the piece is missing again."""
        if self.held & piece_set.single(piece) and generation == self.generation(piece):
            self._drop_bytes(piece)

    def lost(self, piece: int) -> None:
        """The bytes on the disk are worth nothing: the piece is missing again."""
        self._drop_bytes(piece)

    def forget_held(self) -> None:
        """Bytes that nobody vouches for are worth nothing: those pieces are missing again."""
        for piece in piece_set.each(self.held & ~self.arriving_pieces):
            self._drop_bytes(piece)

    def give_up_arriving(self, before: float) -> PieceSet:
        """Fetched pieces that never reached the disk since ``before``: missing again."""
        late = [piece for piece, since in self.arriving.items() if since <= before]
        for piece in late:
            self._drop_bytes(piece)
        return sum(piece_set.single(piece) for piece in late)

    def settle(self, pieces: PieceSet, ledger: Ledger) -> Settled:
        """Put each of ``pieces`` into the state that its bytes, its digest and the ledger give it. Idempotent."""
        before = self.checked
        rejected: PieceSet = 0
        for piece in piece_set.each(pieces & ~self.missing):
            digest = self._digests.get(piece)
            agreed = ledger.digests(piece)
            if digest is not None and ledger.verdict(piece) is Verdict.DISPUTED:
                self._move(piece, PieceState.DISPUTED)
            elif digest is None or agreed is None:
                self._move(piece, PieceState.HELD)
            elif digest == agreed.xxh3:
                self._move(piece, PieceState.CHECKED)
            else:
                self._drop_bytes(piece)
                rejected |= piece_set.single(piece)
        return Settled(self.checked & ~before, before & ~self.checked, rejected)

    def check(self, ledger: Ledger) -> None:
        """Raise `InvariantViolated` unless each piece is in exactly one state, and in the right one."""
        states = (self.missing, self.held, self.checked, self.disputed)
        union = self.missing | self.held | self.checked | self.disputed
        require(
            union == piece_set.full(self.pieces) and sum(s.bit_count() for s in states) == self.pieces,
            "a piece is in exactly one state",
            missing=self.missing,
            held=self.held,
            checked=self.checked,
            disputed=self.disputed,
        )
        require(not self.checked & ~ledger.agreed, "a checked piece has an agreed digest", table=self)
        require(not self.disputed & ~ledger.disputed, "a disputed piece is in dispute", table=self)
        require(
            not self.held & self._read_back & ledger.agreed,
            "a held piece whose digest is agreed is checked or rejected",
            table=self,
        )

    def check_digests(self, ledger: Ledger) -> None:
        """The slow half of `check`: every checked piece's digest equals the ledger's."""
        for piece in piece_set.each(self.checked):
            agreed = ledger.digests(piece)
            require(
                agreed is not None and self._digests.get(piece) == agreed.xxh3,
                "a checked piece equals the ledger",
                piece=piece,
                digest=self._digests.get(piece),
                agreed=agreed,
            )

    def _note_digest(self, piece: int, xxh3: bytes) -> None:
        self._forget_digest(piece)
        self._digests[piece] = xxh3
        self._read_back |= piece_set.single(piece)
        self.fingerprint = (self.fingerprint + _word(piece, xxh3)) & _WORD

    def _forget_digest(self, piece: int) -> None:
        digest = self._digests.pop(piece, None)
        self._read_back &= ~piece_set.single(piece)
        if digest is not None:
            self.fingerprint = (self.fingerprint - _word(piece, digest)) & _WORD

    def _drop_bytes(self, piece: int) -> None:
        self._forget_digest(piece)
        self._again &= ~piece_set.single(piece)
        self.arriving.pop(piece, None)
        self._move(piece, PieceState.MISSING)

    def _move(self, piece: int, state: PieceState) -> None:
        bit = piece_set.single(piece)
        self.missing &= ~bit
        self.held &= ~bit
        self.checked &= ~bit
        self.disputed &= ~bit
        if state is PieceState.MISSING:
            self.missing |= bit
        elif state is PieceState.HELD:
            self.held |= bit
        elif state is PieceState.CHECKED:
            self.checked |= bit
        else:
            self.disputed |= bit


def _word(piece: int, xxh3: bytes) -> int:
    """64 bits that stand for a piece's digest in a sum; odd factors keep equal digests of two pieces apart."""
    return int.from_bytes(xxh3[:8], "big") * (2 * piece + 1) & _WORD
