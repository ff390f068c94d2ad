"""One libtorrent session, and the only place where libtorrent is imported.

Thin and synchronous: it starts a session, hands operations over and translates alerts at once, because
an alert is valid only until the next ones are taken. None of its methods waits for the network thread
after the start; what came of an operation is a `Signal`. asyncio, waiting and bounds are the engine's.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Iterator, Sequence

import libtorrent as lt

from peers.metainfo import Kind, Metainfo
from peers.settings import DISK_IO, TAG_CHARACTERS, Settings
from peers.signals import (
    AlertsLost,
    CacheFlushed,
    Counters,
    Failed,
    Listening,
    PieceFinished,
    PieceMap,
    Ready,
    Removed,
    Signal,
)
from peers.swarm import (
    Endpoint,
    HashFailed,
    ListenFailed,
    PeerConnected,
    PeerDisconnected,
    PeerStats,
    StorageFailed,
)
from peers.tls import DH_PARAMETERS, TlsIdentity

PRIORITY_NOT_WANTED = 0
PRIORITY_WANTED = 4
"""libtorrent's default. A higher one would only matter beside others."""

_ALERTS = (
    lt.alert_category.error
    | lt.alert_category.status
    | lt.alert_category.storage
    | lt.alert_category.piece_progress
    | lt.alert_category.connect
)

_RATE_MAX = 2**31 - 1
"""Bytes per second in the library's int: 17 Gbit/s, four times what one of its network threads moves."""

_TCP = (lt.socket_type_t.tcp, lt.socket_type_t.tcp_ssl)

_BLOCKED = 1
"""libtorrent's ip_filter.blocked, which its binding does not name."""

_EVERY_ADDRESS = (("0.0.0.0", "255.255.255.255"), ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"))


class Session:
    """A running session of one kind. Operations name torrents by blob and ignore those it does not know.

    A byte is written to `wake_fd` whenever signals begin to wait; `take_signals` then takes all of them.
    The descriptor has to take one-byte writes and not block: a pipe, not an eventfd.
    """

    def __init__(self, kind: Kind, settings: Settings, wake_fd: int, tls: TlsIdentity | None = None) -> None:
        params = lt.session_params()
        params.settings = {**settings, "alert_mask": _ALERTS}  # type: ignore[typeddict-item]  # names are data in settings.py; a wrong one is refused here
        params.disk_io_constructor = DISK_IO  # write-only: reading it back always answers the default
        self._kind = kind
        self._tls = tls
        self._lt = lt.session(params)
        self._handles: dict[str, lt.torrent_handle] = {}
        self._adding: set[str] = set()
        self._unwanted: set[str] = set()  # removed before libtorrent had confirmed the addition
        self._all_peers = self._lt.create_peer_class("members")
        every_address = lt.ip_filter()
        for first, last in _EVERY_ADDRESS:
            every_address.add_rule(first, last, 1 << self._all_peers)
        # Replaces the default filter, which puts private and loopback addresses into an unlimited class.
        self._lt.set_peer_class_filter(every_address)
        self._lt.set_alert_fd(wake_fd)

    def add(self, metainfo: Metainfo, directory: str, have: Sequence[bool], connections_max: int) -> None:
        """Adds a torrent over `directory/<blob>`; `Ready` or `Failed` follows.

        The caller has checked that the file has its full length and `have` one entry per piece: then, and
        with the flag against verifying, libtorrent takes `have` as it is and never looks at the file.
        """
        params = lt.load_torrent_buffer(b"d4:info%se" % metainfo.info)
        params.save_path = directory
        params.have_pieces = list(have)
        params.max_connections = connections_max
        params.flags = (
            lt.torrent_flags.no_verify_files
            | lt.torrent_flags.duplicate_is_error
            | lt.torrent_flags.apply_ip_filter
            | lt.torrent_flags.disable_dht
            | lt.torrent_flags.disable_lsd
            | lt.torrent_flags.disable_pex
        )
        self._adding.add(metainfo.blob)
        self._lt.async_add_torrent(params)

    def remove(self, blob: str) -> None:
        """Leaves the swarm; `Removed` follows when nothing touches the file any more. Idempotent."""
        if blob in self._adding:
            self._unwanted.add(blob)
        elif (handle := self._handles.pop(blob, None)) is not None:
            self._lt.remove_torrent(handle)

    def connect(self, blob: str, peers: Iterable[Endpoint]) -> None:
        if (handle := self._handles.get(blob)) is not None:
            for peer in peers:
                handle.connect_peer((peer.host, peer.port))

    def add_piece(self, blob: str, index: int, data: bytes | bytearray) -> None:
        """Holds the interpreter for 3-4 ms per MiB (measured): the binding copies byte by byte."""
        if (handle := self._handles.get(blob)) is not None:
            handle.add_piece(index, data, 0)  # type: ignore[arg-type]  # the stub forgets bytearray, which the binding takes

    def want(self, blob: str, indexes: Collection[int], wanted: bool) -> None:
        if (handle := self._handles.get(blob)) is not None:
            priority = PRIORITY_WANTED if wanted else PRIORITY_NOT_WANTED
            handle.prioritize_pieces([(index, priority) for index in indexes])

    def flush(self, blob: str) -> None:
        """`CacheFlushed` follows."""
        if (handle := self._handles.get(blob)) is not None:
            handle.flush_cache()

    def ask_pieces(self, blob: str) -> None:
        """`PieceMap` follows, after the signals of everything it includes."""
        if (handle := self._handles.get(blob)) is not None:
            handle.post_status()

    def peers(self, blob: str | None = None) -> tuple[PeerStats, ...]:
        """The connections of this moment whose handshake is done, of one swarm or of all.

        Waits for the network thread, without the interpreter: call it in a thread. (The binding cannot
        convert what the asynchronous `post_peer_info` answers.)
        """
        table: list[PeerStats] = []
        for name, handle in list(self._handles.items()):
            if blob not in (None, name):
                continue
            try:
                connections = handle.get_peer_info()
            except RuntimeError:  # invalid handle: removed since
                continue
            unfinished = lt.peer_info.connecting | lt.peer_info.handshake
            table += [self._peer(name, each) for each in connections if not each.flags & unfinished]
        return tuple(table)

    def ask_counters(self) -> None:
        """`Counters` follows."""
        self._lt.post_session_stats()

    def limit(self, send_bytes_per_s: int, receive_bytes_per_s: int) -> None:
        """Bounds all peers together; 0 is no bound, and neither is what 32 bits cannot hold."""
        peer_class = self._lt.get_peer_class(self._all_peers)
        peer_class["upload_limit"] = send_bytes_per_s if send_bytes_per_s <= _RATE_MAX else 0
        peer_class["download_limit"] = receive_bytes_per_s if receive_bytes_per_s <= _RATE_MAX else 0
        self._lt.set_peer_class(self._all_peers, peer_class)

    def refuse(self, hosts: Iterable[str]) -> None:
        """Nobody there is connected to or let in; replaces what was refused before."""
        refused = lt.ip_filter()
        for host in hosts:
            refused.add_rule(host, host, _BLOCKED)
        self._lt.set_ip_filter(refused)

    def limit_blob(self, blob: str, receive_bytes_per_s: int) -> None:
        """Bounds what comes of one blob, within the bound of all; 0 is no bound."""
        if (handle := self._handles.get(blob)) is not None:
            handle.set_download_limit(receive_bytes_per_s)

    def renew(self, tls: TlsIdentity) -> None:
        """Shows this certificate on connections from now on; those there are stay."""
        self._tls = tls
        for handle in self._handles.values():
            self._certify(handle)

    def stop(self) -> None:
        """Ends the session and its threads; waits for them, holding the interpreter. Idempotent."""
        self._handles.clear()
        self.__dict__.pop("_lt", None)

    def take_signals(self) -> list[Signal]:
        """Everything that happened since the last call, in order."""
        return [signal for alert in self._lt.pop_alerts() for signal in self._translate(alert)]

    def _translate(self, alert: lt.alert) -> Iterator[Signal]:
        match alert:
            case lt.torrent_alert():
                yield from self._translate_torrent(alert)
            case lt.listen_succeeded_alert() if alert.socket_type in _TCP:
                yield Listening(alert.port)
            case lt.listen_failed_alert():
                yield ListenFailed(self._kind, f"{alert.address}:{alert.port}", alert.error.message())
            case lt.session_stats_alert():
                values = alert.values
                yield Counters(values["net.recv_payload_bytes"], values["net.sent_payload_bytes"])
            case lt.state_update_alert():
                for status in alert.status:
                    yield PieceMap(status.name, tuple(status.pieces))
            case lt.alerts_dropped_alert():
                yield AlertsLost()

    def _translate_torrent(self, alert: lt.torrent_alert) -> Iterator[Signal]:
        blob = alert.torrent_name
        match alert:
            case lt.piece_finished_alert():  # first: all others are rare
                yield PieceFinished(blob, alert.piece_index)
            case lt.hash_failed_alert():
                yield HashFailed(blob, self._kind, alert.piece_index)
            case lt.peer_connect_alert():
                yield PeerConnected(blob, self._kind, Endpoint(*alert.endpoint))
            case lt.peer_disconnected_alert():
                yield PeerDisconnected(blob, self._kind, Endpoint(*alert.endpoint), alert.error.message())
            case lt.add_torrent_alert():
                yield from self._added(blob, alert)
            case lt.cache_flushed_alert():
                yield CacheFlushed(blob)
            case lt.torrent_removed_alert():
                yield Removed(blob)
            case lt.file_error_alert():
                no_space = alert.error.value() in (errno.ENOSPC, errno.EDQUOT)
                yield StorageFailed(
                    blob, self._kind, no_space, f"{alert.filename()}: {alert.error.message()}"
                )
            case _ if (reason := _failure(alert)) is not None:
                yield Failed(blob, reason)

    def _added(self, blob: str, alert: lt.add_torrent_alert) -> Iterator[Signal]:
        self._adding.discard(blob)
        unwanted = blob in self._unwanted
        self._unwanted.discard(blob)
        if alert.error.value() != 0:
            yield Failed(blob, alert.error.message())
            yield Removed(blob)
        elif unwanted:
            self._lt.remove_torrent(alert.handle)
        else:
            self._handles[blob] = alert.handle
            self._certify(alert.handle)
            yield Ready(blob)

    def _certify(self, handle: lt.torrent_handle) -> None:
        """A TLS torrent connects to nobody before it has a certificate to show."""
        if self._tls is not None:
            handle.set_ssl_certificate_buffer(self._tls.cert_pem, self._tls.key_pem, DH_PARAMETERS)

    def _peer(self, blob: str, peer: lt.peer_info) -> PeerStats:
        tag = peer.pid.to_bytes()[:TAG_CHARACTERS]
        return PeerStats(
            blob=blob,
            kind=self._kind,
            peer=Endpoint(*peer.ip),
            tag=tag.decode("ascii", "replace").rstrip("-"),
            received_bytes=peer.total_download,
            sent_bytes=peer.total_upload,
            receive_rate_bytes_per_s=peer.payload_down_speed,
            send_rate_bytes_per_s=peer.payload_up_speed,
        )


def _failure(alert: lt.torrent_alert) -> str | None:
    """Why the torrent must not go on, if this alert says so."""
    match alert:
        case lt.torrent_error_alert():
            return alert.error.message()
        case lt.fastresume_rejected_alert():
            return "the engine rejected the journal"
        case lt.state_changed_alert() if alert.state == lt.torrent_status.states.checking_files:
            return "the engine began to check the file, which in a hot swarm finds every byte right"
    return None
