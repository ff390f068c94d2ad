"""Whether this member may ask the Hub now: access to the repo, back-off after failures, cluster-wide pauses, its share.

Times are monotonic seconds.
"""

from __future__ import annotations

from peers.member_events import SpanFailure

RETRY_S_MIN = 1.0
RETRY_S_MAX = 30.0
"""Doubling between these: a Hub that is down is asked twice a minute, one that hiccuped at once."""

PAUSE_S_MAX = 3600.0
"""The Hub's quota windows are minutes long; a `Retry-After` beyond an hour is a mistake."""


class HubAccess:
    """One member's standing with the Hub for one blob's repo."""

    def __init__(self, may_fetch: bool) -> None:
        self.denied = False
        self.share_bytes_per_s = 0.0
        self._configured = may_fetch
        self._retry_at = float("-inf")
        self._next_retry_s = RETRY_S_MIN
        self._pause_until = float("-inf")

    @property
    def may_fetch(self) -> bool:
        """Whether leases make sense for this member at all."""
        return self._configured and not self.denied

    def open(self, now: float) -> bool:
        """Whether a new request may go out now."""
        return self.may_fetch and now >= self._retry_at and now >= self._pause_until

    def retry_s(self, now: float) -> float:
        return max(0.0, self._retry_at - now)

    def pause_s(self, now: float) -> float:
        return max(0.0, self._pause_until - now)

    def set(self, may_fetch: bool) -> None:
        """Configuration or token changed: an earlier refusal by the Hub is forgotten."""
        self._configured = may_fetch
        self.denied = False

    def succeeded(self) -> None:
        self._next_retry_s = RETRY_S_MIN

    def failed(self, failure: SpanFailure, retry_after_s: float, now: float) -> None:
        if failure is SpanFailure.ACCESS_DENIED:
            self.denied = True
        elif failure is SpanFailure.RATE_LIMITED:
            self.pause(max(retry_after_s, RETRY_S_MIN), now)
        else:
            self._retry_at = now + self._next_retry_s
            self._next_retry_s = min(2 * self._next_retry_s, RETRY_S_MAX)

    def pause(self, pause_s: float, now: float) -> None:
        """Somebody in the cluster was told to wait: everybody does."""
        self._pause_until = max(self._pause_until, now + min(pause_s, PAUSE_S_MAX))

    def take_share(self, bytes_per_s: float) -> bool:
        """Whether this member's share of the cluster's bandwidth changed."""
        changed = bytes_per_s != self.share_bytes_per_s
        self.share_bytes_per_s = bytes_per_s
        return changed
