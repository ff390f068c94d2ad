"""This member's part of the cluster's bandwidth from the Hub. Pure: `now` is monotonic seconds, 0 is no limit.

All live members share the lowest limit among them evenly over those that fetch. Who fetches is told by gossip, so it is
known some time after it began. A member that begins therefore takes only what it may if all others fetch too, until
its own word has reached them and theirs has reached it. The sum then holds from the first byte on, but for the
moment in which those that fetch already hear of it: at most the part that a beginner takes. The lead of a blob, which
knows its lease holders at once, may name a smaller part; the smallest of all counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from distd.core.limits import lowest

LINGER_S = 1.0
"""After its last byte a member still counts as fetching: the pause between two leases, some tenths of a second, must not shift everybody's
part. Its own is unused meanwhile."""
ROUND_S = 1.0
"""One exchange of gossip, in which news goes to twice as many members."""


@dataclass(frozen=True, slots=True)
class Company:
    """What gossip tells. `fetchers` may fetch from the Hub, `busy` do now; `limit` is the lowest among live members."""

    me: str
    limit: int = 0
    fetchers: frozenset[str] = frozenset()
    busy: frozenset[str] = frozenset()


class HubShare:
    """Tell it what changes; `rate` is what this member may take, `is_busy` what it has to tell the others."""

    def __init__(self, me: str) -> None:
        self._company = Company(me)
        self._by_blob: dict[str, float] = {}
        self._fetching = False
        self._last_at = -math.inf
        self._busy_since: float | None = None

    def company_changed(self, company: Company, now: float) -> None:
        if company.limit == 0 or self._company.limit == 0:
            self._busy_since = None  # nobody told anybody while there was no limit
        self._company = company
        self._look(now)

    def fetching(self, is_fetching: bool, now: float) -> None:
        """Whether anything is being fetched from the Hub here."""
        if self._fetching or is_fetching:
            self._last_at = now
        self._fetching = is_fetching
        self._look(now)

    def lead_said(self, blob: str, rate_bytes_per_s: float) -> None:
        """The part that the lead of a blob names; 0: none."""
        if rate_bytes_per_s > 0:
            self._by_blob[blob] = rate_bytes_per_s
        else:
            self._by_blob.pop(blob, None)

    def filling(self, blobs: frozenset[str]) -> None:
        """What the leads of other blobs than these said is of no account any more."""
        self._by_blob = {blob: rate for blob, rate in self._by_blob.items() if blob in blobs}

    def is_busy(self, now: float) -> bool:
        """Whether others have to leave a part for this member. Without a limit nobody asks."""
        self._look(now)
        return self._busy_since is not None

    def rate(self, now: float) -> int:
        """Bytes per second, 0 no limit."""
        self._look(now)
        limit, me = self._company.limit, self._company.me
        if limit == 0:
            return 0
        sharing = self._company.busy if self._is_settled(now) else self._company.fetchers
        own = max(1, limit // len(sharing | {me}))
        return lowest(own, *(max(1, int(rate)) for rate in self._by_blob.values()))

    def _is_settled(self, now: float) -> bool:
        rounds = 1 + math.log2(max(1, len(self._company.fetchers)))
        return self._busy_since is not None and now - self._busy_since >= rounds * ROUND_S

    def _look(self, now: float) -> None:
        if self._fetching:
            self._last_at = now
        busy = self._company.limit > 0 and now - self._last_at < LINGER_S
        if busy and self._busy_since is None:
            self._busy_since = now
        elif not busy:
            self._busy_since = None
