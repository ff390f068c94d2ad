"""The two vocabularies of the fetch desk: what happened, and what to do."""

from __future__ import annotations

from dataclasses import dataclass

from distd.core.faults import FetchFault
from distd.errors import DistdError

Order = tuple[int, int, int]
"""(-priority, number of the pull, number of the file): smaller is fetched first."""


# What happened.


@dataclass(frozen=True, slots=True)
class BlobWanted:
    """A pull needs a blob that this node lacks. Again for one already wanted: only `order` may move it up."""

    etag: str
    size_bytes: int
    order: Order


@dataclass(frozen=True, slots=True)
class BlobDropped:
    """Nobody needs the blob any more."""

    etag: str


@dataclass(frozen=True, slots=True)
class BlobOpened:
    """The incoming file is there; `stored` are the pieces its journal names."""

    etag: str
    piece_length_bytes: int
    stored: frozenset[int]


@dataclass(frozen=True, slots=True)
class PieceStored:
    """A piece is on disk and journalled. `changed`: it replaced different bytes (during a repair)."""

    fetch_id: int
    etag: str
    index: int
    changed: bool


@dataclass(frozen=True, slots=True)
class PieceLost:
    """A journalled piece does not have its digest any more (a crash lost its last writes)."""

    etag: str
    index: int


@dataclass(frozen=True, slots=True)
class FetchEnded:
    """All bytes of the span came and were written."""

    fetch_id: int


@dataclass(frozen=True, slots=True)
class FetchFaulted:
    """The span ended early; the pieces stored before count."""

    fetch_id: int
    fault: FetchFault


@dataclass(frozen=True, slots=True)
class BlobHashed:
    """The whole blob was hashed; `matches` says whether it is what the manifest names."""

    etag: str
    actual: str
    matches: bool


@dataclass(frozen=True, slots=True)
class BlobBroke:
    """The store failed under the blob (disk full, I/O error)."""

    etag: str
    error: DistdError


@dataclass(frozen=True, slots=True)
class DeadlineReached:
    """The time that `next_deadline` named has come."""


Event = (
    BlobWanted
    | BlobDropped
    | BlobOpened
    | PieceStored
    | PieceLost
    | FetchEnded
    | FetchFaulted
    | BlobHashed
    | BlobBroke
    | DeadlineReached
)


# What to do.


@dataclass(frozen=True, slots=True)
class OpenBlob:
    etag: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StartFetch:
    """Fetch bytes [start, end) and store them. Answer with PieceStored..., then FetchEnded or FetchFaulted."""

    fetch_id: int
    etag: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class StopFetch:
    """Abandon a fetch; what it still reports is ignored."""

    fetch_id: int


@dataclass(frozen=True, slots=True)
class HashBlob:
    """Every piece is stored: hash the whole and answer BlobHashed. `again`: from the beginning."""

    etag: str
    again: bool


@dataclass(frozen=True, slots=True)
class AcceptBlob:
    """The hash is right: move the blob among the verified ones."""

    etag: str
    actual: str


@dataclass(frozen=True, slots=True)
class FailBlob:
    """The blob cannot be had. What is stored of it stays for a later pull."""

    etag: str
    error: DistdError


@dataclass(frozen=True, slots=True)
class Tell:
    """A line for the story of every pull that wants the blob."""

    etag: str
    event: str
    text: str


Action = OpenBlob | StartFetch | StopFetch | HashBlob | AcceptBlob | FailBlob | Tell
