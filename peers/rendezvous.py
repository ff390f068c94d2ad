"""Who comes first for a blob, computed alike by everyone who sees the same members.

Rendezvous (highest random weight) hashing, Thaler and Ravishankar 1996: each member gets a weight from a hash of
(blob, member) and the highest comes first. When a member leaves, only the blobs it was first for move.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Set

WEIGHTS_REMEMBERED = 1 << 16
"""A thousand members times the few blobs in flight; a lead is looked up with every request."""


@functools.lru_cache(maxsize=WEIGHTS_REMEMBERED)
def weight(key: str, member: str) -> int:
    """The weight of ``member`` for ``key``; the same on every machine and in every release of one wire version."""
    told = key.encode() + b"\0" + member.encode()
    return int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "big")


def order(key: str, members: Iterable[str]) -> list[str]:
    """The members, first choice first; equal weights fall back to the name."""
    return sorted(members, key=lambda member: (-weight(key, member), member))


def lead_order(key: str, members: Iterable[str], draining: Set[str]) -> list[str]:
    """As `order`, with those that are being taken out of service last: they lead when nobody else is there."""
    return sorted(members, key=lambda member: (member in draining, -weight(key, member), member))


def choose(key: str, members: Iterable[str]) -> str | None:
    """The first choice, or None when there are no members."""
    return min(members, key=lambda member: (-weight(key, member), member), default=None)
