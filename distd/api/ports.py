"""What the API needs from the daemon. The composition root hands in the implementations.

Every method may raise a `DistdError`; the API turns it into problem+json by its code.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from distd.api.audit_schema import AuditView
from distd.api.event_schema import ServerEvent
from distd.api.figures import Figures
from distd.api.housekeeping_schema import AdoptView, GcView, ImportedView
from distd.api.node_schema import NodeModelsView, NodePinView, NodeRemovedView, NodeStatusView, WaitView
from distd.api.peer_schema import BanView, DrainView, NodeBanView, RecheckView
from distd.api.rate_schema import EstimateView, RateView
from distd.api.schema import (
    Finding,
    LimitsChange,
    LimitsView,
    ModelView,
    NodeHoldingView,
    PeerView,
    PlanView,
    PrefetchView,
    PullRequest,
    PullView,
    RemovedView,
    StatusView,
    StoryEntry,
    VerifyView,
)
from distd.config.sections import PrefetchEntry
from distd.core.pull import PullState
from distd.core.refs import Repo


class Pulls(Protocol):
    """Pulls as resources. Ids are opaque, sortable by creation."""

    async def submit(self, request: PullRequest) -> PullView:
        """Starts a pull, or returns the unfinished one with the same type, repo, revision and selection.

        Returns at once; the Hub is asked afterwards. Raises InvalidRequest.
        """

    def get(self, pull_id: str) -> PullView:
        """The pull as it is now, with its files. Raises NotFound."""

    def page(
        self, states: frozenset[PullState], after: str | None, limit: int
    ) -> tuple[list[PullView], str | None]:
        """Newest first, without files; `states` empty means all. Second: the cursor for the next page."""

    async def control(self, pull_id: str, verb: str) -> PullView:
        """`cancel`, `pause` or `resume`; idempotent. Raises NotFound, or Conflict when it has finished."""

    async def story(self, pull_id: str, after_seq: int, limit: int) -> list[StoryEntry]:
        """Events with `seq > after_seq`, oldest first. Raises NotFound."""

    async def plan(self, request: PullRequest) -> PlanView:
        """What `submit` would do, after asking the Hub. Changes nothing. Raises as a pull would fail."""

    async def estimate(self, request: PullRequest, links: Sequence[int]) -> EstimateView:
        """How long it would take, as measured and over links of these rates (bytes per second). Raises as `plan`."""


class Models(Protocol):
    """What the cache holds: published snapshots by repo."""

    async def page(self, after: str | None, limit: int) -> tuple[list[ModelView], str | None]:
        """In order of (type, repo)."""

    async def get(self, repo: Repo, use: str | None = None) -> ModelView:
        """`use`: the revision (commit or ref) that the caller is about to load; eviction hears of it. Raises NotFound."""

    async def on_nodes(self, repo: Repo, revision: str) -> list[NodeHoldingView]:
        """Which members have it published at a commit or ref, this node included, in order of their names.

        Asks them; bounded to a few seconds. A repo that nobody holds is no error.
        """

    async def remove(self, repo: Repo, revision: str | None) -> RemovedView:
        """Unpublishes one revision (commit or ref) or all, and frees blobs nobody else uses.

        Raises NotFound; Conflict while a pull of it is unfinished or when it is pinned.
        """

    async def verify(self, repo: Repo, revision: str | None) -> VerifyView:
        """Hashes every file anew. Takes size / SHA-256 rate. Raises NotFound."""

    async def pin(self, repo: Repo, revision: str | None, pinned: bool) -> ModelView:
        """Idempotent. Raises NotFound."""


class Housekeeping(Protocol):
    """The store's room."""

    async def gc(self, *, dry_run: bool, free_bytes: int) -> GcView:
        """Removes what nothing shows, and snapshots as quota, reserve and `free_bytes` demand. Raises StorageFailed."""


class Export(Protocol):
    """A file on its way out: its length is known before its content."""

    @property
    def name(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...

    @property
    def content(self) -> AsyncGenerator[bytes, None]: ...


class Archives(Protocol):
    """Snapshots as one file, for where no Hub is."""

    async def export(self, repo: Repo, revision: str) -> Export:
        """Raises NotFound. The content raises StorageFailed when a file cannot be read any more."""

    async def import_(self, chunks: AsyncIterator[bytes]) -> ImportedView:
        """Verified and published; nothing of the file's names is used as a path. Idempotent.

        Raises InvalidRequest, HashMismatch, NoSpace, StorageFailed.
        """


class Adoption(Protocol):
    async def adopt(self, path: str, *, may_copy: bool) -> AdoptView:
        """Takes over a cache on this machine, snapshot by snapshot; takes size / hash rate. Raises InvalidRequest."""


class LimitPort(Protocol):
    """Bandwidth limits of this node."""

    def view(self) -> LimitsView:
        """What holds now, where it comes from, and when it changes next."""

    async def change(self, change: LimitsChange) -> LimitsView:
        """Sets limits or takes settings back; in effect at once and kept over restarts. Raises InvalidRequest."""


class PrefetchPort(Protocol):
    """Repos that are kept present."""

    def list(self) -> Sequence[PrefetchView]:
        """All entries, in order of their ids."""

    async def add(self, entry: PrefetchEntry) -> PrefetchView:
        """Idempotent. Raises InvalidRequest, or Conflict when there are too many."""

    async def remove(self, id_: str) -> PrefetchView:
        """Raises NotFound, or Conflict for one that the configuration declares."""

    async def run(self, id_: str) -> PrefetchView:
        """Begins now, and answers at once. Raises NotFound."""


class Node(Protocol):
    """This node: how it stands, and whom it works with."""

    def status(self) -> StatusView:
        """Summary of this node, active pulls included."""

    async def rates(self, since: float, peer: str | None) -> list[RateView]:
        """Of each source, and by the hour since then (epoch seconds); of one member where it is named."""

    async def peers(self) -> list[PeerView]:
        """Every member of the cluster, this node included, in order of their names."""

    def unready_reasons(self) -> list[str]:
        """Empty when the daemon can serve; else one sentence a reason."""

    async def diagnose(self) -> list[Finding]:
        """Looks at what commonly goes wrong: Hub, disk, directories, clock. Bounded to a few seconds."""


class Nodes(Protocol):
    """This node's answers, and those of others, to one request: a row for each node meant, with its error where it has one.

    `nodes` are names, `all` among them means everybody that has not left; with a `zone` only its members. All raise
    InvalidRequest for a name or zone that nobody has, and take bounded time.
    """

    async def status(self, nodes: Collection[str], zone: str | None) -> list[NodeStatusView]: ...

    async def models(self, nodes: Collection[str], zone: str | None) -> list[NodeModelsView]: ...

    async def remove(
        self, nodes: Collection[str], zone: str | None, repo: Repo, revision: str | None
    ) -> list[NodeRemovedView]:
        """As `Models.remove` on each."""

    async def pin(
        self, nodes: Collection[str], zone: str | None, repo: Repo, revision: str | None, pinned: bool
    ) -> list[NodePinView]:
        """As `Models.pin` on each."""

    async def ban(
        self, nodes: Collection[str], zone: str | None, member: str, reason: str
    ) -> list[NodeBanView]:
        """As `Peering.ban` on each but the member itself."""

    async def unban(self, nodes: Collection[str], zone: str | None, member: str) -> list[NodeBanView]:
        """As `Peering.unban` on each but the member itself."""

    async def drain(self, name: str, wanted: bool | None) -> DrainView:
        """As `Draining` does on that node; `wanted` null: how it stands. Raises NotFound for a name that nobody
        has, ElsewhereRefused."""


class Draining(Protocol):
    """This node on its way out of service."""

    def view(self) -> DrainView: ...

    async def drain(self, by: str) -> DrainView:
        """Idempotent. Raises Conflict where nobody could take over."""

    async def undrain(self, by: str) -> DrainView:
        """Idempotent."""


class Waits(Protocol):
    """Waiting for others' work, held open."""

    async def published(
        self, repo: Repo, revision: str, nodes: Collection[str], zone: str | None, timeout_s: float
    ) -> WaitView:
        """Returns once every member meant has it, at once where they have. No `nodes` and no `zone`: this node.

        Raises TimedOut naming who lacks it, InvalidRequest for a name or zone that nobody has, Conflict when too many wait.
        """


class Audit(Protocol):
    """Who changed what."""

    async def note(self, deed: str, subject: str, outcome: str, detail: str) -> None:
        """Writes down what the present actor did or was refused; never fails."""

    async def page(
        self, after: str | None, limit: int, *, since: float, deed: str, text: str
    ) -> tuple[list[AuditView], str | None]:
        """Newest first. `deed` empty: all; `text`: within actor or subject."""


class Peering(Protocol):
    """This node's say over its cluster. `by` is on whose behalf."""

    def bans(self) -> Sequence[BanView]:
        """In order of the members' names."""

    async def ban(self, member: str, reason: str, by: str) -> BanView:
        """At once, kept over restarts. Idempotent: the first reason stays. Raises NotFound, InvalidRequest, Conflict."""

    async def unban(self, member: str, by: str) -> None:
        """Idempotent. Raises NotFound for a member that nobody knows."""

    async def recheck(self, member: str, by: str) -> RecheckView:
        """Asks a member banned on evidence again, and lets it back when it is well. Raises NotFound, Conflict."""

    async def forget(self, member: str, by: str) -> None:
        """Everybody drops a dead member from its list. Raises NotFound, or Conflict while it is there."""


class Monitoring(Protocol):
    def figures(self) -> Figures:
        """What monitoring is told at this moment. Quick: it is asked for on the event loop, every few seconds."""


class Listener(Protocol):
    """A client's place among the events. Iterating waits for the next; it ends when closed, or when none can follow."""

    def __aiter__(self) -> AsyncIterator[ServerEvent]: ...

    def close(self) -> None:
        """To be called by whoever got it; also ends an iteration that waits. Idempotent."""


class Events(Protocol):
    """What changes in pulls."""

    def listen(self, pull_id: str | None, last_event_id: str | None) -> Listener | None:
        """Of one pull or of all, after the event that the client had last, or from a `reset` where that is not possible.

        None when the client knows the end of that pull. Raises NotFound.
        """


@dataclass(frozen=True, slots=True)
class Ports:
    """All of them, as the daemon hands them in."""

    pulls: Pulls
    models: Models
    node: Node
    limits: LimitPort
    prefetch: PrefetchPort
    monitoring: Monitoring
    nodes: Nodes
    housekeeping: Housekeeping
    peering: Peering
    archives: Archives
    audit: Audit
    adoption: Adoption
    waits: Waits
    events: Events
