"""Two simple swarms: pieces go from members that have them to members that lack them, rarest of a few first.

A link is a time until which it is busy. The hot swarm moves whatever bytes the source has; in a sealed swarm the receiver
refuses bytes that do not match the metainfo, and only members with the same metainfo meet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from peers import member_events as event
from peers.ledger import Ledger
from tests.sim import truth

if TYPE_CHECKING:
    from tests.sim.node import Node
    from tests.sim.world import World

SLOTS = 3
SOURCES_LOOKED_AT = 5
WOKEN_PER_GAIN = 4
RETRY_S = 0.3
QUEUE_S_MAX = 1.0

Torrent: TypeAlias = tuple[bytes, ...]
HOT: Torrent = ()


@dataclass(slots=True)
class Peer:
    node: Node
    torrent: Torrent
    have: int
    coming: dict[int, str] = field(default_factory=dict)
    refused: set[tuple[str, int]] = field(default_factory=set)


class Swarms:
    def __init__(self, world: World) -> None:
        self._world = world
        self._peers: dict[str, Peer] = {}
        self._crosses_from: dict[str, float] = {}
        self.moved_bytes = self.crossed_bytes = 0

    def join(self, node: Node, ledger: Ledger | None, have: int) -> None:
        torrent = HOT if ledger is None else ledger.piece_hashes()
        peer = self._peers[node.name] = Peer(node, torrent, have)
        self._world.time.after(0.05, lambda: self._retry(peer))

    def leave(self, node: Node) -> None:
        self._peers.pop(node.name, None)

    def has(self, node: Node) -> bool:
        return node.name in self._peers

    def gained(self, node: Node, piece: int) -> None:
        """The node's engine has a piece now, from wherever, and says so: others may fetch it, from there or elsewhere."""
        peer = self._peers.get(node.name)
        if peer is None:
            return
        peer.have |= 1 << piece
        hungry = [
            other
            for other in self._peers.values()
            if other.torrent == peer.torrent and not other.have >> piece & 1 and len(other.coming) < SLOTS
        ]
        for other in self._world.rng.sample(hungry, min(WOKEN_PER_GAIN, len(hungry))):
            self._fill(other, told_by=peer)

    def accepts(self, node: Node, piece: int, variant: int) -> bool:
        peer = self._peers[node.name]
        return peer.torrent == HOT or truth.digests(piece, variant).sha1 == peer.torrent[piece]

    def _retry(self, peer: Peer) -> None:
        if self._peers.get(peer.node.name) is peer:
            self._fill(peer)
            if peer.have != self._world.blob.all_pieces:
                self._world.time.after(RETRY_S * (0.5 + self._world.rng.random()), lambda: self._retry(peer))

    def _fill(self, peer: Peer, told_by: Peer | None = None) -> None:
        while len(peer.coming) < SLOTS and self._fetch_one(peer, told_by):
            pass

    def _fetch_one(self, peer: Peer, told_by: Peer | None) -> bool:
        world, node = self._world, peer.node
        wanted = world.blob.all_pieces & ~peer.have & ~node.leased
        for piece in peer.coming:
            wanted &= ~(1 << piece)
        if not wanted:
            return False
        others = [
            other for other in self._peers.values() if other is not peer and other.torrent == peer.torrent
        ]
        if world.shape.zones:
            others = [other for other in others if _connected(node, other.node)]
        looked_at = world.rng.sample(others, min(SOURCES_LOOKED_AT, len(others)))
        if told_by in others and told_by not in looked_at:
            looked_at.append(told_by)
        usable = [o for o in looked_at if o.have & wanted and _together(world, node, o.node)]
        if not usable:
            return False
        source = min(usable, key=lambda other: self._sends_from(other.node, node))
        piece = self._rare_piece(source.have & wanted, others)
        if (source.node.name, piece) in peer.refused:
            return False
        start = max(world.now, self._sends_from(source.node, node), node.down_free_at)
        if start > world.now + QUEUE_S_MAX:
            return False
        size = world.blob.piece_bytes(piece)
        source.node.up_free_at = start + size / source.node.up_bytes_per_s
        node.down_free_at = start + size / node.down_bytes_per_s
        slower = min(source.node.up_bytes_per_s, node.down_bytes_per_s)
        between = world.shape.between_zones_bytes_per_s
        if between and node.zone != source.node.zone:
            self._crosses_from[source.node.zone] = start + size / between
            slower = min(slower, between)
        peer.coming[piece] = source.node.name
        self.moved_bytes += size
        self.crossed_bytes += size if node.zone != source.node.zone else 0
        world.time.at(start + size / slower + world.delay_s(), lambda: self._arrived(peer, source, piece))
        return True

    def _sends_from(self, source: Node, node: Node) -> float:
        """When the links of the source, and the one between their zones if it is narrow, are free."""
        crosses = 0.0 if node.zone == source.zone else self._crosses_from.get(source.zone, 0.0)
        return max(source.up_free_at, crosses)

    def _rare_piece(self, among: int, peers: list[Peer]) -> int:
        rng = self._world.rng
        samples = [_some_piece(among, rng.randrange(self._world.blob.pieces)) for _ in range(3)]
        few = peers[:8]
        return min(samples, key=lambda piece: sum(peer.have >> piece & 1 for peer in few))

    def _arrived(self, peer: Peer, source: Peer, piece: int) -> None:
        peer.coming.pop(piece, None)
        world, node = self._world, peer.node
        here = self._peers.get(node.name) is peer
        there = self._peers.get(source.node.name) is source and source.have >> piece & 1
        if not here or not there or peer.have >> piece & 1 or not world.linked(node.name, source.node.name):
            return
        variant = source.node.disk.get(piece, truth.GARBAGE)
        if node.full:
            node.disk_failed()
            return
        if self.accepts(node, piece, variant):
            node.disk[piece] = variant
            self.gained(node, piece)
            node.piece_held(piece)
        else:
            peer.refused.add((source.node.name, piece))
            node.feed(event.PieceRefused(piece))
        if self._peers.get(node.name) is peer:
            self._fill(peer)


def _together(world: World, node: Node, other: Node) -> bool:
    """Whether two members would connect: not when one of them blames the other."""
    return (
        world.linked(node.name, other.name)
        and other.name not in node.blamed
        and node.name not in other.blamed
    )


def _connected(node: Node, other: Node) -> bool:
    """Whether one of them was told to connect to the other."""
    return other.name in node.connects_to or node.name in other.connects_to


def _some_piece(among: int, start: int) -> int:
    later = among >> start
    if later:
        return start + (later & -later).bit_length() - 1
    return (among & -among).bit_length() - 1
