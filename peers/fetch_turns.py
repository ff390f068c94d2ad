"""Whose turn it is to fetch from the Hub: how many spans are under way at a time, and who gets the next one.

Few at a time: what arrives in many pieces at once is whole later, and only a whole piece can be passed on. By turns: who
fetches a piece has to send it out, perhaps to everybody, so that a member that fetches more than its share becomes the link
that all others wait for. Not by the slow: a piece that one of them fetches is what the others wait for at the end.

Pure. Rates are bytes per second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from statistics import median_high, median_low

SPANS_ALWAYS = 4
FETCHERS_ALWAYS = 8
"""Spans under way at the same time whatever is known of the rates, and members with one each; more, once these are measured.
A member whose own link is full of what others send gets little from the Hub: with four of eight fetching, the Hub's link ran
at three quarters."""

PIECE_S = 0.33
"""There are as many spans under way as let each bring a piece within this time."""

SLOWER_MIN = 3.0
"""A member so much slower than the fastest is looked at closely, see `FetchTurns.in_time`."""

AHEAD_LEASES = 2
USUAL_FADES = 0.8
AHEAD_WAITS_S = 0.3
"""A member so many leases above the usual share leaves a span that comes free to others for so long. Members far from the lead
ask a round trip later than one beside it, which otherwise fetched twice its share (measured, eight members), sent it all on with
a full link, and got its own pieces late. Leases get smaller towards the end: the usual one follows them slowly, else whoever is ahead
by a lease of earlier waits at each of the last ones, and the Hub's link with it."""

BEHIND_S = 5.0
YIELDS_S = 3.0
"""A member that needs so long for what others have, and so many times as long as is usual (`SLOWER_MIN`), fetches nothing while
others do or did within the time after: its link is full without, what it fetched would come late (1 MiB in 4 to 13 s over a link
ten times slower, measured), and it has no loss by it."""

PASSED_ON = 1.5
"""A piece is with the others so many times after as long as it took to come from the Hub, where only the way to the Hub is slow: it
may be a connection that others starve, of a member that else keeps up."""

SPREAD_AWAITED_S = 15.0
"""Where nobody else fetches, a member far behind fetches nothing more before somebody has its last piece, or for so long. It takes pieces in faster than it sends them
to everybody: with five of 64 on a link ten times slower the others waited 5 to 20 s for these alone (measured)."""


WAITED = float("-inf")
"""Instead of a time: it is over."""


class FetchTurns:
    """What one blob's lead knows of its members as fetchers."""

    def __init__(self, piece_len_bytes: int) -> None:
        self._piece_len_bytes = piece_len_bytes
        self._rates: dict[str, float] = {}
        self._granted: dict[str, int] = {}
        self._usual: dict[str, float] = {}
        self._holds_back: dict[str, float] = {}
        self._took_at: dict[str, float] = {}
        self._behind_s: dict[str, float] = {}
        self._lagging: frozenset[str] | None = None
        self._yielded_at: dict[str, float] = {}

    def heard(self, member: str, rate_bytes_per_s: float, behind_s: float = 0.0) -> None:
        """The member asked; it gets so much from the Hub (0 unknown) and is so far behind. One that is new owes nothing for
        the past."""
        self._rates[member] = rate_bytes_per_s
        self._behind_s[member] = behind_s
        self._lagging = None
        if member not in self._granted:
            self._granted[member] = min(self._granted.values(), default=0)

    @property
    def told_bytes_per_s(self) -> float:
        """What the members that may fetch at the same time got from the Hub lately, for this blob or another."""
        return sum(sorted(self._rates.values())[-FETCHERS_ALWAYS:])

    def forget(self, member: str) -> None:
        for each in (self._rates, self._granted, self._holds_back):
            each.pop(member, None)
        for each_s in (self._usual, self._took_at, self._behind_s, self._yielded_at):
            each_s.pop(member, None)
        self._lagging = None

    def took(self, member: str, pieces: int, now: float) -> None:
        """The member was granted so many pieces."""
        self._took_at[member] = now
        self._granted[member] = self._granted.get(member, 0) + pieces
        self._usual[member] = max(pieces, USUAL_FADES * self._usual.get(member, 0.0))
        self._holds_back.pop(member, None)

    def lets_others_ask(self, member: str, now: float) -> bool:
        """Whether the member, next among those that wait, is so far ahead that others are given time to come first."""
        others = [granted for name, granted in self._granted.items() if name != member]
        ahead = self._granted.get(member, 0) - median_high(others or [0])
        if not others or ahead <= AHEAD_LEASES * self._usual.get(member, 0.0):
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

    def alone(self, member: str) -> int:
        """How many spans the member would have if nobody else fetched, by what it got lately."""
        return self.spans(self._rates.get(member, 0.0), 1)

    def next_up(self, waiting: Iterable[str], free: int) -> frozenset[str]:
        """The members that get the spans that are ``free``: those that were granted least so far."""
        return frozenset(sorted(waiting, key=lambda name: (self._granted.get(name, 0), name))[: max(0, free)])

    def in_time(
        self,
        member: str,
        holders: AbstractSet[str],
        left_bytes: int,
        rate_bytes_per_s: float,
        now: float,
        unspread: Callable[[], bool],
    ) -> bool:
        """Whether the others would not wait for a piece fetched by this member.

        ``holders`` fetch at the moment, ``rate_bytes_per_s`` all together. One that gets little from the Hub fetches what is
        with the others before these are through with all that is left. One that is far behind fetches while nobody else
        does, a piece after the other: ``unspread`` tells whether it has some that nobody else has.
        """
        if member in self.lagging:
            waited = now >= self._took_at.get(member, WAITED) + SPREAD_AWAITED_S
            return not self._lets_fetch(member, holders, now) and (waited or not unspread())
        own = self._rates.get(member, 0.0)
        fastest = max((self._rates.get(name, 0.0) for name in holders - {member}), default=0.0)
        if own <= 0.0 or fastest < SLOWER_MIN * own:
            return True
        return PASSED_ON * self._piece_len_bytes / own < left_bytes / max(fastest, rate_bytes_per_s)

    @property
    def lagging(self) -> frozenset[str]:
        """Members whose link is full for long with what others have already, where not everybody's is."""
        if self._lagging is None:
            late_s = BEHIND_S + SLOWER_MIN * median_low(self._behind_s.values() or [0.0])
            self._lagging = frozenset(name for name, behind_s in self._behind_s.items() if behind_s > late_s)
        return self._lagging

    def _lets_fetch(self, member: str, holders: AbstractSet[str], now: float) -> bool:
        """Whether others who keep up fetch, or did a moment ago."""
        if holders - self.lagging:
            self._yielded_at[member] = now
        return now < self._yielded_at.setdefault(member, now) + YIELDS_S
