"""Whose turn it is to fetch from the Hub: how many spans are under way at a time, and who gets the next one.

Few at a time: what arrives in many pieces at once is whole later, and only a whole piece can be passed on. By turns: who
fetches a piece has to send it out, perhaps to everybody, so that a member that fetches more than its share becomes the link
that all others wait for. Not by the slow: a piece that one of them fetches is what the others wait for at the end.

Pure. Rates are bytes per second.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from statistics import median_high

SPANS_ALWAYS = 4
FETCHERS_ALWAYS = 8
"""Spans under way at the same time whatever is known of the rates, and members with one each; more, once these are measured.
A member whose own link is full of what others send gets little from the Hub: with four of eight fetching, the Hub's link ran
at three quarters."""

PIECE_S = 0.33
"""There are as many spans under way as let each bring a piece within this time."""

SLOWER_MIN = 3.0
"""A member so much slower than the fastest that fetches is looked at closely, see `FetchTurns.in_time`."""

AHEAD_LEASES = 2
AHEAD_WAITS_S = 0.3
"""A member so many leases above the usual share leaves a span that comes free to others for so long. Members far from the lead
ask a round trip later than one beside it, which otherwise fetched twice its share (measured, eight members), sent it all on with
a full link, and got its own pieces late."""

RELAYS = 3
"""Times that a piece crosses the link of who fetched it before the others have it: in, and out to more than one."""


WAITED = float("-inf")
"""Instead of a time: it is over."""


class FetchTurns:
    """What one blob's lead knows of its members as fetchers."""

    def __init__(self, piece_len_bytes: int) -> None:
        self._piece_len_bytes = piece_len_bytes
        self._rates: dict[str, float] = {}
        self._granted: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._holds_back: dict[str, float] = {}

    def heard(self, member: str, rate_bytes_per_s: float) -> None:
        """The member asked; it gets so much from the Hub (0 unknown). One that is new owes nothing for the past."""
        self._rates[member] = rate_bytes_per_s
        if member not in self._granted:
            self._granted[member] = min(self._granted.values(), default=0)

    def forget(self, member: str) -> None:
        for each in (self._rates, self._granted, self._last, self._holds_back):
            each.pop(member, None)

    def took(self, member: str, pieces: int) -> None:
        """The member was granted so many pieces."""
        self._granted[member] = self._granted.get(member, 0) + pieces
        self._last[member] = pieces
        self._holds_back.pop(member, None)

    def lets_others_ask(self, member: str, now: float) -> bool:
        """Whether the member, next among those that wait, is so far ahead that others are given time to come first."""
        others = [granted for name, granted in self._granted.items() if name != member]
        ahead = self._granted.get(member, 0) - median_high(others or [0])
        if not others or ahead <= AHEAD_LEASES * self._last.get(member, 0):
            self._holds_back.pop(member, None)
            return False
        return now < self._holds_back.setdefault(member, now + AHEAD_WAITS_S)

    def deadline(self) -> float:
        """When to call `pass_time` at the latest."""
        return min((until for until in self._holds_back.values() if until > WAITED), default=float("inf"))

    def pass_time(self, now: float) -> bool:
        """True when a member has let others ask for long enough and may be granted the next span."""
        waited = [name for name, until in self._holds_back.items() if WAITED < until <= now]
        self._holds_back.update(dict.fromkeys(waited, WAITED))
        return bool(waited)

    def spans(self, rate_bytes_per_s: float, sharers: int) -> int:
        """How many spans so many members are to have under way while all of them together bring so much."""
        by_rate = int(rate_bytes_per_s * PIECE_S / self._piece_len_bytes)
        return max(SPANS_ALWAYS, min(sharers, FETCHERS_ALWAYS), by_rate)

    def each(self, rate_bytes_per_s: float, sharers: int) -> int:
        """How many of them one of so many members may have."""
        return max(1, self.spans(rate_bytes_per_s, sharers) // max(1, sharers))

    def next_up(self, waiting: Iterable[str], free: int) -> frozenset[str]:
        """The members that get the spans that are ``free``: those that were granted least so far."""
        return frozenset(sorted(waiting, key=lambda name: (self._granted.get(name, 0), name))[: max(0, free)])

    def in_time(
        self, member: str, holders: AbstractSet[str], left_bytes: int, rate_bytes_per_s: float
    ) -> bool:
        """Whether a piece fetched by this member would be with the others before these are through with all that is left.

        ``holders`` fetch at the moment, ``rate_bytes_per_s`` all together. While nobody faster does, a member fetches
        whatever its rate.
        """
        own = self._rates.get(member, 0.0)
        fastest = max((self._rates.get(name, 0.0) for name in holders - {member}), default=0.0)
        if own <= 0.0 or fastest < SLOWER_MIN * own:
            return True
        return RELAYS * self._piece_len_bytes / own < left_bytes / max(fastest, rate_bytes_per_s)
