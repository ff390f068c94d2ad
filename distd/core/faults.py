"""What can go wrong while fetching a span, as data for the machines that decide what happens next.

The Hub client raises `FetchFailed`; the shell turns it into an event. Every kind is a different
decision: try again, ask for a new URL, fetch as one stream, wait, or give up.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from distd.errors import DistdError


class FaultKind(Enum):
    UNREACHABLE = "unreachable"
    """No connection, no name, TLS refused, proxy refused: nothing was received."""
    CUT = "cut"
    """The body ended early; what came before counts."""
    STALLED = "stalled"
    """Nothing arrived for the read time-out; what came before counts."""
    SERVER_ERROR = "server_error"
    """A 5xx or 408."""
    RATE_LIMITED = "rate_limited"
    """A 429; `retry_after_s` says when to come back, for every request to this origin."""
    RANGE_IGNORED = "range_ignored"
    """200 with the whole file instead of 206: this file can only be read from its beginning."""
    WRONG_LENGTH = "wrong_length"
    """The answer's own total differs from the manifest's size."""
    WRONG_ETAG = "wrong_etag"
    """The Hub now names another hash for this file of this commit."""
    DENIED = "denied"
    """401 or 403 from the Hub itself, or from a signed URL that had just been renewed. Final."""
    GONE = "gone"
    """404 or 410. Final."""


@dataclass(frozen=True, slots=True)
class FetchFault:
    """`detail` is one sentence for the story; `error` what a pull that ends by this fails with."""

    kind: FaultKind
    detail: str
    error: DistdError
    retry_after_s: float | None = None

    @property
    def final(self) -> bool:
        """Whether asking again cannot help."""
        return self.kind in (FaultKind.DENIED, FaultKind.GONE)


@dataclass
class FetchFailed(Exception):
    fault: FetchFault

    def __str__(self) -> str:
        return self.fault.detail
