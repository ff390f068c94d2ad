"""What the drivers of a node share, and what they need of the cluster."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from distd.core.estimate import Outlook
from distd.core.rates import Meter
from distd.core.tally import Tally
from distd.errors import DistdError
from distd.hub.fetcher import Fetcher
from distd.sharing.ledgers import LedgerStore
from distd.store.blobs import BlobStore
from distd.store.hashing import PrefixHasher
from peers.blob import Blob
from peers.hub_link import HubLink
from peers.member import BlobMember
from peers.membership import TellLive
from peers.messages import LeadAnswer, LeadRefusal, LeadRequest
from peers.metainfo import Kind
from peers.suspicion import Evidence, Testimony
from peers.swarm import Endpoint, Swarm
from peers.swarm_terms import SwarmTerms


class Neighbours(Protocol):
    """What a driver needs of the cluster."""

    @property
    def me(self) -> str: ...

    @property
    def view(self) -> TellLive: ...

    def swarm_endpoints(self, members: Iterable[str], kind: Kind) -> list[Endpoint]:
        """Where the sessions of these members listen, as far as it is known; this member is left out."""

    async def ask_lead(
        self, lead: str, blob: Blob, request: LeadRequest, grace_s: float
    ) -> LeadAnswer | LeadRefusal | None:
        """The lead's word, or None when there is none within ``request.wait_s`` and ``grace_s``."""

    def pass_hub_turn(self, blob: str) -> None:
        """The blob leaves room on the link to the Hub: the machines of the others look whether it is theirs."""

    async def wake(self, member: str, blob: Blob) -> None:
        """Tells a holder that its copy is wanted; a failure is of no consequence."""


class Suspecting(Protocol):
    """What a driver needs when wrong bytes came."""

    async def ask(self, member: str, blob: Blob, piece: int) -> Testimony | None:
        """A single copy of the piece, and what the member states about it; None without an answer."""

    def blame(self, blob: Blob, evidence: Evidence) -> None:
        """The member is banned by this node from now on."""


@dataclass(frozen=True)
class Means:
    """What all drivers of a node share."""

    blobs: BlobStore
    ledgers: LedgerStore
    fetcher: Fetcher
    swarm: Swarm
    neighbours: Neighbours
    suspects: Suspecting
    terms: Callable[[], SwarmTerms]
    """Under which swarms are entered now."""
    sharers: Callable[[str], Awaitable[Callable[[frozenset[str]], frozenset[str]]]]
    """Tells for a blob with whom of the live members it is shared."""
    may_fetch: Callable[[], bool]
    hub_meter: Meter
    peers_meter: Meter
    tally: Tally
    hub_share: Callable[[str, float], None]
    """The lead of a blob names this node's part of the cluster's bandwidth from the Hub; 0: no limit."""
    link: HubLink = field(default_factory=HubLink)


@dataclass
class Outcome:
    """How it ended for those who wait: `error` None when the blob is verified."""

    by_source: dict[str, int]
    error: DistdError | None = None


def outlook_of(blob: Blob, hasher: PrefixHasher | None, machine: BlobMember | None) -> Outlook | None:
    """What somebody fetched, the ledger has a claim for; None before the blob is open and after it is published."""
    if hasher is None or machine is None:
        return None
    known = (machine.ledger.agreed | machine.ledger.disputed).bit_count()
    return Outlook(hasher.hashed_bytes, min(blob.size_bytes, (blob.pieces - known) * blob.piece_len_bytes))
