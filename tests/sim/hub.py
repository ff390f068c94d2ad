"""The Hub as members see it: one link shared by all, honest unless a fault says otherwise."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from peers import member_events as event
from peers.ledger import Digests
from peers.piece_set import Span
from tests.sim import truth

if TYPE_CHECKING:
    from tests.sim.node import Node

FIRST_BYTE_S = 0.05
UNREACHABLE_S = 1.0
PROGRESS_S = 1.0


class Hub:
    """Shared state of the Hub and of the site's link to it."""

    def __init__(self, link_bytes_per_s: float) -> None:
        self.link_bytes_per_s = link_bytes_per_s
        self.streams = 0
        self.sent_bytes = 0
        self.pieces_sent: Counter[int] = Counter()
        self.duplicates: Counter[tuple[str, int]] = Counter()
        self.wrong_pieces: frozenset[int] = frozenset()
        self.wrong_once: set[int] = set()
        self.busy_until = 0.0
        self.requests_while_busy = 0


class HubClient:
    """One node's connections to the Hub. ``in_memory`` are pieces that wait for the machine's word."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._open: set[int] = set()
        self.in_memory: dict[int, int] = {}
        self.rate_bytes_per_s = node.world.shape.hub_bytes_per_s
        self.share_bytes_per_s = 0.0
        self.denied = False
        self.reachable = True
        self.lies_about_digests = False
        self.gives_wrong_bytes = False

    @property
    def busy(self) -> bool:
        return bool(self._open)

    def fetch(self, number: int, span: Span) -> None:
        hub = self._node.world.hub
        self._open.add(number)
        hub.streams += 1
        if self._node.world.now < hub.busy_until:
            hub.requests_while_busy += 1
            left_s = hub.busy_until - self._node.world.now
            self._fail_later(number, event.SpanFailure.RATE_LIMITED, FIRST_BYTE_S, left_s)
        elif self.denied:
            self._fail_later(number, event.SpanFailure.ACCESS_DENIED, FIRST_BYTE_S)
        else:
            self._node.later(FIRST_BYTE_S, lambda: self._next(number, span, span.start, 0))

    def stop(self, number: int) -> None:
        if number in self._open:
            self._open.discard(number)
            self._node.world.hub.streams -= 1

    def stop_all(self) -> None:
        for number in list(self._open):
            self.stop(number)
        self.in_memory.clear()

    def _rate(self) -> float:
        own = self.rate_bytes_per_s / len(self._open)
        if self.share_bytes_per_s:
            own = min(own, self.share_bytes_per_s / len(self._open))
        return min(own, self._node.world.hub.link_bytes_per_s / max(1, self._node.world.hub.streams))

    def _next(self, number: int, span: Span, piece: int, done_bytes: int) -> None:
        if number not in self._open:
            return
        if not self.reachable:
            self._fail_later(number, event.SpanFailure.HUB_UNREACHABLE, UNREACHABLE_S)
            return
        size = self._node.world.blob.piece_bytes(piece)
        duration_s = size / self._rate()
        self._node.later(duration_s, lambda: self._arrived(number, span, piece, done_bytes + size))
        ticks = min(60, int(duration_s / PROGRESS_S))
        for tick in range(1, ticks + 1):
            part = done_bytes + int(size * tick * PROGRESS_S / duration_s)
            self._node.later(tick * PROGRESS_S, partial(self._progressed, number, part))

    def _progressed(self, number: int, done_bytes: int) -> None:
        if number in self._open:
            self._node.feed(event.SpanProgressed(number, done_bytes))

    def _arrived(self, number: int, span: Span, piece: int, done_bytes: int) -> None:
        if number not in self._open:
            return
        hub, name = self._node.world.hub, self._node.name
        hub.sent_bytes += self._node.world.blob.piece_bytes(piece)
        hub.pieces_sent[piece] += 1
        hub.duplicates[name, piece] += 1
        variant, digests = self._content(piece)
        self.in_memory[piece] = variant
        last = piece + 1 == span.stop
        if last:
            self.stop(number)
        self._node.feed(event.HubPieceFetched(number, piece, digests))
        self.in_memory.pop(piece, None)
        if not last:
            self._next(number, span, piece + 1, done_bytes)

    def _content(self, piece: int) -> tuple[int, Digests]:
        world = self._node.world
        liar_variant = 1000 + world.names.index(self._node.name)
        variant = 7 if piece in world.hub.wrong_pieces else truth.TRUE
        if piece in world.hub.wrong_once:
            world.hub.wrong_once.discard(piece)
            variant = 8
        if self.gives_wrong_bytes:
            variant = liar_variant
        told = liar_variant if self.lies_about_digests else variant
        return variant, truth.digests(piece, told)

    def _fail_later(
        self, number: int, failure: event.SpanFailure, delay_s: float, retry_after_s: float = 0.0
    ) -> None:
        def fail() -> None:
            if number in self._open:
                self.stop(number)
                self._node.feed(event.SpanFailed(number, failure, retry_after_s))

        self._node.later(delay_s, fail)
