"""When a lead answers the requests it holds back: what came in between goes out together.

News that a member can act on (a lease to be had or lost, none left to be had, a swarm that ended) goes out soon. Claims,
by which a member only checks what it has got, wait longer for each other: every one of them would cost a round trip per
member. The last ones of a blob do not wait, since everybody needs them to finish. Times are monotonic seconds.
"""

from __future__ import annotations

from peers.piece_set import PieceSet

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
        self._expecting: set[str] = set()

    def told(self, member: str, unleased: bool) -> None:
        """The member was answered; ``unleased``: there are pieces to be had from the Hub yet."""
        (self._expecting.add if unleased else self._expecting.discard)(member)

    def expects(self, member: str) -> bool:
        """Whether the member believes that there are. One that knows better turns to its next blob."""
        return member in self._expecting

    def forget(self, member: str) -> None:
        self._expecting.discard(member)

    def is_due(self, now: float) -> bool:
        return (self.news and now >= self._last + NEWS_GAP_S) or self._claims_due(now)

    def carries_claims(self, now: float, unclaimed: PieceSet) -> bool:
        """Whether claims alone are worth an answer now. ``unclaimed``: the pieces that have none yet."""
        return not unclaimed or now >= self._last_claims + CLAIMS_GAP_S

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
