"""When a lead answers the requests it holds back: what came in between goes out together.

News that a member can act on (a lease to be had or lost, a swarm that ended) goes out soon; claims, by which a member
only checks what it has got, wait longer for each other, for every one of them would cost a round trip per member. The
last ones of a blob do not wait: everybody needs them to finish. Times are monotonic seconds.
"""

from __future__ import annotations

NEWS_GAP_S = 0.1
"""Held-back answers go out in waves at most this often, so that one event does not cost a round trip per member."""

CLAIMS_GAP_S = 0.5
"""Waves with nothing but claims are this far apart. A piece takes a second or two to reach a member anyway."""

FOREVER = float("inf")


class Waves:
    """Set `news` whenever there is something to tell."""

    def __init__(self, now: float) -> None:
        self.news = False
        self._last = now - NEWS_GAP_S
        self._last_claims = now - CLAIMS_GAP_S
        self._claims_held = False

    def is_due(self, now: float) -> bool:
        return (self.news and now >= self._last + NEWS_GAP_S) or self._claims_due(now)

    def carries_claims(self, now: float, all_claimed: bool) -> bool:
        """Whether claims alone are worth an answer now. ``all_claimed``: there is a claim for every piece."""
        return all_claimed or now >= self._last_claims + CLAIMS_GAP_S

    def went(self, now: float, with_claims: bool, held_back: bool) -> None:
        """A wave went out. ``held_back``: somebody lacks claims that it did not carry."""
        self.news = False
        self._last = now
        if with_claims:
            self._last_claims = now
        self._claims_held = held_back

    def deadline(self) -> float:
        """When the next wave is due, if nothing else happens."""
        news = self._last + NEWS_GAP_S if self.news else FOREVER
        claims = self._last_claims + CLAIMS_GAP_S if self._claims_held else FOREVER
        return min(news, claims)

    def _claims_due(self, now: float) -> bool:
        return self._claims_held and now >= self._last_claims + CLAIMS_GAP_S
