"""Rates and quotas: how long a sender waits, and when a caller has asked too often. Pure; `now` in seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

WINDOW_S = 300
"""The Hub counts requests per fixed window of five minutes."""

LATE_S = 0.1
"""A sender that wakes up so much too late makes up for it, so that the rate is kept on a busy machine; after a longer
pause it starts afresh."""

ANONYMOUS_QUOTAS = {"api": 500, "resolvers": 3000}
"""Announced when no quota is set: what the Hub grants an anonymous address."""


class Pace:
    """Spaces sends so that their total keeps to a rate, first come first served. `rate_bytes_per_s` may change."""

    def __init__(self, rate_bytes_per_s: float | None) -> None:
        self.rate_bytes_per_s = rate_bytes_per_s
        self._free_at = -math.inf

    def reserve(self, count: int, now: float) -> float:
        """Books `count` bytes; the caller sends them and then waits so many seconds before its next bytes."""
        if not self.rate_bytes_per_s:
            return 0.0
        if now - self._free_at > LATE_S:
            self._free_at = now
        self._free_at += count / self.rate_bytes_per_s
        return max(0.0, self._free_at - now)


@dataclass(frozen=True, slots=True)
class Standing:
    """A caller's place in the window after this request."""

    resource: str
    quota: int
    remaining: int
    reset_s: int
    exceeded: bool

    def headers(self) -> dict[str, str]:
        return {
            "RateLimit": f'"{self.resource}";r={self.remaining};t={self.reset_s}',
            "RateLimit-Policy": f'"fixed window";"{self.resource}";q={self.quota};w={WINDOW_S}',
        }


class Quotas:
    """Counts requests per caller and resource. Without `enforced` the headers are sent and nobody is refused."""

    def __init__(self, enforced: dict[str, int] | None) -> None:
        self.enforced = enforced or {}
        self._used: dict[tuple[str, str, int], int] = {}

    def count(self, resource: str, caller: str, now: float) -> Standing:
        window = int(now // WINDOW_S)
        key = (resource, caller, window)
        if key not in self._used:
            self._used = {known: used for known, used in self._used.items() if known[2] == window}
        used = self._used[key] = self._used.get(key, 0) + 1
        quota = self.enforced.get(resource, ANONYMOUS_QUOTAS[resource])
        reset_s = math.ceil((window + 1) * WINDOW_S - now)
        exceeded = resource in self.enforced and used > quota
        return Standing(resource, quota, max(0, quota - used), reset_s, exceeded)
