"""How fast bytes may pass: a token bucket. Pure: `now` is monotonic seconds, rates are bytes per second, 0 no limit.

Bytes are paid for after they came, because nobody knows before how many a read brings: a part may pass when nothing
is owed. So the sum over any time exceeds the rate by at most one burst and one part.
"""

from __future__ import annotations

import math

BURST_S = 0.1
"""What a pause lets pass at once: enough to make good for a late timer, too little to see in a second's rate."""
PAUSE_S = 1.0
"""After a longer pause nothing is saved up: buffers that fill are a burst already. Between two spans a member waits for less."""
PART_S = 0.05
"""A part is at most this long at the limited rate, so that connections take turns and a low limit is no stop."""
LINK_PER_CONTENT = 1.04
"""Bytes that cross a link for one of content: 52 of TCP and IP in a packet of 1,500, answers' heads, TLS. A limit is of the
link, where other traffic has to get its part; the swarm engine counts its headers too."""
AHEAD_S = 0.01
"""What a connection may hold unread beside its TCP window: there are tens in a fleet, and it crossed the link unpaced."""
AHEAD_BYTES_MIN = 64 * 1024
"""Smaller buffers make many turns of the event loop and save little."""
PART_BYTES_MIN = 16 * 1024
"""Below it the work per part outweighs its bytes."""


class TokenBucket:
    """Ask `wait_s`; when it is 0 pass a part of up to `part_bytes` and `pay` for it."""

    def __init__(self) -> None:
        self.rate_bytes_per_s = 0.0
        self._credit_bytes = 0.0
        self._held_bytes = 0
        self._passed_at = -math.inf
        self._counted_at = -math.inf

    def set_rate(self, rate_bytes_per_s: float, now: float) -> None:
        """What is owed stays owed, at the new rate."""
        self._count(now)
        if self.rate_bytes_per_s == 0:
            self._credit_bytes, self._held_bytes = 0.0, 0
        self.rate_bytes_per_s = rate_bytes_per_s
        self._counted_at = now

    def wait_s(self, now: float) -> float:
        """Until the next part may pass."""
        self._count(now)
        if self.rate_bytes_per_s == 0 or self._credit_bytes >= 0:
            return 0.0
        return -self._credit_bytes / self.rate_bytes_per_s

    def pay(self, size_bytes: int, now: float) -> None:
        """So many bytes of content passed."""
        self._count(now)
        self._passed_at = now
        if self.rate_bytes_per_s > 0:
            self._credit_bytes -= size_bytes * LINK_PER_CONTENT

    def hold(self, size_bytes: int, now: float) -> int:
        """So many bytes will cross the link before anybody pays for them. `release` what it returns when they are paid for: 0
        where nothing is limited."""
        if self.rate_bytes_per_s == 0:
            return 0
        self.pay(size_bytes, now)
        self._held_bytes += size_bytes
        return size_bytes

    def release(self, size_bytes: int, now: float) -> None:
        """They are no burst that a pause earned: all of it counts, however much comes back at once, but for what was held
        before a limit ended."""
        self._count(now)
        released_bytes = min(size_bytes, self._held_bytes)
        self._held_bytes -= released_bytes
        self._credit_bytes += released_bytes * LINK_PER_CONTENT

    def begin(self, now: float) -> None:
        """The first transfer after a pause."""
        self._count(now)
        if now - self._passed_at >= PAUSE_S:
            self._credit_bytes = min(self._credit_bytes, 0.0)

    def part_bytes(self, most_bytes: int) -> int:
        """How much to read or send at once, of at most `most_bytes`."""
        if self.rate_bytes_per_s == 0:
            return most_bytes
        return min(most_bytes, max(PART_BYTES_MIN, int(self.rate_bytes_per_s * PART_S)))

    def ahead_bytes(self, most_bytes: int) -> int:
        """How much a connection may buffer, of at most `most_bytes`."""
        if self.rate_bytes_per_s == 0:
            return most_bytes
        return min(most_bytes, max(AHEAD_BYTES_MIN, int(self.rate_bytes_per_s * AHEAD_S)))

    def _count(self, now: float) -> None:
        if now > self._counted_at and self.rate_bytes_per_s > 0:
            earned = (now - self._counted_at) * self.rate_bytes_per_s
            most_bytes = max(self._credit_bytes, self.rate_bytes_per_s * BURST_S)
            self._credit_bytes = min(self._credit_bytes + earned, most_bytes)
        self._counted_at = max(self._counted_at, now)


def divided(limit: int, engine_busy: bool, small_busy: bool) -> tuple[int, int]:
    """One limit for content between members, over the swarm engine and small blobs: what each may use, 0 no limit.

    Small blobs get a quarter while both are busy: they are soon done, and a fleet waits for them. Whoever is idle keeps a
    token share, so that nothing it starts with before the next division is without a limit; the other has all.
    """
    if limit == 0:
        return 0, 0
    token = max(1, limit // TOKEN_SHARE)
    if engine_busy and small_busy:
        return max(1, limit - max(1, limit // 4)), max(1, limit // 4)
    return (token, limit) if small_busy else (limit, token)


TOKEN_SHARE = 100
"""The part of a limit that an idle way may begin with. Divided anew in the same moment, so it adds nothing to a second."""
