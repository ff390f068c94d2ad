"""The swarm engine: the `Swarm` port over two libtorrent sessions, hot and sealed.

Idea: `Session` does and reports, this module waits and bounds. Each session wakes the event loop through
a pipe; its signals become port events and resolve what callers wait for. A torrent that claims anything
but what the journal said is removed at once. Sizes are bytes, rates bytes per second, times seconds.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from peers import signals
from peers.addresses import is_wildcard
from peers.handover import HandOver
from peers.metainfo import Kind, Metainfo
from peers.pieces import piece_span
from peers.readback import digest_span, file_length
from peers.resolving import listener
from peers.session import Session
from peers.settings import CannotListen, EngineOptions, Settings, session_settings
from peers.swarm import (
    UNFLUSHED_BYTES_MAX,
    ConnectionsEnded,
    Endpoint,
    EventSink,
    Flushed,
    Hasher,
    HashFailed,
    JournalMismatch,
    ListenFailed,
    PeerConnected,
    PeerDisconnected,
    PieceAdded,
    PieceArrived,
    StorageFailed,
    SwarmClosed,
    SwarmStats,
    SwarmStuck,
    TorrentBroken,
    TorrentRemoved,
    check_journal,
)
from peers.throttle import engine_rate
from peers.tls import TlsIdentity

CONFIRM_TIMEOUT_S = 30.0
"""For the library to confirm an operation. Milliseconds as a rule; a disk that stalls holds its thread up."""

STATS_TIMEOUT_S = 2.0
"""Statistics are asked for every second: rather the last counters than a queue of questions."""

HELD_BACK_BYTES_PER_S = 64 * 1024
"""Not nothing: a connection that stands still looks dead."""

_WAKE_BYTES = 4096
"""Wake-ups taken at once; one byte is written per wake-up, and one look serves them all."""


@dataclass(slots=True, eq=False)
class _Torrent:
    """What the engine remembers of an open swarm, and who waits for what."""

    metainfo: Metainfo
    path: str
    held: bytearray  # one byte per piece: what the journal said and what was reported since
    opened: asyncio.Future[None]
    removed: asyncio.Future[None]
    ready: bool = False
    ended: str = ""  # why nothing may be done with it any more
    flushes: deque[asyncio.Future[None]] = field(default_factory=deque)

    @property
    def key(self) -> tuple[Kind, str]:
        return self.metainfo.kind, self.metainfo.blob


@dataclass(slots=True, eq=False)
class _Line:
    """A session with the pipe by which it wakes the loop."""

    session: Session
    wake_reader: int
    wake_writer: int
    port: asyncio.Future[int]
    counters: signals.Counters = field(default_factory=lambda: signals.Counters(0, 0))
    counters_asked: asyncio.Future[None] | None = None


_ABANDONED: list[_Line] = []
"""Sessions whose thread hangs in a disk. Ending one waits for that thread with the interpreter held, so a
process that has any ends by `os._exit`. Their pipes stay open, for they may still write to them."""


def _with_ports(options: EngineOptions) -> EngineOptions:
    """On all addresses the library opens a socket for each, and port 0 would be another port for each: a free one is looked for.

    Somebody else may take it in that moment, which is an error as for any taken port.
    """
    if not is_wildcard(options.host):
        return options
    found = []
    for port in (options.hot_port, options.sealed_port):
        with listener(options.host, port) if not port else nullcontext() as bound:
            found.append(bound.getsockname()[1] if bound else port)
    return replace(options, hot_port=found[0], sealed_port=found[1])


class Engine:
    """Implements `Swarm` with libtorrent: made by `start`, ended by `shutdown`."""

    def __init__(self, options: EngineOptions, emit: EventSink) -> None:
        self._options = options
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._lines: dict[Kind, _Line] = {}
        self._torrents: dict[tuple[Kind, str], _Torrent] = {}
        self._hand_over: HandOver[tuple[Kind, str]] = HandOver(UNFLUSHED_BYTES_MAX)
        self._limits = (0, 0)
        self._held_back: set[tuple[Kind, str]] = set()
        self._tls = options.tls if options.encryption == "tls" else None

    @classmethod
    async def start(cls, options: EngineOptions, emit: EventSink) -> Engine:
        """Binds both ports and returns; the engine then lives on this event loop until `shutdown`.

        Raises CannotListen, with nothing left open.
        """
        options = _with_ports(options)
        settings = {kind: session_settings(options, kind) for kind in Kind}
        engine = cls(options, emit)
        try:
            for kind in Kind:
                engine._start_line(kind, settings[kind])
            for line in engine._lines.values():
                await _confirmed(line.port, "listening")
        except BaseException:
            await engine.shutdown(timeout_s=0)
            raise
        return engine

    def endpoint(self, kind: Kind) -> Endpoint:
        """Where this session listens; the port is the one the system chose if 0 was asked for."""
        return Endpoint(self._options.host, self._lines[kind].port.result())

    async def open(
        self, metainfo: Metainfo, path: str, have: Sequence[bool], peers: Collection[Endpoint] = ()
    ) -> None:
        kind, blob = metainfo.kind, metainfo.blob
        while (former := self._torrents.get((kind, blob))) is not None:
            if not former.ended:
                raise ValueError(f"the {kind.value} swarm of {blob} is open")
            await self.close(blob, kind)
        check_journal(metainfo, path, file_length(path), have)
        future = self._loop.create_future
        torrent = _Torrent(metainfo, path, bytearray(have), opened=future(), removed=future())
        self._torrents[kind, blob] = torrent
        self._share_limits()
        session = self._lines[kind].session
        session.add(metainfo, os.path.dirname(os.path.abspath(path)), have, self._options.connections_max)
        try:
            await _confirmed(torrent.opened, f"opening {blob}")
        except BaseException:
            self._end(torrent, "not opened")
            raise
        session.connect(blob, peers)

    async def add_piece(self, blob: str, kind: Kind, index: int, data: bytes | bytearray) -> None:
        torrent = self._open_torrent(blob, kind)
        start, end = piece_span(torrent.metainfo.size_bytes, index)
        if len(data) != end - start:
            raise ValueError(f"piece {index} of {blob} has {end - start} bytes, not {len(data)}")
        if torrent.held[index] or self._hand_over.holds(torrent.key, index):
            return
        await self._hand_over.take(torrent.key, index, len(data))
        if torrent.held[index]:  # peers were faster: the library would drop it without a word
            self._hand_over.written(torrent.key, index)
        else:
            self._lines[kind].session.add_piece(blob, index, data)

    def want(self, blob: str, kind: Kind, indexes: Collection[int], wanted: bool) -> None:
        self._open_torrent(blob, kind)
        self._lines[kind].session.want(blob, indexes, wanted)

    def connect(self, blob: str, kind: Kind, peers: Collection[Endpoint]) -> None:
        self._open_torrent(blob, kind)
        self._lines[kind].session.connect(blob, peers)

    async def read_back(
        self, blob: str, kind: Kind, index: int, hashers: Sequence[Callable[[], Hasher]]
    ) -> tuple[bytes, ...]:
        torrent = self._open_torrent(blob, kind)
        start, end = piece_span(torrent.metainfo.size_bytes, index)
        return await asyncio.to_thread(digest_span, torrent.path, start, end, hashers)

    async def flush(self, blob: str, kind: Kind) -> None:
        torrent = self._open_torrent(blob, kind)
        flushed: asyncio.Future[None] = self._loop.create_future()
        torrent.flushes.append(flushed)
        self._lines[kind].session.flush(blob)
        await _confirmed(flushed, f"flushing {blob}")

    async def close(self, blob: str, kind: Kind) -> None:
        if (torrent := self._torrents.get((kind, blob))) is not None:
            if not torrent.ended:
                torrent.ended = "closed"
                await self._look_last(torrent)
            self._end(torrent, "closed")
            await _confirmed(asyncio.shield(torrent.removed), f"closing {blob}")

    def limit(self, send_bytes_per_s: int, receive_bytes_per_s: int) -> None:
        self._limits = (send_bytes_per_s, receive_bytes_per_s)
        self._share_limits()

    def refuse(self, hosts: Collection[str]) -> None:
        """From now on connections from and to these numeric hosts, and no others, are refused; open ones are closed."""
        for line in self._lines.values():
            line.session.refuse(hosts)

    def hold_back(self, blobs: frozenset[str]) -> None:
        """From now on next to nothing of these is taken from peers, and of all others as ever. Repeat it for swarms opened since."""
        held_back = {key for key, torrent in self._torrents.items() if torrent.ready and key[1] in blobs}
        for kind, blob in held_back ^ self._held_back:
            rate = HELD_BACK_BYTES_PER_S if (kind, blob) in held_back else 0
            self._lines[kind].session.limit_blob(blob, rate)
        self._held_back = held_back

    def renew_certificate(self, tls: TlsIdentity) -> None:
        """Show this certificate from now on, in open swarms too; no connection ends. Without TLS nothing happens."""
        if self._options.encryption == "tls":
            self._tls = tls
            for line in self._lines.values():
                line.session.renew(tls)

    async def stats(self) -> SwarmStats:
        asked = [self._ask_counters(line) for line in self._lines.values()]
        await asyncio.wait(asked, timeout=STATS_TIMEOUT_S)
        counters = [line.counters for line in self._lines.values()]
        tables = [asyncio.to_thread(line.session.peers) for line in self._lines.values()]
        peers = [peer for table in await asyncio.gather(*tables) for peer in table]
        return SwarmStats(
            received_bytes=sum(each.received_bytes for each in counters),
            sent_bytes=sum(each.sent_bytes for each in counters),
            peers=tuple(peers),
        )

    async def shutdown(self, timeout_s: float) -> None:
        for torrent in list(self._torrents.values()):
            self._end(torrent, "the engine is shutting down")
        removals = [torrent.removed for torrent in self._torrents.values()]
        late = (await asyncio.wait(removals, timeout=timeout_s))[1] if removals else set()
        for line in self._lines.values():
            self._loop.remove_reader(line.wake_reader)
            if late:
                _ABANDONED.append(line)
                continue
            line.session.stop()  # without torrents this takes milliseconds
            os.close(line.wake_reader)
            os.close(line.wake_writer)
        self._lines.clear()
        for torrent in list(self._torrents.values()):  # not confirmed in time, and nothing will be any more
            self._forget(torrent)

    # -- what the sessions report

    def _start_line(self, kind: Kind, settings: Settings) -> None:
        wake_reader, wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        session = Session(kind, settings, wake_writer, self._tls)
        self._lines[kind] = _Line(session, wake_reader, wake_writer, self._loop.create_future())
        self._loop.add_reader(wake_reader, self._take_signals, kind)
        self._loop.call_soon(self._take_signals, kind)  # what was reported before the pipe was set

    def _take_signals(self, kind: Kind) -> None:
        if (line := self._lines.get(kind)) is None:
            return
        try:
            os.read(line.wake_reader, _WAKE_BYTES)
        except BlockingIOError:
            pass  # an earlier look has taken this wake-up's signals along
        for happened in line.session.take_signals():
            self._handle(line, kind, happened)

    def _handle(self, line: _Line, kind: Kind, happened: signals.Signal) -> None:
        match happened:
            case signals.Listening(port) if not line.port.done():
                line.port.set_result(port)
            case ListenFailed(address=address, reason=reason) if not line.port.done():
                line.port.set_exception(CannotListen(address, reason))
            case ListenFailed():
                self._emit(happened)
            case signals.Counters():
                line.counters = happened
                _answer(line.counters_asked)
            case signals.AlertsLost():
                for torrent in self._torrents.values():
                    line.session.ask_pieces(torrent.metainfo.blob)
            case signals.Listening():
                pass  # further addresses of the same session
            case _:
                known = self._torrents.get((kind, happened.blob))
                if known is not None:
                    self._handle_torrent(line, known, happened)

    def _handle_torrent(self, line: _Line, torrent: _Torrent, happened: signals.TorrentSignal) -> None:
        kind, blob = torrent.key
        match happened:
            case signals.Removed():
                self._forget(torrent)
            case _ if torrent.ended and not isinstance(happened, StorageFailed):
                pass  # the swarm is being left; what it still does is of no use to anyone
            case signals.PieceFinished(index=index):
                self._piece_finished(torrent, index)
            case HashFailed(index=index):
                self._hand_over.written(torrent.key, index)
                self._emit(happened)
            case PeerConnected() | PeerDisconnected():
                self._emit(happened)
            case signals.CacheFlushed():
                # The library also flushes by itself when a torrent completes. Taking that for the answer
                # is right: with this disk backend a piece is in the file before it is announced.
                if torrent.flushes:
                    _answer(torrent.flushes.popleft())
                    self._emit(Flushed(blob, kind))
            case signals.Ready():
                torrent.ready = True
                line.session.ask_pieces(blob)
            case signals.PieceMap(pieces=pieces):
                self._compare(torrent, pieces)
            case signals.Failed(reason=reason):
                self._break(torrent, reason)
            case StorageFailed():
                self._storage_failed(torrent, happened)

    def _piece_finished(self, torrent: _Torrent, index: int) -> None:
        if torrent.held[index]:
            return  # resume data is echoed, one alert per piece
        if not torrent.ready:
            self._break(torrent, f"the engine claims piece {index}, which the journal does not have")
            return
        torrent.held[index] = True
        kind, blob = torrent.key
        added = self._hand_over.written(torrent.key, index)
        self._emit(PieceAdded(blob, kind, index) if added else PieceArrived(blob, kind, index))

    def _compare(self, torrent: _Torrent, pieces: Sequence[bool]) -> None:
        """Holds the library's piece map against ours: after opening, and when alerts were lost."""
        claimed = bytes(pieces)
        for index in [index for index, held in enumerate(torrent.held) if claimed[index] and not held]:
            if torrent.opened.done():
                self._piece_finished(torrent, index)
        if claimed != bytes(torrent.held):
            self._break(torrent, f"the engine claims {sum(claimed)} pieces, the journal {sum(torrent.held)}")
        else:
            _answer(torrent.opened)

    # -- how a torrent ends

    def _break(self, torrent: _Torrent, reason: str) -> None:
        kind, blob = torrent.key
        if torrent.opened.done():
            self._emit(TorrentBroken(blob, kind, reason))
        else:
            torrent.opened.set_exception(JournalMismatch(blob, reason))
        self._end(torrent, reason)

    def _storage_failed(self, torrent: _Torrent, happened: StorageFailed) -> None:
        """One event for the many blocks that fail; the caller closes, so that it decides about the file."""
        if not torrent.ended:
            torrent.ended = happened.detail
            self._fail_waiting(torrent)
            self._emit(happened)

    def _end(self, torrent: _Torrent, reason: str) -> None:
        """Begins to leave the swarm. Idempotent; `_forget` is called when it is left."""
        torrent.ended = torrent.ended or reason
        self._fail_waiting(torrent)
        kind, blob = torrent.key
        self._lines[kind].session.remove(blob)

    async def _look_last(self, torrent: _Torrent) -> None:
        """What the connections counted ends with them."""
        kind, blob = torrent.key
        with suppress(TimeoutError):
            async with asyncio.timeout(STATS_TIMEOUT_S):
                connections = await asyncio.to_thread(self._lines[kind].session.peers, blob)
                if connections and self._torrents.get(torrent.key) is torrent:
                    self._emit(ConnectionsEnded(blob, kind, connections))

    def _forget(self, torrent: _Torrent) -> None:
        kind, blob = torrent.key
        del self._torrents[kind, blob]
        self._fail_waiting(torrent)
        self._share_limits()
        if not torrent.opened.done():
            torrent.opened.set_exception(SwarmClosed(blob, kind, torrent.ended))
        self._emit(TorrentRemoved(blob, kind))
        _answer(torrent.removed)

    def _fail_waiting(self, torrent: _Torrent) -> None:
        kind, blob = torrent.key
        error = SwarmClosed(blob, kind, torrent.ended or "removed")
        self._hand_over.forget(torrent.key, error)
        while torrent.flushes:
            if not (flushed := torrent.flushes.popleft()).done():
                flushed.set_exception(error)

    # -- odds and ends

    def _open_torrent(self, blob: str, kind: Kind) -> _Torrent:
        torrent = self._torrents.get((kind, blob))
        if torrent is None or torrent.ended:
            raise SwarmClosed(blob, kind, torrent.ended if torrent else "not open")
        return torrent

    def _ask_counters(self, line: _Line) -> asyncio.Future[None]:
        if line.counters_asked is None or line.counters_asked.done():
            line.counters_asked = self._loop.create_future()
            line.session.ask_counters()
        return line.counters_asked

    def _share_limits(self) -> None:
        """One bound for the node, two sessions: whichever has torrents gets it, or half each.

        Dividing by demand would use it better while both are busy; it must never add up to more.
        """
        busy = max(len({kind for kind, _ in self._torrents}), 1)
        send, receive = (
            bound and max(engine_rate(bound) // busy, 1) for bound in self._limits
        )  # 0 stays: no bound
        for line in self._lines.values():
            line.session.limit(send, receive)


def _answer(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)


async def _confirmed(future: asyncio.Future[Any], what: str) -> None:
    """Waits for the library. Raises SwarmStuck when it does not answer in time."""
    try:
        async with asyncio.timeout(CONFIRM_TIMEOUT_S):
            await future
    except TimeoutError:
        raise SwarmStuck(what, CONFIRM_TIMEOUT_S) from None
