"""This member's way to the Hub, shared by the machines of all its blobs: how fast it is, and which blob's turn it is; and
whether this member keeps up with what the others have.

The link is one, so blobs take it one after the other, in the order in which they are wanted: a later one fetches only what
the earlier ones leave, once every missing piece of theirs is in somebody's hands. Spread over several blobs the same
bytes would arrive in as many pieces at a time, each later by that factor, and nothing incomplete can be passed on.

Pure. Times are monotonic seconds, rates bytes per second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from peers.slow_company import Outpaced, SlowCompany

SPANS_MAX = 8
"""Connections to the Hub of one member for the blobs of its swarms; how many of them one blob gets is its lead's to say."""

RATE_MEMORY_S = 3.0
"""How fast the measured rate follows: about two leases."""

INTAKE_MEMORY_S = 3.0
"""How fast the rate of pieces that come from other members follows: some pieces' worth."""

INTAKE_MEASURED_S = 1.0
"""For so long after others got something this member lacks nothing is said: the first pieces are on their way."""

NEWS_MEMORY_S = 5.0
MOST_MEMORY_S = 30.0
KEEPS_UP = 0.5
"""A member that takes in so much, in some seconds, of what was new to the swarm in as many, is not slow: it may be late, and
lack much for that reason alone. One whose link is narrower falls further behind the longer the pull takes. Measured by the time in which
most came lately: that the Hub sends little, or that others are through with a blob, makes no member quick."""

BEHIND_S_MAX = 3600.0
"""Behind by an hour or more is all the same."""

YIELDS_S = 0.5
"""A pull holds others back that are less urgent while it lacks so much of what members have, by what comes in now: less is on
its way whatever is done, and a pull that only the Hub holds up leaves the members' links to others."""

ANSWER_AWAITED_S = 3.0
"""A blob whose lead has not said so long whether anything is left does not keep the others waiting."""


@dataclass(slots=True)
class _Use:
    """What one blob makes of the link. ``order``: smaller goes first."""

    order: tuple[int, ...]
    since: float
    active: int = 0
    busy: int = 0
    lacks_bytes: int = 0
    known_bytes: int | None = None
    piece_bytes: int = 0
    wants: bool = True

    @property
    def pull(self) -> tuple[int, ...]:
        """What blobs of one pull have in common: all but the place in it and when they joined."""
        return self.order[:-2]

    @property
    def priority(self) -> int:
        """Smaller is more urgent; 0 for blobs that no pull wants."""
        return self.order[0] if self.pull else 0


class _Flow:
    """Bytes of the last seconds, the older the less."""

    def __init__(self, memory_s: float) -> None:
        self._memory_s = memory_s
        self._bytes = 0.0
        self._at = 0.0

    def add(self, size_bytes: float, now: float) -> None:
        self._bytes = self.bytes(now) + size_bytes
        self._at = now

    def bytes(self, now: float) -> float:
        return self._bytes * math.exp(-max(0.0, now - self._at) / self._memory_s)


class HubLink:
    """Give the same one to every `BlobMember` of a node; a machine without others may have one of its own."""

    def __init__(self, spans_max: int = SPANS_MAX) -> None:
        self._spans_max = spans_max
        self._uses: dict[str, _Use] = {}
        self._joined = 0
        self._rate_bytes_per_s = 0.0
        self._measured_at = 0.0
        self._intake_bytes_per_s = 0.0
        self._taken_in_at = 0.0
        self._lacks_since = 0.0
        self._news = _Flow(NEWS_MEMORY_S)
        self._most = _Flow(MOST_MEMORY_S)
        self._own = _Flow(NEWS_MEMORY_S)
        self._company = SlowCompany()

    def join(self, blob: str, order: tuple[int, ...], now: float) -> None:
        """The blob is being filled from now on; among equals in ``order`` the one that joined first goes first."""
        self._joined += 1
        self._uses[blob] = _Use((*order, self._joined), now)

    def leave(self, blob: str) -> bool:
        """The blob fetches nothing any more; True when it did until now and others may use its room. Idempotent."""
        return self._uses.pop(blob, None) is not None and bool(self._uses)

    def note(self, blob: str, active: int, busy: int, wants: bool, now: float) -> bool:
        """The blob has ``active`` spans under way, ``busy`` of them not at their last piece; ``wants``: pieces of it are
        still to be had. True when this leaves room that others may use."""
        use = self._uses.get(blob)
        if use is None:
            return False
        if active and not any(each.active for each in self._uses.values()):
            self._measured_at = now  # what was not asked for is no sign of a slow link
        freed = busy < use.busy or (use.wants and not wants)
        use.active, use.busy, use.wants = active, busy, wants
        self._company.first_copies(any(each.wants for each in self._uses.values()), now)
        return freed and len(self._uses) > 1

    def room(self, blob: str, now: float) -> int:
        """How many further spans this blob may ask for."""
        use = self._uses.get(blob)
        if use is None:
            return 0
        for other in self._uses.values():
            fresh = other.busy or now - other.since < ANSWER_AWAITED_S
            if other.order < use.order and other.wants and fresh:
                return 0
        return max(0, self._spans_max - sum(each.busy for each in self._uses.values()))

    def others_want(self, blob: str, now: float) -> bool:
        """Whether another blob of the same pull has pieces that nobody fetches yet: better than taking over what somebody
        fetches slowly, of which the part that arrived would be fetched in vain."""
        use = self._uses.get(blob)
        return use is not None and any(
            other.wants and now - other.since < ANSWER_AWAITED_S
            for other in self._uses.values()
            if other is not use and other.pull == use.pull
        )

    def heard(self, blob: str, now: float) -> None:
        """The blob's lead answered: what it said about the pieces left is fresh."""
        if blob in self._uses:
            self._uses[blob].since = now

    def arrived(self, size_bytes: int, now: float) -> None:
        """Bytes came from the Hub: an exponential average over time, of all spans together."""
        elapsed_s = max(now - self._measured_at, 1e-3)
        self._measured_at = now
        self._own.add(size_bytes, now)
        weight = 1 - math.exp(-elapsed_s / RATE_MEMORY_S) if self._rate_bytes_per_s else 1.0
        self._rate_bytes_per_s += weight * (size_bytes / elapsed_s - self._rate_bytes_per_s)

    def lacks(self, blob: str, size_bytes: int, now: float, *, piece_bytes: int = 0) -> None:
        """Others have so much of the blob, in pieces of that size, that this member lacks and does not fetch itself."""
        if blob in self._uses:
            if size_bytes and not any(use.lacks_bytes for use in self._uses.values()):
                self._lacks_since = now
            self._uses[blob].lacks_bytes, self._uses[blob].piece_bytes = size_bytes, piece_bytes

    def knows(self, blob: str, size_bytes: int, now: float) -> None:
        """So much of the blob has come to the swarm, this member included, as far as is known. Call it when all is known: what
        had come before is no news."""
        use = self._uses.get(blob)
        if use is None:
            return
        before = size_bytes if use.known_bytes is None else use.known_bytes
        use.known_bytes = max(before, size_bytes)
        if use.known_bytes > before:
            self._news.add(use.known_bytes - before, now)
            self._most.add(max(0.0, self._news.bytes(now) - self._most.bytes(now)), now)

    def took_in(self, size_bytes: int, now: float) -> None:
        """A piece came from another member: a leaky sum, bytes spread over the memory they fade in."""
        self._own.add(size_bytes, now)
        self._intake_bytes_per_s = self._intake(now) + size_bytes / INTAKE_MEMORY_S
        self._taken_in_at = now
        self._company.took_in(size_bytes, now)

    def behind_s(self, now: float) -> float:
        """How long it takes until this member has what the others have, at the rate at which they send it; 0 for one that keeps
        up with what is new, and has only come late, and for one whose way to the Hub is much wider than that to the others: its
        own link is not what is full."""
        lacks_bytes, measured_s = self._lacking_bytes(now), now - self._lacks_since
        if not lacks_bytes or measured_s < INTAKE_MEASURED_S or self._keeps_up(now) or self._outpaced(now):
            return 0.0
        intake = self._intake(now) / (1 - math.exp(-measured_s / INTAKE_MEMORY_S))
        return min(lacks_bytes / max(intake, 1.0), BEHIND_S_MAX)

    def _keeps_up(self, now: float) -> bool:
        most = self._most.bytes(now)
        return 0 < KEEPS_UP * most <= self._own.bytes(now)

    def outpaces_members(self, now: float) -> Outpaced | None:
        """Set when what others have is to be fetched as well, since it would come from them clearly later."""
        outpaced = self._outpaced(now)
        return outpaced if self._company.is_idle(now) else None

    def _outpaced(self, now: float) -> Outpaced | None:
        piece_bytes = max((use.piece_bytes for use in self._uses.values()), default=0)
        since_s, rate = now - self._lacks_since, self._rate_bytes_per_s
        return self._company.slower(self._lacking_bytes(now), piece_bytes, since_s, rate, now)

    def _lacking_bytes(self, now: float) -> int:
        held_back = self.held_back(now)
        return sum(use.lacks_bytes for blob, use in self._uses.items() if blob not in held_back)

    def held_back(self, now: float) -> frozenset[str]:
        """Blobs that leave what members send to a more urgent pull, which lacks much of what they have."""
        much = self._intake(now) * YIELDS_S
        starved = [use.priority for use in self._uses.values() if use.lacks_bytes > much]
        urgent = min(starved, default=math.inf)
        return frozenset(blob for blob, use in self._uses.items() if use.priority > urgent)

    def _intake(self, now: float) -> float:
        return self._intake_bytes_per_s * math.exp(-(now - self._taken_in_at) / INTAKE_MEMORY_S)

    @property
    def rate_bytes_per_s(self) -> float:
        """What this member gets from the Hub; 0 while nothing is known."""
        return self._rate_bytes_per_s
