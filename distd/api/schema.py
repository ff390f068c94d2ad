"""The JSON that the REST API speaks, as types: they validate what comes in and phrase what goes out.

Names are the contract's. Sizes are bytes, rates bytes per second, times seconds; moments are RFC 3339
in UTC. `null` means unknown, never a guess.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, structs

from distd.api.housekeeping_schema import ScrubView
from distd.config.sections import PrefetchEntry
from distd.core.draining import DrainState
from distd.core.limits import LimitKey
from distd.core.pull import PullState
from distd.core.refs import RepoType
from distd.core.selection import Weights

FileState = Literal["waiting", "downloading", "verifying", "verified", "failed"]

PATTERNS_MAX = 100
"""Globs in one request. People write a handful; the bound keeps matching a large manifest cheap."""
Glob = Annotated[str, Meta(min_length=1, max_length=1000)]
Globs = Annotated[tuple[Glob, ...], Meta(max_length=PATTERNS_MAX)]


class PullRequest(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Body of `POST /v1/pulls`. `weights` null: `auto`, or `all` when `include` is given."""

    repo: Annotated[str, Meta(min_length=1, max_length=200)]
    type: RepoType = "model"
    revision: Annotated[str, Meta(min_length=1, max_length=250)] = "main"
    include: Globs = ()
    exclude: Globs = ()
    weights: Weights | None = None
    priority: Annotated[int, Meta(ge=-100, le=100)] = 0
    nodes: tuple[str, ...] = ()
    zone: str | None = None
    at: str | None = None
    pin: bool = False


class ErrorView(Struct, frozen=True):
    code: str
    title: str
    detail: str
    retryable: bool


class FileView(Struct, frozen=True):
    path: str
    size: int
    etag: str
    state: FileState
    bytes_done: int


class NodePullView(Struct, frozen=True):
    """One node of a pull on several: that node's own pull. `stalled_reason` also tells that it gives no answer."""

    name: str
    pull_id: str | None
    state: PullState
    bytes_done: int
    eta_s: float | None
    error: ErrorView | None
    bytes_total: int | None = None
    bytes_from_hub: int = 0
    bytes_from_peers: int = 0
    bytes_reused: int = 0
    rate_bytes_per_s: float = 0.0
    rate_hub_bytes_per_s: float = 0.0
    rate_peers_bytes_per_s: float = 0.0
    stalled_reason: str | None = None
    snapshot_path: str | None = None
    eta_low_s: float | None = None
    eta_high_s: float | None = None
    limited_by: str | None = None


class PullView(Struct, frozen=True, kw_only=True):
    """A pull. `bytes_from_hub + bytes_from_peers + bytes_reused = bytes_done`, accepted bytes by source.

    On several nodes: bytes, rates, files and path are this node's own, the rest is the whole's.
    """

    id: str
    repo: str
    type: RepoType
    revision: str
    commit: str | None
    state: PullState
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    weights: Weights | None = None
    priority: int = 0
    pin: bool = False
    bytes_total: int | None
    bytes_done: int
    bytes_from_hub: int
    bytes_from_peers: int
    bytes_reused: int
    files_total: int | None
    files_done: int | None
    rate_bytes_per_s: float
    rate_hub_bytes_per_s: float
    rate_peers_bytes_per_s: float
    eta_s: float | None
    eta_low_s: float | None
    eta_high_s: float | None
    limited_by: str | None = None
    stalled_reason: str | None
    files: tuple[FileView, ...] = ()
    error: ErrorView | None
    snapshot_path: str | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    nodes: tuple[NodePullView, ...] = ()


class StoryEntry(Struct, frozen=True):
    """One event of a pull. `event` is a stable word, `text` a sentence for people."""

    seq: int
    time: str
    event: str
    text: str


class LeftOutFile(Struct, frozen=True):
    path: str
    size: int
    reason: str


class PlannedFile(Struct, frozen=True):
    path: str
    size: int
    etag: str
    bytes_held: int


class DiskView(Struct, frozen=True):
    """Disk of the store. `free_bytes_after` may be negative: that is why the pull does not fit."""

    path: str
    free_bytes: int
    free_bytes_after: int
    reserve_bytes: int
    fits: bool
    evicts_bytes: int = 0
    """What would be evicted for it; counted in `free_bytes_after`."""


class PlanView(Struct, frozen=True, kw_only=True):
    """What a pull would do. `bytes_total = bytes_reused + bytes_from_peers + bytes_from_hub`."""

    repo: str
    type: RepoType
    revision: str
    commit: str
    weights: Weights
    files: tuple[PlannedFile, ...]
    left_out: tuple[LeftOutFile, ...]
    bytes_total: int
    bytes_reused: int
    bytes_from_peers: int
    bytes_from_hub: int
    bytes_left_out: int
    disk: DiskView
    eta_s: float | None
    eta_low_s: float | None
    eta_high_s: float | None
    limited_by: str | None = None
    unknown_reason: str | None = None


class RevisionView(Struct, frozen=True, kw_only=True):
    """A published snapshot. `complete` false: a selection of the repo's files; serve it by path."""

    commit: str
    refs: tuple[str, ...]
    complete: bool
    pinned: bool
    files: int
    bytes: int
    snapshot_path: str
    published_at: str
    last_used_at: str | None


class ModelView(Struct, frozen=True):
    """A repo with published snapshots. `bytes` counts a blob once however many revisions share it."""

    type: RepoType
    repo: str
    bytes: int
    revisions: tuple[RevisionView, ...]


class NodeHoldingView(Struct, frozen=True):
    """Whether one member has a repo published at a revision. `trouble`: why it could not be asked."""

    name: str
    state: Literal["alive", "suspect", "dead", "left"]
    commit: str | None
    complete: bool | None
    trouble: str | None = None


class RemovedView(Struct, frozen=True):
    removed: tuple[str, ...]
    freed_bytes: int


class BadFile(Struct, frozen=True):
    commit: str
    path: str
    expected: str
    actual: str


class VerifyView(Struct, frozen=True):
    """`bad` empty: every file has its hash. A bad file is taken out of the store; pulling fetches it again."""

    type: RepoType
    repo: str
    revisions: tuple[str, ...]
    files: int
    bytes: int
    bad: tuple[BadFile, ...]


class ClusterView(Struct, frozen=True):
    name: str
    members: int
    reachable: int


class CacheView(Struct, frozen=True):
    hub_dir: str
    store_dir: str
    bytes: int
    free_bytes: int
    max_bytes: int
    scrub: ScrubView | None = None


class RatesView(Struct, frozen=True):
    hub_bytes_per_s: float
    peers_bytes_per_s: float


class FlowView(Struct, frozen=True):
    """What moved between this node and a member, as in `PeerView`: a hint, added up from samples."""

    peer: str
    receive_rate_bytes_per_s: float
    send_rate_bytes_per_s: float
    received_bytes: int
    sent_bytes: int


class StatusView(Struct, frozen=True, kw_only=True):
    """`flows`: members that anything moved between, in order of their names."""

    node: str
    version: str
    uptime_s: float
    ready: bool
    hub_endpoint: str
    cluster: ClusterView
    cache: CacheView
    rates: RatesView
    active_pulls: tuple[PullView, ...]
    flows: tuple[FlowView, ...] = ()
    service: DrainState = "in_service"


class PeerAddresses(Struct, frozen=True):
    """`host:port` each, as the member tells them: the cluster's API, and BitTorrent's two sessions."""

    cluster: str
    hot: str
    sealed: str


class PeerView(Struct, frozen=True, kw_only=True):
    """A member of the cluster, as this node knows it.

    What needs own contact is null without it; for this node itself it is 0. Rates and bytes are payload
    between that member and this node, as BitTorrent's connections name their owner: hints, not accounts.
    """

    name: str
    zone: str
    state: Literal["alive", "suspect", "dead", "left"]
    is_self: bool
    addresses: PeerAddresses
    wire_version: int
    fetches_hub: bool
    rtt_s: float | None
    seen_at: str | None
    clock_skew_s: float | None
    trouble: str | None
    receive_rate_bytes_per_s: float
    send_rate_bytes_per_s: float
    received_bytes: int
    sent_bytes: int
    ban: str | None = None
    draining: bool = False


LimitToSet = Annotated[int, Meta(ge=0, le=10**15)] | None | UnsetType


class LimitsChange(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `PUT /v1/limits`. Absent: as before; null: what the configuration says again; 0: no limit.

    `for_s` is how long what is set here holds; null: for good, restarts included.
    """

    hub_down: LimitToSet = UNSET
    hub_down_cluster: LimitToSet = UNSET
    peer_up: LimitToSet = UNSET
    peer_down: LimitToSet = UNSET
    for_s: Annotated[float, Meta(gt=0, le=31_536_000)] | None = None


class LimitsInForce(Struct, frozen=True):
    """Bytes per second, 0 no limit."""

    hub_down: int
    hub_down_cluster: int
    peer_up: int
    peer_down: int


class LimitWindowView(Struct, frozen=True, kw_only=True, rename={"from_time": "from"}):
    """As configured; a limit that is null stays as it is outside. `holds`: it is the one in force now."""

    days: tuple[str, ...]
    from_time: str
    to: str
    tz: str
    hub_down: int | None
    hub_down_cluster: int | None
    peer_up: int | None
    peer_down: int | None
    holds: bool


class SetLimitView(Struct, frozen=True):
    rate_bytes_per_s: int
    until: str | None


class LimitsView(Struct, frozen=True, kw_only=True):
    """Limits of this node. `sources`: `set`, `window N` (as in `windows`, from 0) or `limits`.

    `hub_down_cluster_lowest` is what binds the cluster, the lowest among live members; `hub_down_now` what this node may
    take of it, or by its own `hub_down`, at this moment. 0: no limit. `next_change_at` null: not within a week.
    """

    in_force: LimitsInForce
    sources: dict[LimitKey, str]
    configured: LimitsInForce
    windows: tuple[LimitWindowView, ...]
    set: dict[LimitKey, SetLimitView]
    next_change_at: str | None
    hub_down_cluster_lowest: int
    hub_down_now: int


class PrefetchRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/prefetch`. `schedule` as in cron, in UTC; empty: keep present, following a branch."""

    repo: Annotated[str, Meta(min_length=1, max_length=200)]
    type: RepoType = "model"
    revision: Annotated[str, Meta(min_length=1, max_length=250)] = "main"
    include: Globs = ()
    exclude: Globs = ()
    weights: Weights = "auto"
    schedule: Annotated[str, Meta(max_length=200)] = ""
    pin: bool = False
    zone: Annotated[str, Meta(max_length=255)] = ""

    def entry(self) -> PrefetchEntry:
        return PrefetchEntry(**structs.asdict(self))


class PrefetchView(Struct, frozen=True, kw_only=True):
    """An entry: what is kept, what came of the last run, when and why the next one comes.

    `declared`: by the configuration, else added at run time. `next_run_at` null: never again.
    """

    id: str
    repo: str
    type: RepoType
    revision: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    weights: Weights
    schedule: str
    pin: bool
    zone: str
    declared: bool
    running: bool
    last_run_at: str | None
    last_outcome: Literal["complete", "failed", "cancelled"] | None
    last_detail: str
    last_commit: str | None
    last_pull_id: str | None
    next_run_at: str | None
    why: str


class Page(Struct, frozen=True):
    """A list answer. `next` is the cursor of the following page, null on the last."""

    items: list[Any]
    next: str | None


class Finding(Struct, frozen=True):
    """One thing the daemon looked at in itself. `fix` says what to do; empty when `outcome` is ok."""

    name: str
    outcome: Literal["ok", "warn", "fail"]
    detail: str
    fix: str = ""


class ProblemView(Struct, frozen=True):
    """RFC 9457 problem details with the contract's stable `code`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool = False
