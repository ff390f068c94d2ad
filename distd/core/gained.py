"""What other members got from the Hub, from what the ledgers say is left of each blob there.

A ledger tells late, in lumps, and of a blob's last pieces never: the blob is there before. All of it has to be counted once,
or the cluster's rate comes out too low by a per cent or two for as long as it is watched.

Pure. Sizes are bytes, times monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LEARNT_S = 3.0
"""For so long after a blob is first seen its ledger is being learnt: most of what it tells was got before."""


@dataclass(slots=True)
class _Known:
    """`waiting`: told while it was learnt, and more than was to be expected by then; `room`: expected, and not told yet."""

    left: int
    own: int
    since: float
    waiting: float = 0.0
    room: float = 0.0


class Gained:
    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._looked_at = 0.0

    def look(
        self, blobs: Mapping[str, tuple[int, int]], whole: Mapping[str, int], rate: float, now: float
    ) -> tuple[bool, int]:
        """`blobs`: what the Hub has alone, and what this node had from it, of each that is being fetched; `whole`: the latter
        of those that are there. While a ledger is being learnt, no more than `rate` is believed.

        First: whether one is being learnt. Second: what others got since the last look, as far as it is known.
        """
        expected = rate * (now - self._looked_at)
        self._looked_at = now
        learning, gained = False, 0.0
        for etag in self._known.keys() - blobs.keys():
            ended = self._known.pop(etag)
            if etag in whole:
                gained += self._got(ended, 0, whole[etag], expected, now)
        for etag, (left, own) in blobs.items():
            known = self._known.get(etag)
            if known is None:
                self._known[etag] = _Known(left, own, now)
            else:
                gained += self._got(known, left, own, expected, now)
            learning = learning or now - self._known[etag].since <= LEARNT_S
        return learning, int(gained)

    @staticmethod
    def _got(known: _Known, left: int, own: int, expected: float, now: float) -> float:
        others: float = max(0, (known.left - left) - max(0, own - known.own))
        known.left, known.own = left, own
        if now - known.since > LEARNT_S:
            return others
        told, allowed = others + known.waiting, expected + known.room
        believed = min(told, allowed)
        known.waiting, known.room = told - believed, allowed - believed
        return believed
