"""The port between the program and whatever moves pieces between members.

`Swarm` is what the rest of the program calls; `SwarmEvent`s are what it hears back. Two things implement
it: the BitTorrent engine and, for simulations, `memory_swarm`; one test suite holds both to this text.
A blob may be open in its hot and in its sealed swarm at once: `(blob, kind)` names one of them.
Sizes are bytes, rates bytes per second, times seconds.

What a have means: in the hot swarm `PieceArrived` says *held*, never *checked*: the swarm relays corrupt
bytes as readily as good ones. In the sealed swarm the piece's SHA-1 was right when it arrived. Either way
the program's own journal is the only truth, and `have` in `open` is taken from it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeAlias

from peers.metainfo import Kind, Metainfo

UNFLUSHED_BYTES_MAX = 64 << 20
"""Bytes handed to `add_piece` and not yet written, per engine. The library queues without bound; four of
the largest pieces keep a disk busy and cost no more memory than that."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A numeric address and TCP port; names are resolved by whoever keeps the membership table."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class PieceArrived:
    """A piece came from peers and can be read by path. Next: `read_back`, compare, journal."""

    blob: str
    kind: Kind
    index: int


@dataclass(frozen=True, slots=True)
class PieceAdded:
    """A piece given to `add_piece` is stored, announced to peers and can be read by path.

    Blocks that peers had sent before stay in it, so it is read back and compared like any other.
    """

    blob: str
    kind: Kind
    index: int


@dataclass(frozen=True, slots=True)
class HashFailed:
    """A piece of the sealed swarm was wrong, was dropped and is being fetched again. Nothing to do.

    Which peer sent it is not known: its blocks may come from several.
    """

    blob: str
    kind: Kind
    index: int


@dataclass(frozen=True, slots=True)
class Flushed:
    """All pieces announced before `flush` was called are in the file (not yet synced to the disk)."""

    blob: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class TorrentRemoved:
    """The swarm of this blob is closed: no late write touches the file any more."""

    blob: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class StorageFailed:
    """Reading or writing the blob's file failed. Pieces announced since are garbage: close, keep the journal.

    `no_space` tells a full disk, where freeing space and opening again helps.
    """

    blob: str
    kind: Kind
    no_space: bool
    detail: str


@dataclass(frozen=True, slots=True)
class TorrentBroken:
    """The swarm no longer agrees with the journal it was opened with, and was closed for it.

    `TorrentRemoved` follows. Next: discard what was not read back and open again, or pull another way.
    """

    blob: str
    kind: Kind
    reason: str


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """A member joined this swarm's connections. An incoming peer shows an ephemeral port."""

    blob: str
    kind: Kind
    peer: Endpoint


@dataclass(frozen=True, slots=True)
class PeerDisconnected:
    """A connection, or an attempt at one, ended. Next: `connect` again while the member is alive."""

    blob: str
    kind: Kind
    peer: Endpoint
    reason: str


@dataclass(frozen=True, slots=True)
class PeerStats:
    """One connection now. `tag` is what the peer says it is: a hint for display, forgeable, never evidence.

    The byte counts are payload since the connection was made; they end with it.
    """

    blob: str
    kind: Kind
    peer: Endpoint
    tag: str
    received_bytes: int
    sent_bytes: int
    receive_rate_bytes_per_s: int
    send_rate_bytes_per_s: int


@dataclass(frozen=True, slots=True)
class ConnectionsEnded:
    """This swarm is being closed here, and with it these connections: the last look at their counters.

    Not told of a swarm that breaks or has none, or whose connections could not be looked at in time."""

    blob: str
    kind: Kind
    connections: tuple[PeerStats, ...]


@dataclass(frozen=True, slots=True)
class ListenFailed:
    """A listening socket was lost after the start, for instance because its address went away."""

    kind: Kind
    address: str
    reason: str


SwarmEvent: TypeAlias = (
    PieceArrived
    | PieceAdded
    | HashFailed
    | Flushed
    | TorrentRemoved
    | StorageFailed
    | TorrentBroken
    | PeerConnected
    | PeerDisconnected
    | ConnectionsEnded
    | ListenFailed
)

EventSink: TypeAlias = Callable[[SwarmEvent], None]
"""Given to an implementation when it is made; called on the event loop, in the order things happened.

It must return at once and not raise. It may call nothing that waits: queue the event, act later."""


@dataclass(frozen=True, slots=True)
class SwarmStats:
    """Payload moved since the start, closed swarms included, and the connections of a moment after that."""

    received_bytes: int
    sent_bytes: int
    peers: tuple[PeerStats, ...]


class SwarmError(Exception):
    """Base of what a `Swarm` raises. Subclasses are dataclasses whose fields are the facts."""

    retryable: ClassVar[bool] = False


@dataclass
class JournalMismatch(SwarmError):
    """The file or the bitmap is not what the metainfo needs; nothing was opened. Discard the journal."""

    blob: str
    reason: str

    def __str__(self) -> str:
        return f"{self.blob}: {self.reason}"


def check_journal(metainfo: Metainfo, path: str, file_bytes: int | None, have: Sequence[bool]) -> None:
    """Raises JournalMismatch unless file and bitmap are such that an engine takes `have` as it is.

    `file_bytes` is the file's length by `fstat`, None when it does not exist. A missing bitmap, a short
    one or a short file make libtorrent look at the file, and in a hot session it likes whatever is there.
    """
    reason = ""
    if path.rpartition("/")[2] != metainfo.blob:
        reason = f"the file is named {path.rpartition('/')[2]}"
    elif file_bytes is None:
        reason = "the file does not exist"
    elif file_bytes != metainfo.size_bytes:
        reason = f"the file has {file_bytes} bytes instead of {metainfo.size_bytes}"
    elif len(have) != metainfo.piece_count:
        reason = f"the journal has {len(have)} pieces instead of {metainfo.piece_count}"
    if reason:
        raise JournalMismatch(metainfo.blob, reason)


@dataclass
class SwarmClosed(SwarmError):
    """This blob's swarm is not open (any more); a wait in it ends with this too."""

    blob: str
    kind: Kind
    reason: str = "not open"

    def __str__(self) -> str:
        return f"the {self.kind.value} swarm of {self.blob} is closed: {self.reason}"


@dataclass
class SwarmStuck(SwarmError):
    """The engine did not confirm an operation in time. What it was about may still take effect later."""

    what: str
    waited_s: float
    retryable: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"{self.what} was not confirmed within {self.waited_s:g} s"


class Hasher(Protocol):
    """What `hashlib` and `xxhash` objects have in common."""

    def update(self, data: bytes | bytearray | memoryview, /) -> object: ...

    def digest(self) -> bytes: ...


class Swarm(Protocol):
    """Moves pieces of open blobs between this node and its peers.

    All methods are called on one event loop. Those that wait may be cancelled; what they began then goes
    on and shows in the events. Operations on a swarm that is not open raise SwarmClosed.
    """

    async def open(
        self, metainfo: Metainfo, path: str, have: Sequence[bool], peers: Collection[Endpoint] = ()
    ) -> None:
        """Joins a swarm with the file at `path`, named like the blob; returns when pieces can move.

        `have` holds one entry per piece, True for those the journal says are checked: they are served
        at once and unread. The file must exist at its full length, preallocated (a hole that the disk
        cannot fill becomes a garbage piece); otherwise, or when the engine then claims another number
        of pieces than `have`, raises JournalMismatch and nothing stays open. Opening a swarm
        that is open is a ValueError. To lease before anything is asked of peers: open without peers,
        `want` nothing of the leased pieces, then `connect`.
        """

    async def add_piece(self, blob: str, kind: Kind, index: int, data: bytes | bytearray) -> None:
        """Hands over a piece fetched elsewhere; `PieceAdded` follows when it is stored and announced.

        Waits while more than `UNFLUSHED_BYTES_MAX` are handed over and not written; a single piece is
        always let in. A piece already held is left as it is, silently: nothing is overwritten here.
        In a sealed swarm wrong bytes end in `HashFailed`. ValueError when `data` has not the piece's
        length. The real engine copies on the loop, 3-4 ms per MiB with the interpreter held: bytes that
        no peer waits for are better written to the file before `open`, and named in `have`.
        """

    def want(self, blob: str, kind: Kind, indexes: Collection[int], wanted: bool) -> None:
        """Asks peers for these pieces or, for those this node holds a lease on, asks no more.

        Everything missing is wanted when a swarm is opened. Requests already sent are still answered.
        """

    def connect(self, blob: str, kind: Kind, peers: Collection[Endpoint]) -> None:
        """Connects to these members, if not connected yet; a result is an event. Idempotent."""

    async def read_back(
        self, blob: str, kind: Kind, index: int, hashers: Sequence[Callable[[], Hasher]]
    ) -> tuple[bytes, ...]:
        """Digests of what this node's disk holds for a piece, one per hasher, computed off the loop.

        Call it after `PieceArrived` or `PieceAdded`; before, it digests whatever the file holds.
        OSError when the file cannot be read.
        """

    async def flush(self, blob: str, kind: Kind) -> None:
        """Returns, and reports `Flushed`, when every announced piece is in the file. Idempotent."""

    async def close(self, blob: str, kind: Kind) -> None:
        """Leaves the swarm; returns after `TorrentRemoved`. The file may then be renamed and linked.

        Not before: after a rename an open swarm stays a seed and serves nothing. Closing what is not
        open returns at once.
        """

    def limit(self, send_bytes_per_s: int, receive_bytes_per_s: int) -> None:
        """Bounds this node's traffic with all peers together, local addresses included; 0 is no bound."""

    async def stats(self) -> SwarmStats:
        """Counters and connections now; asked about once a second."""

    async def shutdown(self, timeout_s: float) -> None:
        """Closes every swarm and the sockets, within about `timeout_s`. Nothing may be called after it.

        Reports `TorrentRemoved` for each swarm, also for those a hanging disk did not let go of in time.
        """
