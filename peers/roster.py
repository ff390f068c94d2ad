"""The lines of a membership table, what of them is news, and sums by which two tables are compared without being sent.

Each line falls by its name into a bucket; a bucket's sum adds up fingerprints of its lines. Tables with equal sums say the
same, and where they differ only those buckets have to be told. What changed is told on unasked for a bounded number of
times, about the logarithm of the size: that many tellings reach nearly everybody, and the sums find who was missed.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from peers.membership import MemberEntry

BUCKETS = 32
"""128 bytes of sums, part of the wire format. In a table of 1,000 a difference is found among 32 lines."""

SUM_BYTES = 4
_SUM_MASK = (1 << 8 * SUM_BYTES) - 1

SMALL_LINES = 32
"""Up to here an answer has all lines of all buckets that differ, as cheap as choosing among them."""

ANSWERED_NEW_MAX = 48
ANSWERED_OLD_MAX = 16
"""Lines of buckets that differ in an answer: those changed lately, which are most likely what the other lacks, and some of
the others, so that whatever it lacks comes in the end. Whoever knows fewer members is told so many more."""

NEWS_TOLD_MORE = 2
"""Tellings beyond the logarithm of the size: without them one in some tens of members would have to ask."""


@dataclass(slots=True)
class Line:
    """An entry and this member's own clock for it: ``since`` its state, incarnation or end changed."""

    entry: MemberEntry
    since: float
    failures: int = 0


class Roster:
    """Changed by `put` and `drop` alone, which keep the sums; ``version`` grows with every change."""

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}
        self.version = 0
        self._sums = [0] * BUCKETS
        self._news: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.lines)

    def put(self, entry: MemberEntry, now: float, *, is_news: bool = True) -> None:
        """Add a line or replace its entry; ``is_news``: it is to be told on."""
        line = self.lines.get(entry.name)
        bucket = _bucket(entry.name)
        if line is None:
            self.lines[entry.name] = Line(entry, now)
        else:
            if _standing(line.entry) != _standing(entry):
                line.since, line.failures = now, 0
            self._sums[bucket] -= fingerprint(line.entry)
            line.entry = entry
        self._sums[bucket] += fingerprint(entry)
        self.version += 1
        if is_news:
            self._news[entry.name] = 0

    def drop(self, name: str) -> None:
        line = self.lines.pop(name)
        self._sums[_bucket(name)] -= fingerprint(line.entry)
        self._news.pop(name, None)
        self.version += 1

    def news(self, at_most: int) -> list[MemberEntry]:
        """What to tell on in one message, counted as told: what was told least comes first."""
        told = heapq.nsmallest(at_most, self._news, key=self._news.__getitem__)
        tellings = math.ceil(math.log2(len(self) + 1)) + NEWS_TOLD_MORE
        for name in told:
            self._news[name] += 1
            if self._news[name] >= tellings:
                del self._news[name]
        return [self.lines[name].entry for name in told]

    def sums(self) -> tuple[int, ...]:
        return tuple(each & _SUM_MASK for each in self._sums)

    def differing(self, sums: Sequence[int]) -> frozenset[int]:
        """The buckets in which a table with these sums says something else."""
        pairs = enumerate(zip(self.sums(), sums, strict=True))
        return frozenset(bucket for bucket, (own, other) in pairs if own != other)

    def told_about(
        self, sums: Sequence[int], behind: int, lately: float, rng: random.Random
    ) -> list[MemberEntry]:
        """What a table with these sums, and so many lines fewer, may lack: all of the buckets that differ when small, else
        a bounded part, of which most changed since ``lately``."""
        buckets = self.differing(sums)
        lines = [line for name, line in self.lines.items() if _bucket(name) in buckets]
        if len(self) > SMALL_LINES:
            new = [line for line in lines if line.since >= lately]
            old = [line for line in lines if line.since < lately]
            lines = _some(rng, new, ANSWERED_NEW_MAX + behind) + _some(rng, old, ANSWERED_OLD_MAX)
        return [line.entry for line in lines]

    def check(self) -> bool:
        """Whether the sums are those of the lines."""
        sums = [0] * BUCKETS
        for name, line in self.lines.items():
            sums[_bucket(name)] += fingerprint(line.entry)
        return sums == self._sums and self._news.keys() <= self.lines.keys()


def fingerprint(entry: MemberEntry) -> int:
    """What a line adds to its sum. Facts change with the incarnation only. Tombstones add nothing: who never knew the
    member does not take them, and its table is as good."""
    if entry.forgotten:
        return 0
    told = f"{entry.name}\0{entry.incarnation}\0{int(entry.state)}".encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(told, digest_size=SUM_BYTES).digest(), "big")


def _some(rng: random.Random, lines: list[Line], at_most: int) -> list[Line]:
    """A random part, when they are more."""
    return lines if len(lines) <= at_most else rng.sample(lines, at_most)


def _bucket(name: str) -> int:
    return crc32(name.encode(errors="surrogatepass")) % BUCKETS


def _standing(entry: MemberEntry) -> tuple[int, int, bool]:
    return entry.incarnation, entry.state, entry.forgotten
