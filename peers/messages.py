"""What a member and a blob's lead tell each other. Frozen and made of plain types, so any encoder carries them.

A member *reports* what it has and asks for spans in one `LeadRequest`; the `LeadAnswer` states **all** leases the member
holds from then on, so a lost or repeated message changes nothing. Sets of pieces travel as little-endian bytes
(`piece_set.to_bytes`), durations as seconds left, because members share no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from peers.ledger import Claim
from peers.piece_set import Span

SWARM_NAMES_MAX = 64
"""Members named in one answer: connections per swarm are bounded to some tens anyway."""


class SwarmPhase(Enum):
    """Which swarm of a blob a member is in."""

    NONE = "none"
    HOT = "hot"
    SEALED = "sealed"


@dataclass(frozen=True, slots=True, order=True)
class LeaseKey:
    """Names one lease for ever: numbers are not reused within a term, terms of one lead only rise."""

    lead: str
    term: int
    number: int


@dataclass(frozen=True, slots=True)
class Lease:
    """The right, and the duty, of ``member`` to fetch ``span`` from the Hub."""

    key: LeaseKey
    span: Span
    member: str


@dataclass(frozen=True, slots=True)
class Progress:
    """A span being fetched: ``remaining`` begins at its first missing piece; ``done_bytes`` only rises."""

    key: LeaseKey
    remaining: Span
    done_bytes: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a member has of a blob and what it is doing about it.

    ``held`` are pieces this member answers for: checked ones, and ones it fetched that are on their way to the disk.
    ``stuck`` are pieces that others say they hold but that do not arrive. ``may_fetch`` is false without access to the
    Hub or to this repo; ``hub_retry_s`` is how long this member will not ask the Hub after a failure, and ``hub_pause_s``
    what is left of a `Retry-After` that binds the whole cluster. ``seal_failed`` says that all pieces match the ledger
    and the whole does not match the Hub's hash. ``leaving`` ends the member's part.
    """

    member: str
    held: bytes
    stuck: bytes = b""
    fetching: tuple[Progress, ...] = ()
    given_up: tuple[LeaseKey, ...] = ()
    claims: tuple[Claim, ...] = ()
    may_fetch: bool = True
    hub_retry_s: float = 0.0
    hub_pause_s: float = 0.0
    phase: SwarmPhase = SwarmPhase.NONE
    published: bool = False
    seal_failed: bool = False
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class LeadRequest:
    """Sent to ``lead``; the answer may be held back up to ``wait_s`` until there is news (a long poll).

    ``sequence`` pairs answer and request: a newer request of the same member replaces the older. ``last_term`` is the
    highest term this member has seen of any lead. ``version`` counts the claims already received from this lead in
    ``version_term``. ``room`` is the number of further spans wanted, ``rate_bytes_per_s`` what this member gets from the
    Hub, whatever blob it is for (0 unknown), ``behind_s`` how long it needs, if it does not keep up with what is new, for what others have and it lacks, of all its blobs, at
    the rate at which it takes pieces in. ``unreachable`` are members the asker cannot reach and therefore passes over.
    """

    sequence: int
    lead: str
    report: Report
    last_term: int = 0
    version: int = 0
    version_term: int = 0
    claims_fingerprint: int = 0
    room: int = 0
    rate_bytes_per_s: float = 0.0
    behind_s: float = 0.0
    wait_s: float = 0.0
    unreachable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SwarmMember:
    name: str
    phase: SwarmPhase
    published: bool


@dataclass(frozen=True, slots=True)
class LeadAnswer:
    """From the lead of a blob.

    ``leases`` are all leases of the asker; a span it fetches that is not among them must stop. ``synced`` tells that the
    asker, once it merged ``claims``, knows every claim the lead knows, whose sum is ``claims_fingerprint``. ``hub_rate_bytes_per_s`` is the asker's share of
    the cluster's Hub bandwidth (0 none), ``report_every_s`` how often to report at least. ``fetchers`` counts members
    that may fetch; ``unleased`` tells whether there are pieces that the asker may yet be given; ``unfinished_hot`` those still filling in the hot swarm. ``audited``: after a failed seal every piece
    was fetched twice and nothing is left to compare.
    """

    sequence: int
    lead: str
    term: int
    ready: bool
    leases: tuple[Lease, ...]
    claims: tuple[Claim, ...]
    version: int
    synced: bool
    claims_fingerprint: int
    hub_rate_bytes_per_s: float
    hub_pause_s: float
    report_every_s: float
    fetchers: int
    unfinished_hot: int
    audited: bool
    swarm: tuple[SwarmMember, ...] = ()
    unleased: bool = True


@dataclass(frozen=True, slots=True)
class LeadRefusal:
    """``by`` does not lead this blob for the asker and follows ``follows``, whom the asker tries next."""

    sequence: int
    by: str
    follows: str
