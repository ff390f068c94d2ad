"""What a libtorrent session reports to the engine: its alerts, translated.

Some are events of the `Swarm` port already and pass through as they are; the others concern the engine
alone. Sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from peers.swarm import HashFailed, ListenFailed, PeerConnected, PeerDisconnected, StorageFailed


@dataclass(frozen=True, slots=True)
class Ready:
    """libtorrent has taken `have` over and moves pieces from here on.

    Every torrent that starts also posts a `torrent_checked_alert`, checked or not: that one says nothing.
    """

    blob: str


@dataclass(frozen=True, slots=True)
class PieceFinished:
    """libtorrent counts a piece as had: from resume data, from peers or from `add_piece`."""

    blob: str
    index: int


@dataclass(frozen=True, slots=True)
class PieceMap:
    """The pieces libtorrent claims, in full; answers `ask_pieces`."""

    blob: str
    pieces: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class CacheFlushed:
    """The files were released: `flush` was called, or the torrent became complete."""

    blob: str


@dataclass(frozen=True, slots=True)
class Removed:
    """The torrent is gone and nothing touches its file any more."""

    blob: str


@dataclass(frozen=True, slots=True)
class Failed:
    """libtorrent refused the torrent, began to check it, or stopped it: none of it may go on."""

    blob: str
    reason: str


@dataclass(frozen=True, slots=True)
class Listening:
    """The session is bound to this TCP port."""

    port: int


@dataclass(frozen=True, slots=True)
class AlertsLost:
    """The queue overflowed: pieces may have arrived unreported."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Payload since the session started, over all torrents there ever were; answers `ask_counters`."""

    received_bytes: int
    sent_bytes: int


TorrentSignal: TypeAlias = (
    Ready
    | PieceFinished
    | PieceMap
    | CacheFlushed
    | Removed
    | Failed
    | HashFailed
    | StorageFailed
    | PeerConnected
    | PeerDisconnected
)
Signal: TypeAlias = TorrentSignal | Listening | ListenFailed | AlertsLost | Counters
