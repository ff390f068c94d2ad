"""The configuration's sections and keys, with the one place where each default stands.

`config.toml` at the top of the repository is these defaults, commented; a test holds the two equal.
Values are already what the program uses: bytes, bytes per second and seconds, parsed at the border
by `load.py`. A limit of 0 means none.
"""

from __future__ import annotations

import socket
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from distd.config.kinds import Duration, Endpoint, Listen, Rate, RateOrUsual, Size, TimeOfDay, TimeZone
from distd.core.refs import RepoType

WIRE_VERSION = 1
"""The words between members, as `peers.metainfo` numbers them; a test holds the two equal."""


class NodeSection(Struct, frozen=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1, max_length=255)] = field(default_factory=socket.gethostname)
    zone: str = ""
    state_dir: str = "/var/lib/distd"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "text", "json", "journal"] = "auto"


class HubSection(Struct, frozen=True, kw_only=True):
    endpoint: Endpoint = "https://huggingface.co"
    token_file: str = ""
    fetch: bool = True
    connections: Annotated[int, Meta(ge=1, le=64)] = 8
    ca_file: str = ""
    source: Literal["auto", "bridge", "xet"] = "auto"
    give_up_after: Duration = 60.0


class CacheSection(Struct, frozen=True, kw_only=True):
    hub_dir: str = ""
    store_dir: str = ""
    max_bytes: Size = 0
    min_free_bytes: Size = 1_000_000_000
    scrub_interval: Duration = 0.0


class ApiSection(Struct, frozen=True, kw_only=True):
    listen: Listen = "127.0.0.1:7070"
    socket: str = ""
    token_file: str = ""


class MirrorSection(Struct, frozen=True, kw_only=True):
    listen: Listen = ""


class ClusterSection(Struct, frozen=True, kw_only=True):
    name: str = ""
    listen: Listen = "127.0.0.1:7071"
    advertise: Listen = ""
    join: tuple[str, ...] = ()
    secret_file: str = ""
    tls_cert_file: str = ""
    tls_key_file: str = ""
    tls_ca_file: str = ""
    tls_crl_file: str = ""
    allow: tuple[str, ...] = ()
    gated: Literal["shared", "own_access"] = "shared"
    wire_version: Annotated[int, Meta(ge=WIRE_VERSION - 1, le=WIRE_VERSION)] = WIRE_VERSION


class SwarmSection(Struct, frozen=True, kw_only=True):
    listen: Listen = "127.0.0.1:7072"
    advertise: Listen = ""
    encryption: Literal["handshake", "full", "tls"] = "handshake"
    max_connections: Annotated[int, Meta(ge=1, le=10_000)] = 200


class LimitWindow(Struct, frozen=True, kw_only=True, rename={"from_time": "from"}):
    """A limit that is left out (None) stays as it is outside of the window."""

    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = ()
    from_time: TimeOfDay = "00:00"
    to: TimeOfDay = "24:00"
    tz: TimeZone = "UTC"
    hub_down: RateOrUsual = None
    hub_down_cluster: RateOrUsual = None
    peer_up: RateOrUsual = None
    peer_down: RateOrUsual = None


class LimitsSection(Struct, frozen=True, kw_only=True):
    hub_down: Rate = 0
    hub_down_cluster: Rate = 0
    peer_up: Rate = 0
    peer_down: Rate = 0
    window: tuple[LimitWindow, ...] = ()


class PrefetchEntry(Struct, frozen=True, kw_only=True):
    repo: str
    type: RepoType = "model"
    revision: str = "main"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    weights: Literal["auto", "all", "safetensors", "gguf", "bin", "pth"] = "auto"
    schedule: str = ""
    pin: bool = False
    zone: str = ""


class Config(Struct, frozen=True, kw_only=True):
    """Everything an operator can set. Directories left empty are derived by `resolved_dirs`."""

    node: NodeSection = NodeSection()
    hub: HubSection = HubSection()
    cache: CacheSection = CacheSection()
    api: ApiSection = ApiSection()
    mirror: MirrorSection = MirrorSection()
    cluster: ClusterSection = ClusterSection()
    swarm: SwarmSection = SwarmSection()
    limits: LimitsSection = LimitsSection()
    prefetch: tuple[PrefetchEntry, ...] = ()

    @property
    def hub_dir(self) -> str:
        """The Hugging Face cache this node fills."""
        return self.cache.hub_dir or f"{self.node.state_dir.rstrip('/')}/hub"

    @property
    def is_member(self) -> bool:
        """Whether this daemon takes part in a cluster: it names one, somebody to join, a secret or a certificate."""
        cluster = self.cluster
        return bool(cluster.name or cluster.join or cluster.secret_file or cluster.tls_cert_file)

    @property
    def store_dir(self) -> str:
        """Verified and incoming content; on the same filesystem as `hub_dir`."""
        return self.cache.store_dir or f"{self.node.state_dir.rstrip('/')}/store"
