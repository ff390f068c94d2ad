"""Session settings of the swarm engine, each with the reason it differs from the library's default.

Plain data: no library is imported here. Names are libtorrent 2.1's settings_pack. Sizes in bytes unless
a name says otherwise, times in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from peers.metainfo import Kind
from peers.swarm import Endpoint, SwarmError
from peers.tls import TlsIdentity

Settings: TypeAlias = dict[str, bool | int | str]
"""A settings_pack: name to value."""

ENCRYPTION_MODES = ("handshake", "full", "tls")

TAG_CHARACTERS = 12
"""Of the 20 bytes of a peer id; the 8 random ones left keep two starts of one member apart."""

DISK_IO = "posix_disk_io_constructor"
"""The only backend without a write cache: a piece can be read by path as soon as it is announced, where the
default leaves most of them unreadable until a flush. It writes on the network thread, so a slow disk slows
the peers instead of filling memory.

Measured with five runs each in changing order, 256 MiB over loopback on two shared cores, both ends together,
medians: hot session 1.8 CPU-s/GB against 3.1 for the default. Sealed session 2.7 against 3.2, where the runs
overlap, and 1.9 s against 1.5 s of time, because it hashes on the network thread: there it is chosen for
having no cache, not for speed."""

ALERT_QUEUE_MAX = 100_000
"""Alerts kept until the loop takes them: opening a complete 700 GB blob posts 42,000 at once. Past it the
engine asks for the piece map again, so nothing is lost but time."""

_SOCKET_BUFFER_BYTES = 1 << 20
"""A bandwidth-delay product of 10 Gbit/s at 0.8 ms, which covers a site."""

_SEND_BUFFER_BYTES = 256 << 10
"""The kernel doubles it: 10 Gbit/s at 0.4 ms. What a member asks of a peer waits behind what it sends that peer, so that with
a full megabyte a busy sender's own requests came out a quarter of a second late, and its own link ran dry."""

_FORCED, _ALLOWED = 0, 1  # enc_policy.pe_forced, enc_policy.pe_enabled
_PLAINTEXT, _RC4 = 1, 2  # enc_level.pe_plaintext, enc_level.pe_rc4


@dataclass
class CannotListen(SwarmError):
    """The engine could not bind one of its ports at the start. Choose another address or port."""

    address: str
    reason: str

    def __str__(self) -> str:
        return f"swarm.listen: cannot listen on {self.address}: {self.reason}"


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What the operator decides about the engine. Port 0 lets the system choose; the engine reports it.

    `connections_max` bounds each of the two sessions. `tag` names this node in its peers' statistics. `tls` is this
    member's certificate; encryption `tls` needs it, the other modes don't use it.
    """

    host: str
    hot_port: int = 0
    sealed_port: int = 0
    encryption: str = "handshake"
    connections_max: int = 200
    tag: str = ""
    tls: TlsIdentity | None = None
    alert_queue_max: int = ALERT_QUEUE_MAX

    def __post_init__(self) -> None:
        if self.encryption not in ENCRYPTION_MODES:
            raise ValueError(f"encryption {self.encryption!r} is not one of {', '.join(ENCRYPTION_MODES)}")
        if not self.tag.isascii() or len(self.tag) > TAG_CHARACTERS:
            raise ValueError(f"tag {self.tag!r} is not up to {TAG_CHARACTERS} ASCII characters")
        if self.encryption == "tls" and self.tls is None:
            raise ValueError("encryption by TLS needs a certificate")
        if self.connections_max < 1:
            raise ValueError("connections_max has to let at least one peer in")


def session_settings(options: EngineOptions, kind: Kind) -> Settings:
    """The settings of one session."""
    port = options.hot_port if kind is Kind.HOT else options.sealed_port
    return {
        "user_agent": "distd",
        "peer_fingerprint": options.tag.ljust(TAG_CHARACTERS, "-"),
        "disable_hash_checks": kind is Kind.HOT,  # there is nothing to check against: the hashes are filler
        "alert_queue_size": options.alert_queue_max,
        **_network(Endpoint(options.host, port), options.connections_max, tls=options.encryption == "tls"),
        **_encryption(options.encryption),
        **_behaviour(),
        **_throughput(),
    }


def _network(listen: Endpoint, connections_max: int, *, tls: bool) -> Settings:
    return {
        "listen_interfaces": _interfaces(listen, "s" if tls else ""),
        "max_retry_port_bind": 0,  # a taken port is an error, not a silent move to the next one
        "listen_system_port_fallback": False,
        "connections_limit": connections_max,
        # Members are known by the membership table alone: nothing announces or discovers.
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        # TCP only: uTP yields to any other traffic, which is not what a private network wants.
        "enable_incoming_utp": False,
        "enable_outgoing_utp": False,
        "mixed_mode_algorithm": 0,  # prefer_tcp: no throttling of TCP in favour of uTP
        "allow_multiple_connections_per_ip": True,  # members behind one address, and tests on loopback
    }


def _interfaces(listen: Endpoint, kind: str) -> str:
    """``kind`` "s": a TLS handshake, or nothing. The library's sockets of IPv6 do not hear IPv4: on all addresses it takes two."""
    both = [listen, Endpoint("0.0.0.0", listen.port)] if listen.host == "::" else [listen]
    return ",".join(f"{each}{kind}" for each in both)


def _encryption(mode: str) -> Settings:
    if mode == "tls":  # BitTorrent's own encryption would be a second one inside
        return {"in_enc_policy": _ALLOWED, "out_enc_policy": _ALLOWED, "allowed_enc_level": _PLAINTEXT}
    return {
        "in_enc_policy": _FORCED,
        "out_enc_policy": _FORCED,
        "allowed_enc_level": _RC4 if mode == "full" else _PLAINTEXT,
    }


def _behaviour() -> Settings:
    return {
        "unchoke_slots_limit": -1,  # members do not trade, they serve everyone
        # Else two members that want nothing of each other for the moment part, and come back only
        # after min_reconnect_time.
        "close_redundant_connections": False,
        "min_reconnect_time": 2,  # seconds: a member that restarted is wanted back at once
        "max_failcount": 10,  # whether a member is alive is the membership table's to say
        "peer_turnover": 0,  # percent: no exchange of slow connections for unknown ones
        "smooth_connects": False,  # connect now, not spread over the tick
        "no_recheck_incomplete_resume": True,  # any checking pass succeeds in the hot session: never start one
        "send_redundant_have": False,
        "suggest_mode": 0,
        "optimistic_disk_retry": 0,  # after a write error the pull decides, not a timer
    }


def _throughput() -> Settings:
    return {
        "send_socket_buffer_size": _SEND_BUFFER_BYTES,
        "recv_socket_buffer_size": _SOCKET_BUFFER_BYTES,
        # What is asked for and what is ready to send are queues that a piece waits in before it is passed on: a
        # second's worth of each, where the defaults made a piece reach everybody after 2 to 5 s instead of 1.
        "send_buffer_watermark": 4 << 20,
        "send_buffer_low_watermark": 128 << 10,
        "send_buffer_watermark_factor": 10,  # percent of a second's rate
        "request_queue_time": 1,  # seconds of a peer's rate asked ahead
        "max_out_request_queue": 500,  # blocks of 16 KiB: 8 MiB asked ahead of one peer
        "max_allowed_in_request_queue": 4000,
        "max_queued_disk_bytes": 64 << 20,
        # Milliseconds: decides how soon a new peer is unchoked, and how evenly a limit is handed out. With 200 the highest
        # second of a limit was 8 to 15 % above it, with 100 4 to 6 % (measured, 4 nodes at 100 Mbit/s).
        "tick_interval": 100,
        # The library charges each direction with headers for both, as if every packet were answered by one of its own: 5 % of a
        # limit that is then not used (measured). What headers take is `peers.throttle`'s to know.
        "rate_limit_ip_overhead": False,
        "connection_speed": 100,  # attempts per second: a mesh of tens forms within one
    }
