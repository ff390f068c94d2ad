"""The `Swarm` port without network or disk: for simulations, in virtual time and the same on every run.

Idea: a `MemoryNetwork` holds files, nodes and a queue of things due; `step` does the next one. A transfer
is one piece from one peer. Sender and receiver each book their link for the piece's bytes, one booking
after the other, and the piece arrives when both are through: link rates hold exactly, latency and
protocol overhead do not exist but for one delay per connection. Bytes are copied at arrival, so corrupt
ones spread as they would. Sizes are bytes, rates bytes per second, times virtual seconds.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

from peers.handover import HandOver
from peers.metainfo import Kind, Metainfo
from peers.pieces import piece_span
from peers.swarm import (
    UNFLUSHED_BYTES_MAX,
    ConnectionsEnded,
    Endpoint,
    EventSink,
    Flushed,
    Hasher,
    HashFailed,
    PeerConnected,
    PeerDisconnected,
    PeerStats,
    PieceAdded,
    PieceArrived,
    StorageFailed,
    SwarmClosed,
    SwarmStats,
    TorrentRemoved,
    check_journal,
)

LINK_BYTES_PER_S = 1.25e9
"""10 Gbit/s, what a GPU server has at least."""

DISK_BYTES_PER_S = 2e9
CONNECT_DELAY_S = 0.1
"""From connecting to the first request, about what the real engine takes."""


class MemoryNetwork:
    """The world of a simulation: its clock, its files by path and its nodes by endpoint."""

    def __init__(self) -> None:
        self.now = 0.0
        self.files: dict[str, bytearray] = {}
        self.nodes: dict[Endpoint, MemorySwarm] = {}
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()  # things due at one time happen in the order they were planned

    def at(self, when: float, action: Callable[[], object]) -> None:
        """Plans an action for a time not before now."""
        heapq.heappush(self._due, (max(when, self.now), next(self._order), action))

    def step(self) -> bool:
        """Does the next thing due and moves the clock to it; False when nothing is left to happen."""
        if not self._due:
            return False
        self.now, _, action = heapq.heappop(self._due)
        action()
        return True


@dataclass(slots=True)
class _Link:
    """One direction of a node's network interface, booked piece after piece."""

    rate_bytes_per_s: float
    limit_bytes_per_s: float = 0.0
    free_at: float = 0.0

    def book(self, now: float, size_bytes: int) -> float:
        """Reserves the link for these bytes and returns when they are through."""
        rate = min(self.rate_bytes_per_s, self.limit_bytes_per_s or self.rate_bytes_per_s)
        self.free_at = max(now, self.free_at) + size_bytes / rate
        return self.free_at


@dataclass(slots=True, eq=False)
class _Connection:
    """This node's side of a connection; `asked` is the piece on its way from the peer."""

    torrent: _Torrent
    asked: int | None = None
    received_bytes: int = 0
    sent_bytes: int = 0


@dataclass(slots=True, eq=False)
class _Torrent:
    node: MemorySwarm
    metainfo: Metainfo
    path: str
    held: list[bool]
    wanted: list[bool]
    connections: dict[Endpoint, _Connection] = field(default_factory=dict)
    refused: set[Endpoint] = field(default_factory=set)  # sent a piece with a wrong hash
    open: bool = True

    @property
    def key(self) -> tuple[Kind, str]:
        return self.metainfo.kind, self.metainfo.blob


class MemorySwarm:
    """Implements `Swarm` for one node of a `MemoryNetwork`; its two sessions share its links."""

    def __init__(
        self,
        network: MemoryNetwork,
        host: str,
        emit: EventSink,
        send_bytes_per_s: float = LINK_BYTES_PER_S,
        receive_bytes_per_s: float = LINK_BYTES_PER_S,
    ) -> None:
        self._network = network
        self._host = host
        self._emit = emit
        self._sending, self._receiving = _Link(send_bytes_per_s), _Link(receive_bytes_per_s)
        self._writing = _Link(DISK_BYTES_PER_S)
        self._torrents: dict[tuple[Kind, str], _Torrent] = {}
        self._hand_over: HandOver[tuple[Kind, str]] = HandOver(UNFLUSHED_BYTES_MAX)
        self._received_bytes = self._sent_bytes = 0
        self.starting_point = zlib.crc32(host.encode())
        for kind in Kind:
            network.nodes[self.endpoint(kind)] = self

    def endpoint(self, kind: Kind) -> Endpoint:
        """Where peers reach this node's session of a kind."""
        return Endpoint(self._host, 1 if kind is Kind.HOT else 2)

    async def open(
        self, metainfo: Metainfo, path: str, have: Sequence[bool], peers: Collection[Endpoint] = ()
    ) -> None:
        key = (metainfo.kind, metainfo.blob)
        if key in self._torrents:
            raise ValueError(f"the {metainfo.kind.value} swarm of {metainfo.blob} is open")
        content = self._network.files.get(path)
        check_journal(metainfo, path, None if content is None else len(content), have)
        self._torrents[key] = _Torrent(self, metainfo, path, list(have), [True] * len(have))
        self.connect(metainfo.blob, metainfo.kind, peers)

    async def add_piece(self, blob: str, kind: Kind, index: int, data: bytes | bytearray) -> None:
        torrent = self._open_torrent(blob, kind)
        start, end = piece_span(torrent.metainfo.size_bytes, index)
        if len(data) != end - start:
            raise ValueError(f"piece {index} of {blob} has {end - start} bytes, not {len(data)}")
        if torrent.held[index] or self._hand_over.holds(torrent.key, index):
            return
        await self._hand_over.take(torrent.key, index, len(data))
        content = bytes(data)
        written_at = self._writing.book(self._network.now, len(content))
        self._network.at(written_at, lambda: self._store(torrent, index, content, added=True))

    def want(self, blob: str, kind: Kind, indexes: Collection[int], wanted: bool) -> None:
        torrent = self._open_torrent(blob, kind)
        for index in indexes:
            torrent.wanted[index] = wanted
        self._ask_all(torrent)

    def connect(self, blob: str, kind: Kind, peers: Collection[Endpoint]) -> None:
        torrent = self._open_torrent(blob, kind)
        for peer in peers:
            when = self._network.now + CONNECT_DELAY_S
            self._network.at(when, partial(self._connected, torrent, peer))

    async def read_back(
        self, blob: str, kind: Kind, index: int, hashers: Sequence[Callable[[], Hasher]]
    ) -> tuple[bytes, ...]:
        torrent = self._open_torrent(blob, kind)
        start, end = piece_span(torrent.metainfo.size_bytes, index)
        if (content := self._network.files.get(torrent.path)) is None:
            raise FileNotFoundError(torrent.path)
        running = [new() for new in hashers]
        for hasher in running:
            hasher.update(content[start:end])
        return tuple(hasher.digest() for hasher in running)

    async def flush(self, blob: str, kind: Kind) -> None:
        self._open_torrent(blob, kind)
        self._emit(Flushed(blob, kind))

    async def close(self, blob: str, kind: Kind) -> None:
        if (torrent := self._torrents.pop((kind, blob), None)) is None:
            return
        torrent.open = False
        if connections := _connections(torrent):
            self._emit(ConnectionsEnded(blob, kind, connections))
        self._hand_over.forget(torrent.key, SwarmClosed(blob, kind, "closed"))
        for endpoint in list(torrent.connections):
            self._disconnect(torrent, endpoint, "closed")
        self._emit(TorrentRemoved(blob, kind))

    def limit(self, send_bytes_per_s: int, receive_bytes_per_s: int) -> None:
        self._sending.limit_bytes_per_s = send_bytes_per_s
        self._receiving.limit_bytes_per_s = receive_bytes_per_s

    async def stats(self) -> SwarmStats:
        peers = tuple(peer for torrent in self._torrents.values() for peer in _connections(torrent))
        return SwarmStats(self._received_bytes, self._sent_bytes, peers)

    async def shutdown(self, timeout_s: float) -> None:
        for kind, blob in list(self._torrents):
            await self.close(blob, kind)
        for kind in Kind:
            self._network.nodes.pop(self.endpoint(kind), None)

    def _open_torrent(self, blob: str, kind: Kind) -> _Torrent:
        if (torrent := self._torrents.get((kind, blob))) is None:
            raise SwarmClosed(blob, kind)
        return torrent

    # -- connections

    def _connected(self, torrent: _Torrent, endpoint: Endpoint) -> None:
        kind, blob = torrent.key
        node = self._network.nodes.get(endpoint)
        theirs = node._torrents.get((kind, blob)) if node is not None else None
        if not torrent.open or endpoint in torrent.connections or theirs is torrent:
            return
        if theirs is None or theirs.metainfo.info_hash != torrent.metainfo.info_hash:
            self._emit(PeerDisconnected(blob, kind, endpoint, "not in this swarm"))
            return
        torrent.connections[endpoint] = _Connection(theirs)
        theirs.connections[self.endpoint(kind)] = _Connection(torrent)
        self._emit(PeerConnected(blob, kind, endpoint))
        theirs.node._emit(PeerConnected(blob, kind, self.endpoint(kind)))
        self._ask_all(torrent)
        theirs.node._ask_all(theirs)

    def _disconnect(self, torrent: _Torrent, endpoint: Endpoint, reason: str) -> None:
        kind, blob = torrent.key
        theirs = torrent.connections.pop(endpoint).torrent
        own = self.endpoint(kind)
        self._emit(PeerDisconnected(blob, kind, endpoint, reason))
        if theirs.connections.pop(own, None) is not None:
            theirs.node._emit(PeerDisconnected(blob, kind, own, reason))

    # -- pieces

    def _ask_all(self, torrent: _Torrent) -> None:
        for endpoint, connection in list(torrent.connections.items()):
            if connection.asked is None and endpoint not in torrent.refused:
                self._ask(torrent, endpoint, connection)

    def _ask(self, torrent: _Torrent, endpoint: Endpoint, connection: _Connection) -> None:
        index = _rarest_missing(torrent, connection.torrent)
        if index is None:
            return
        sender = connection.torrent.node
        if connection.torrent.path not in self._network.files:  # renamed: it stays a seed and serves nothing
            kind, blob = torrent.key
            sender._emit(StorageFailed(blob, kind, False, f"{connection.torrent.path} is gone"))
            return
        connection.asked = index
        start, end = piece_span(torrent.metainfo.size_bytes, index)
        sent_at = sender._sending.book(self._network.now, end - start)
        received_at = self._receiving.book(self._network.now, end - start)
        arrival = max(sent_at, received_at)
        self._network.at(arrival, lambda: self._receive(torrent, endpoint, connection, index))

    def _receive(self, torrent: _Torrent, endpoint: Endpoint, connection: _Connection, index: int) -> None:
        connection.asked = None
        if torrent.connections.get(endpoint) is not connection:
            return  # cut off on the way
        start, end = piece_span(torrent.metainfo.size_bytes, index)
        content = bytes(self._network.files.get(connection.torrent.path, b"")[start:end])
        if len(content) != end - start:
            return  # renamed on the way
        self._received_bytes += end - start
        connection.received_bytes += end - start
        connection.torrent.node._sent_bytes += end - start
        if (back := connection.torrent.connections.get(self.endpoint(torrent.metainfo.kind))) is not None:
            back.sent_bytes += end - start
        if not self._store(torrent, index, content, added=False):
            torrent.refused.add(endpoint)
            self._disconnect(torrent, endpoint, "sent a piece with a wrong hash")
        self._ask_all(torrent)

    def _store(self, torrent: _Torrent, index: int, content: bytes, added: bool) -> bool:
        """Writes a piece, reports it and lets peers ask for it; False when its hash was wrong."""
        kind, blob = torrent.key
        handed_over = self._hand_over.written(torrent.key, index) or added
        if not torrent.open or torrent.held[index]:
            return True
        hashes = torrent.metainfo.piece_sha1
        if hashes is not None and hashlib.sha1(content).digest() != hashes[index]:
            self._emit(HashFailed(blob, kind, index))
            return False
        start, end = piece_span(torrent.metainfo.size_bytes, index)
        self._network.files[torrent.path][start:end] = content
        torrent.held[index] = True
        self._emit(PieceAdded(blob, kind, index) if handed_over else PieceArrived(blob, kind, index))
        for connection in list(torrent.connections.values()):
            connection.torrent.node._ask_all(connection.torrent)
        return True


def _rarest_missing(torrent: _Torrent, sender: _Torrent) -> int | None:
    """The piece to ask of a sender, None when it has none we want: of those held by fewest peers, the first
    after this node's own starting point, so that nodes which start together ask for different ones."""
    asked = {connection.asked for connection in torrent.connections.values()}
    peers = [connection.torrent.held for connection in torrent.connections.values()]
    count = len(torrent.held)
    start = torrent.node.starting_point % count
    missing = (
        index
        for index in itertools.chain(range(start, count), range(start))
        if not torrent.held[index] and torrent.wanted[index] and sender.held[index] and index not in asked
    )
    return min(missing, key=lambda index: sum(held[index] for held in peers), default=None)


def _connections(torrent: _Torrent) -> tuple[PeerStats, ...]:
    return tuple(
        PeerStats(
            blob=torrent.metainfo.blob,
            kind=torrent.metainfo.kind,
            peer=endpoint,
            tag=endpoint.host,
            received_bytes=connection.received_bytes,
            sent_bytes=connection.sent_bytes,
            receive_rate_bytes_per_s=0,  # a rate needs a window of time; simulations take the counters
            send_rate_bytes_per_s=0,
        )
        for endpoint, connection in torrent.connections.items()
    )
