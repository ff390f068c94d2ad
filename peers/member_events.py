"""What can happen to a blob on one member: the events its machine takes, in the past tense.

Everything the shell does on the machine's behalf comes back as one of these; what has no event needs none. ``fetch`` is
the number that `FetchSpan` gave; events of a fetch that was stopped meanwhile are dropped, so late ones do no harm.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from peers.ledger import Claim, Digests
from peers.messages import LeadAnswer, LeadRefusal
from peers.piece_set import PieceSet
from peers.suspicion import Testimony


class SpanFailure(Enum):
    """Why a span could not be fetched, and so whether trying again helps."""

    HUB_UNREACHABLE = "hub unreachable"
    """No connection, a timeout, a 5xx: this member waits and tries again; others go on."""
    ACCESS_DENIED = "access denied"
    """401 or 403: this member fetches nothing more of this repo; the pull goes on without it."""
    RATE_LIMITED = "rate limited"
    """429: nobody in the cluster asks the Hub before ``retry_after_s`` have passed."""
    CONTENT_CHANGED = "content changed"
    """The Hub serves another size or etag than the manifest says: permanent."""


@dataclass(frozen=True, slots=True)
class MembersChanged:
    """The live members according to the membership table, this one included; and who is being taken out of service."""

    live: frozenset[str]
    draining: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class LeadAnswered:
    answer: LeadAnswer


@dataclass(frozen=True, slots=True)
class LeadRefused:
    refusal: LeadRefusal


@dataclass(frozen=True, slots=True)
class LeadUnreachable:
    """The request of this sequence got no answer: refused connection, timeout, broken or unauthentic answer."""

    sequence: int


@dataclass(frozen=True, slots=True)
class SpanProgressed:
    """Bytes of this fetch that arrived so far. Send about once a second, so that a slow piece counts as progress."""

    fetch: int
    done_bytes: int


@dataclass(frozen=True, slots=True)
class HubPieceFetched:
    """A piece arrived whole from the Hub and was hashed on the way; its bytes wait in memory.

    The actions returned say where they go: `AddPieceToSwarm`, `WritePiece`, or nowhere (drop them).
    """

    fetch: int
    piece: int
    digests: Digests


@dataclass(frozen=True, slots=True)
class SpanFailed:
    """The fetch ended before its last piece; ``retry_after_s`` comes with `RATE_LIMITED`."""

    fetch: int
    failure: SpanFailure
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PieceHeld:
    """The piece's bytes are on the disk: the swarm finished it, or what `WritePiece` asked is done and flushed."""

    piece: int


@dataclass(frozen=True, slots=True)
class PieceDigested:
    """What `DigestPiece` of that generation found on the disk."""

    piece: int
    generation: int
    xxh3: bytes


@dataclass(frozen=True, slots=True)
class PieceUnreadable:
    """What `DigestPiece` of that generation asked could not be read back: these bytes count as missing."""

    piece: int
    generation: int


@dataclass(frozen=True, slots=True)
class PieceLost:
    """A piece that an earlier run journalled is not on the disk as it was then: it is out of the journal already."""

    piece: int


@dataclass(frozen=True, slots=True)
class SealFinished:
    """The whole file was hashed: ``actual_hash`` is what came out, in the form of the blob's name."""

    matches: bool
    actual_hash: str


@dataclass(frozen=True, slots=True)
class BlobPublished:
    """`PublishBlob` is done: the content is in the store, read-only, and the incoming file is gone."""


@dataclass(frozen=True, slots=True)
class LedgerRecomputed:
    """Digests of every piece, recomputed from this member's published copy (`RecomputeLedger`)."""

    digests: tuple[Digests, ...]


@dataclass(frozen=True, slots=True)
class BlobWanted:
    """A member asked for this blob (`WakeHolders` there): a holder opens the sealed swarm."""


@dataclass(frozen=True, slots=True)
class SwarmTermsChanged:
    """Members now meet under another secret, wire version or CA (`peers.swarm_terms`)."""


@dataclass(frozen=True, slots=True)
class SwarmIdled:
    """Nobody was connected to this published blob's swarm for a while."""


@dataclass(frozen=True, slots=True)
class LedgerChanged:
    """Claims from elsewhere: the ledger file beside the blob, another holder."""

    claims: tuple[Claim, ...]


@dataclass(frozen=True, slots=True)
class DiskFailed:
    """The incoming file cannot be written (`no_space`) or read; ``detail`` is for people."""

    no_space: bool
    detail: str


@dataclass(frozen=True, slots=True)
class AccessChanged:
    """Whether this member may fetch this repo from the Hub (`hub.fetch`, a new token)."""

    may_fetch: bool


@dataclass(frozen=True, slots=True)
class HubPaused:
    """Another blob's fetch met a 429: no new request for ``pause_s``."""

    pause_s: float


@dataclass(frozen=True, slots=True)
class BlobAbandoned:
    """Nobody here wants the blob any longer; journal and bytes stay for a later pull."""


@dataclass(frozen=True, slots=True)
class PieceRefused:
    """The engine of the sealed swarm dropped wrong bytes of this piece, and asks for it again."""

    piece: int


@dataclass(frozen=True, slots=True)
class SuspectAnswered:
    """What came of `AskSuspect`; no testimony when the member did not answer."""

    member: str
    piece: int
    testimony: Testimony | None


@dataclass(frozen=True, slots=True)
class MemberAccused:
    """Another member says that it has evidence against ``member``: it is asked for copies of these pieces here too."""

    member: str
    pieces: PieceSet


@dataclass(frozen=True, slots=True)
class LeadHeard:
    """A member asked, as a lead of the blob does, what this one has."""

    member: str


@dataclass(frozen=True, slots=True)
class Ticked:
    """The time named by `BlobMember.deadline` has come."""


MemberEvent: TypeAlias = (
    MembersChanged
    | LeadAnswered
    | LeadRefused
    | LeadUnreachable
    | SpanProgressed
    | HubPieceFetched
    | SpanFailed
    | PieceHeld
    | PieceDigested
    | PieceUnreadable
    | PieceLost
    | SealFinished
    | BlobPublished
    | LedgerRecomputed
    | BlobWanted
    | SwarmIdled
    | SwarmTermsChanged
    | LedgerChanged
    | DiskFailed
    | AccessChanged
    | HubPaused
    | BlobAbandoned
    | PieceRefused
    | SuspectAnswered
    | MemberAccused
    | LeadHeard
    | Ticked
)
