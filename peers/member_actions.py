"""What the machine of a blob asks of its shell: actions, in the imperative. Carry them out in the order given."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from peers.ledger import Claim
from peers.messages import LeadRequest
from peers.piece_set import PieceSet, Span
from peers.suspicion import Evidence


class BlobFailure(Enum):
    """Why a blob cannot be had on this member; whether a later pull may succeed."""

    HASH_MISMATCH = "hash mismatch"
    NO_SPACE = "no space"
    DISK = "disk"
    CONTENT_CHANGED = "content changed"
    ACCESS_DENIED = "access denied"
    NO_FETCHER = "no fetcher"

    @property
    def retryable(self) -> bool:
        """Would a later pull help without anything being repaired? A holder or fetcher may join."""
        return self is BlobFailure.NO_FETCHER


@dataclass(frozen=True, slots=True)
class AskLead:
    """Send the request to ``lead`` (this member's own `Lead` when it is this member).

    It replaces any request still under way. Answer with `LeadAnswered`, `LeadRefused`, or, after ``request.wait_s`` and
    ``grace_s`` more without one, `LeadUnreachable`.
    """

    lead: str
    request: LeadRequest
    grace_s: float


@dataclass(frozen=True, slots=True)
class FetchSpan:
    """Fetch the pieces of ``span`` from the Hub in file order in one request, hashing each on the way.

    Answer with `SpanProgressed` and `HubPieceFetched` for each piece, or `SpanFailed`.
    """

    fetch: int
    span: Span


@dataclass(frozen=True, slots=True)
class StopFetch:
    """Close this fetch's connection; no event is expected. Idempotent."""

    fetch: int


@dataclass(frozen=True, slots=True)
class PassHubTurn:
    """This blob leaves room on the link to the Hub: feed `Ticked` to the machines of the node's other blobs."""


@dataclass(frozen=True, slots=True)
class LimitHubRate:
    """This member's share of the cluster's Hub bandwidth for this blob changed (0 no limit).

    A member with several blobs in flight keeps the sum of all below the smallest share.
    """

    rate_bytes_per_s: float


@dataclass(frozen=True, slots=True)
class AddPieceToSwarm:
    """Hand the fetched bytes to the engine of the open swarm, which writes and announces them; then `PieceHeld`."""

    piece: int


@dataclass(frozen=True, slots=True)
class WritePiece:
    """Write the fetched bytes into the incoming file, over what is there.

    The engine does not take a piece it believes to have: flush its cache first, write by path; then `PieceHeld`.
    """

    piece: int


@dataclass(frozen=True, slots=True)
class DigestPiece:
    """Read the piece back from the disk and answer with `PieceDigested` or `PieceUnreadable`, with this generation."""

    piece: int
    generation: int


@dataclass(frozen=True, slots=True)
class SetLeased:
    """These pieces come from the Hub: the swarm does not ask peers for them; all others have normal priority."""

    pieces: PieceSet


@dataclass(frozen=True, slots=True)
class OpenHot:
    """Enter the hot swarm with ``have``; the incoming file has its full length."""

    have: PieceSet


@dataclass(frozen=True, slots=True)
class LeaveHot:
    """Flush, remove the torrent from the hot session and wait until it is gone."""


@dataclass(frozen=True, slots=True)
class ReenterSwarm:
    """Leave the open swarm and enter it again under the terms of now, with what `BlobMember.swarm_reentered` says."""


@dataclass(frozen=True, slots=True)
class OpenSealed:
    """Enter the sealed swarm with ``have``; the metainfo's hashes are ``BlobMember.ledger.piece_hashes()``."""

    have: PieceSet


@dataclass(frozen=True, slots=True)
class LeaveSealed:
    """Flush, remove the torrent from the sealed session and wait until it is gone."""


@dataclass(frozen=True, slots=True)
class WakeHolders:
    """Tell these members that their copy is wanted (`BlobWanted` there) and connect to them."""

    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ConnectSwarm:
    """Members to be connected to in the open swarm; replaces the former list."""

    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JournalPiece:
    """Note durably that the piece is checked; ``claim`` stands for its digest and comes back after a restart."""

    piece: int
    claim: Claim


@dataclass(frozen=True, slots=True)
class UnjournalPiece:
    """The piece is not checked any longer: take it out of the journal before anything overwrites it."""

    piece: int


@dataclass(frozen=True, slots=True)
class RejectPiece:
    """The bytes of this piece do not match the ledger: count it, and have the engine look who sends it.

    ``from_hub``: they were fetched here, so disk or memory damaged them.
    """

    piece: int
    from_hub: bool


@dataclass(frozen=True, slots=True)
class SealBlob:
    """Hash the whole file against the blob's name; then `SealFinished`."""


@dataclass(frozen=True, slots=True)
class PublishBlob:
    """The seal was right: make the content visible; then `BlobPublished`.

    ``serving``: the hot swarm is still open and complete, for members that fill from it; the file keeps the path that the
    engine knows until `LeaveHot`. Otherwise every swarm is left already.
    """

    serving: bool = False


@dataclass(frozen=True, slots=True)
class RecomputeLedger:
    """Hash every piece of the published copy; then `LedgerRecomputed`."""


@dataclass(frozen=True, slots=True)
class FailBlob:
    """The blob cannot be had; all fetches and swarms of it are left. ``detail`` is for people."""

    failure: BlobFailure
    expected_hash: str = ""
    actual_hash: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class FoundWrongWhole:
    """For people: every piece is what ``fetchers`` claimed, and the whole is not what the Hub's hash names. Pieces are now
    fetched again and compared, suspects first."""

    fetchers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FoundWrongFetches:
    """For people: others fetched these pieces too and got other bytes than ``member`` claimed. ``proven``: the whole is
    right with theirs; until then more of them may be found."""

    member: str
    pieces: PieceSet
    proven: bool


@dataclass(frozen=True, slots=True)
class FoundMembersSlow:
    """For people: these pieces would come from members in ``wait_s`` and from the Hub in ``fetch_s``, so those that come last are
    fetched a second time."""

    pieces: PieceSet
    wait_s: float
    fetch_s: float


@dataclass(frozen=True, slots=True)
class AskSuspect:
    """Ask the member over the cluster's API for its copy of the piece, hash what comes; then `SuspectAnswered`."""

    member: str
    piece: int


@dataclass(frozen=True, slots=True)
class BlameMember:
    """The member is a source of wrong bytes: tell people, and ban it on this node."""

    evidence: Evidence


MemberAction: TypeAlias = (
    AskLead
    | FetchSpan
    | StopFetch
    | PassHubTurn
    | LimitHubRate
    | AddPieceToSwarm
    | WritePiece
    | DigestPiece
    | SetLeased
    | OpenHot
    | ReenterSwarm
    | LeaveHot
    | OpenSealed
    | LeaveSealed
    | WakeHolders
    | ConnectSwarm
    | JournalPiece
    | UnjournalPiece
    | RejectPiece
    | SealBlob
    | PublishBlob
    | RecomputeLedger
    | FailBlob
    | FoundWrongWhole
    | FoundWrongFetches
    | FoundMembersSlow
    | AskSuspect
    | BlameMember
)
