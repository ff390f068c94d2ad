"""The API's ports kept in memory: a daemon without network and disk, which a test drives by hand.

Pulls move only when a test calls `advance`; what the ports promise (idempotent submits, NotFound,
Conflict, pages, cursors) holds as in the real daemon.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from msgspec import structs

from distd import __version__
from distd.api.figures import Figures
from distd.api.housekeeping_schema import AdoptedView, AdoptView, EvictedView, GcView, ImportedView, KeptView
from distd.api.ports import Ports
from distd.api.rate_schema import EstimateView, RateHourView, RateView
from distd.api.schema import (
    BadFile,
    CacheView,
    ClusterView,
    DiskView,
    ErrorView,
    FileView,
    Finding,
    ModelView,
    NodeHoldingView,
    PeerAddresses,
    PeerView,
    PlannedFile,
    PlanView,
    PullRequest,
    PullState,
    PullView,
    RatesView,
    RemovedView,
    RevisionView,
    StatusView,
    StoryEntry,
    VerifyView,
)
from distd.api.server import build_app
from distd.audit import AuditService
from distd.config.sections import LimitsSection, LimitWindow, PrefetchEntry
from distd.core.audience import Node
from distd.core.bans import Ban
from distd.core.event_log import EventLog
from distd.core.limits import LimitKey, Override
from distd.core.prefetch import Record
from distd.core.refs import Repo, parse_ref
from distd.core.tally import Tally
from distd.draining import DrainRecord, DrainService
from distd.errors import Conflict, DistdError, InvalidRequest, NotFound, RepoNotFound, StorageFailed
from distd.limits import LimitService, LoneBandwidth
from distd.nodes.operations import NodeOperations
from distd.nodes.own import LoneMember, OwnAnswers
from distd.nodes.waiting import WaitService
from distd.pacing import Pacer
from distd.peering import PeeringService
from distd.prefetch import Nobody, PrefetchService
from distd.pulls.changes import PullChanges
from distd.pulls.estimating import estimate_view
from distd.state.audit import AuditEntry

COMMIT = "c0ffee" + "0" * 34
MOMENT = "2026-01-02T03:04:05Z"
FINISHED = ("complete", "failed", "cancelled")
HUB_DIR = "/var/lib/distd/hub"


class MemoryPulls:
    """`repos` maps the repos that the Hub would know to their files and sizes.

    `on_submit` runs for each new pull, so that a test decides how it goes on. `refusal`, where a test sets it, is
    what comes of a submit or of asking the Hub.
    """

    def __init__(self, repos: dict[str, dict[str, int]]) -> None:
        self.repos = repos
        self.pulls: dict[str, PullView] = {}
        self.requests: list[PullRequest] = []
        self.on_submit: Callable[[PullView], object] = lambda pull: None
        self.changed: Callable[[str], None] = lambda pull_id: None
        self._stories: dict[str, list[StoryEntry]] = {}
        self._by_request: dict[PullRequest, str] = {}
        self.refusal: DistdError | None = None

    async def submit(self, request: PullRequest) -> PullView:
        if self.refusal:
            raise self.refusal
        ref = parse_ref(request.repo, request.type, request.revision)
        self.requests.append(request)
        known = self._by_request.get(request)
        if known is not None and self.pulls[known].state not in FINISHED:
            return self.pulls[known]
        pull = _new_pull(f"p{len(self.pulls) + 1:04d}", request, ref.repo)
        self._by_request[request] = pull.id
        self.pulls[pull.id] = pull
        self._stories[pull.id] = [StoryEntry(1, MOMENT, "submitted", f"asked for {ref}")]
        self.on_submit(pull)
        return self.pulls[pull.id]

    def advance(self, pull_id: str, **changes: Any) -> PullView:
        """Replaces fields of a pull and writes its story."""
        before = self.pulls[pull_id].state
        pull = structs.replace(self.pulls[pull_id], **changes)
        self.pulls[pull_id] = pull
        if pull.state != before:
            self.changed(pull_id)
        story = self._stories[pull_id]
        story.append(StoryEntry(len(story) + 1, MOMENT, "changed", f"now {pull.state}"))
        return pull

    def download(self, pull_id: str, share: float) -> PullView:
        """Moves a pull to `downloading` with this share of each file done, nine tenths of it from the Hub."""
        files = tuple(
            FileView(path, size, "e" * 64, "verified" if share == 1 else "downloading", int(size * share))
            for path, size in self.repos[self.pulls[pull_id].repo].items()
        )
        done, total = sum(f.bytes_done for f in files), sum(f.size for f in files)
        return self.advance(
            pull_id,
            state="downloading",
            commit=COMMIT,
            files=files,
            files_total=len(files),
            files_done=sum(f.state == "verified" for f in files),
            bytes_total=total,
            bytes_done=done,
            bytes_from_hub=done - done // 10,
            bytes_from_peers=done // 10,
            rate_bytes_per_s=1.42e9,
            rate_hub_bytes_per_s=1.31e9,
            rate_peers_bytes_per_s=0.11e9,
            eta_s=88.0,
            started_at=MOMENT,
        )

    def complete(self, pull_id: str) -> PullView:
        repo = Repo(self.pulls[pull_id].type, self.pulls[pull_id].repo)
        self.download(pull_id, 1)
        return self.advance(
            pull_id,
            state="complete",
            rate_bytes_per_s=0.0,
            rate_hub_bytes_per_s=0.0,
            rate_peers_bytes_per_s=0.0,
            eta_s=None,
            snapshot_path=snapshot_path(repo),
            finished_at="2026-01-02T03:05:45Z",
        )

    def fail(self, pull_id: str, error: DistdError) -> PullView:
        p = error.problem()
        view = ErrorView(p.code, p.title, p.detail, p.retryable)
        return self.advance(pull_id, state="failed", error=view, finished_at="2026-01-02T03:05:45Z")

    def get(self, pull_id: str) -> PullView:
        if pull_id not in self.pulls:
            raise NotFound(f"no pull {pull_id}")
        return self.pulls[pull_id]

    def brief(self, pull_id: str) -> PullView:
        return structs.replace(self.get(pull_id), files=())

    def state_of(self, pull_id: str) -> PullState | None:
        return self.pulls[pull_id].state if pull_id in self.pulls else None

    def watched_views(self) -> list[PullView]:
        return [self.brief(pull.id) for pull in self.pulls.values() if pull.state not in FINISHED]

    def page(
        self, states: frozenset[PullState], after: str | None, limit: int
    ) -> tuple[list[PullView], str | None]:
        found = [
            structs.replace(pull, files=())
            for id_, pull in sorted(self.pulls.items(), reverse=True)
            if (not states or pull.state in states) and (after is None or id_ < after)
        ]
        return found[:limit], found[limit - 1].id if len(found) > limit else None

    async def control(self, pull_id: str, verb: str) -> PullView:
        pull = self.get(pull_id)
        if pull.state in FINISHED and not (verb == "cancel" and pull.state == "cancelled"):
            raise Conflict(f"pull {pull_id} is {pull.state}")
        return self.advance(
            pull_id, state={"cancel": "cancelled", "pause": "paused", "resume": "downloading"}[verb]
        )

    async def story(self, pull_id: str, after_seq: int, limit: int) -> list[StoryEntry]:
        self.get(pull_id)
        return [entry for entry in self._stories[pull_id] if entry.seq > after_seq][:limit]

    async def plan(self, request: PullRequest) -> PlanView:
        if self.refusal:
            raise self.refusal
        ref = parse_ref(request.repo, request.type, request.revision)
        if ref.repo.id not in self.repos:
            raise RepoNotFound(ref.repo.id, "https://huggingface.co", False)
        files = tuple(PlannedFile(path, size, "e" * 64, 0) for path, size in self.repos[ref.repo.id].items())
        total = sum(file.size for file in files)
        return PlanView(
            repo=ref.repo.id,
            type=ref.repo.type,
            revision=ref.revision,
            commit=COMMIT,
            weights=request.weights or "auto",
            files=files,
            left_out=(),
            bytes_total=total,
            bytes_reused=0,
            bytes_from_peers=0,
            bytes_from_hub=total,
            bytes_left_out=0,
            disk=DiskView("/var/lib/distd", 10**12, 10**12 - total, 10**10, True),
            eta_s=60.0,
            eta_low_s=50.0,
            eta_high_s=90.0,
            limited_by="hub",
        )

    async def estimate(self, request: PullRequest, links: Sequence[int]) -> EstimateView:
        return estimate_view(await self.plan(request), links)


class MemoryModels:
    """Repos held; `hold` adds one with a single complete revision."""

    def __init__(self) -> None:
        self.models: dict[Repo, ModelView] = {}
        self.elsewhere: list[NodeHoldingView] = []
        self.bad: tuple[BadFile, ...] = ()
        self.used: list[tuple[Repo, str]] = []

    def hold(self, repo: Repo, size_bytes: int = 1000, commit: str = COMMIT) -> None:
        revision = RevisionView(
            commit=commit,
            refs=("main",),
            complete=True,
            pinned=False,
            files=2,
            bytes=size_bytes,
            snapshot_path=snapshot_path(repo),
            published_at=MOMENT,
            last_used_at=None,
        )
        self.models[repo] = ModelView(repo.type, repo.id, size_bytes, (revision,))

    async def page(self, after: str | None, limit: int) -> tuple[list[ModelView], str | None]:
        found = [
            (f"{repo.type}/{repo.id}", self.models[repo])
            for repo in sorted(self.models)
            if after is None or f"{repo.type}/{repo.id}" > after
        ]
        page = found[:limit]
        return [model for _, model in page], page[-1][0] if len(found) > limit else None

    async def get(self, repo: Repo, use: str | None = None) -> ModelView:
        self.used += [(repo, use)] if use else []
        return self._get(repo)

    def _get(self, repo: Repo) -> ModelView:
        if repo not in self.models:
            raise NotFound(f"{repo} is not in this node's cache")
        return self.models[repo]

    async def on_nodes(self, repo: Repo, revision: str) -> list[NodeHoldingView]:
        held = self.models.get(repo)
        commits = [r.commit for r in held.revisions if revision in (r.commit, *r.refs)] if held else []
        own = NodeHoldingView("gpu-01", "alive", commits[0] if commits else None, True if commits else None)
        return [own, *self.elsewhere]

    async def remove(self, repo: Repo, revision: str | None) -> RemovedView:
        model = self._get(repo)
        if any(held.pinned for held in model.revisions):
            raise Conflict(f"{repo} is pinned: distctl unpin {repo} first")
        self._check(model, revision)
        del self.models[repo]
        return RemovedView(tuple(held.commit for held in model.revisions), model.bytes)

    async def verify(self, repo: Repo, revision: str | None) -> VerifyView:
        model = self._get(repo)
        self._check(model, revision)
        commits = tuple(held.commit for held in model.revisions)
        return VerifyView(repo.type, repo.id, commits, 2, model.bytes, self.bad)

    async def pin(self, repo: Repo, revision: str | None, pinned: bool) -> ModelView:
        model = self._get(repo)
        self._check(model, revision)
        revisions = tuple(structs.replace(held, pinned=pinned) for held in model.revisions)
        self.models[repo] = structs.replace(model, revisions=revisions)
        return self.models[repo]

    def _check(self, model: ModelView, revision: str | None) -> None:
        if revision is not None and not any(revision in (r.commit, *r.refs) for r in model.revisions):
            raise NotFound(f"{model.repo} is not held at {revision}")


class MemoryNode:
    def __init__(self, pulls: MemoryPulls) -> None:
        self.unready: list[str] = []
        self.findings: list[Finding] = [Finding("hub", "ok", "https://huggingface.co answered in 80 ms")]
        self.version = __version__
        self.others: list[PeerView] = []
        self._pulls = pulls

    def status(self) -> StatusView:
        active = tuple(pull for pull in self._pulls.pulls.values() if pull.state not in FINISHED)
        return StatusView(
            node="gpu-01",
            version=self.version,
            uptime_s=3700.0,
            ready=not self.unready,
            hub_endpoint="https://huggingface.co",
            cluster=ClusterView(
                "", 1 + len(self.others), 1 + sum(peer.state == "alive" for peer in self.others)
            ),
            cache=CacheView(HUB_DIR, "/var/lib/distd/store", 5 * 10**9, 10**12, 0),
            rates=RatesView(1.31e9, 0.11e9),
            active_pulls=active,
        )

    async def rates(self, since: float, peer: str | None) -> list[RateView]:
        hour = RateHourView("2026-01-02T03:00:00.000Z", 4 * 10**12, 3200.0, 1.25e9)
        known = [
            RateView("hub", None, 1.4e9, 1.31e9, 1.2e9, (hour,)),
            RateView("peer", "gpu-02", 0.0, 0.0, 0.0, ()),
        ]
        return [each for each in known if peer in (None, each.peer)]

    async def peers(self) -> list[PeerView]:
        return sorted([peer("gpu-01", is_self=True), *self.others], key=lambda each: each.name)

    def unready_reasons(self) -> list[str]:
        return list(self.unready)

    async def diagnose(self) -> list[Finding]:
        return self.findings


class MemoryPrefetchTable:
    """Prefetch entries without a database."""

    def __init__(self) -> None:
        self.saved: dict[str, tuple[PrefetchEntry | None, Record]] = {}

    async def load(self) -> dict[str, tuple[PrefetchEntry | None, Record]]:
        return dict(self.saved)

    async def save(self, id_: str, entry: PrefetchEntry | None, record: Record) -> None:
        self.saved[id_] = entry, record

    async def delete(self, id_: str) -> None:
        self.saved.pop(id_, None)


MONDAY = 1_772_442_000.0
"""2 March 2026, 09:00 UTC."""


class MemoryLimitTable:
    """What was set at run time, without a database."""

    def __init__(self) -> None:
        self.saved: dict[LimitKey, Override] = {}

    async def load(self) -> dict[LimitKey, Override]:
        return dict(self.saved)

    async def save(self, overrides: Mapping[LimitKey, Override]) -> None:
        self.saved = dict(overrides)


class MemoryHousekeeping:
    """Has one snapshot to evict, of 1,000 bytes; asks for more than that are not met."""

    def __init__(self) -> None:
        self.asked: list[tuple[bool, int]] = []

    async def gc(self, *, dry_run: bool, free_bytes: int) -> GcView:
        self.asked.append((dry_run, free_bytes))
        return GcView(
            dry_run=dry_run,
            freed_bytes=1000,
            enough=free_bytes <= 1000,
            evicted=(EvictedView("model", "acme/old", COMMIT, 1000, None),),
            unpublished_blobs=1,
            unpublished_bytes=500,
            parts=0,
            kept=(KeptView("model", "acme/tiny", COMMIT, 2000, "pinned"),),
            reads_known=True,
        )


@dataclass(frozen=True)
class MemoryExport:
    name: str
    size_bytes: int
    content: AsyncGenerator[bytes, None]


class MemoryArchives:
    """An export is the repo's name, a thousand times; `breaks`, where a test sets it, ends it in the middle. Imports are kept whole.

    `refusal`, where a test sets it, is what comes of an import."""

    def __init__(self, models: MemoryModels) -> None:
        self.models = models
        self.breaks: Exception | None = None
        self.refusal: DistdError | None = None
        self.imported: list[bytes] = []

    async def export(self, repo: Repo, revision: str) -> MemoryExport:
        await self.models.get(repo)
        return MemoryExport(f"{repo.folder}.tar", 1000 * len(repo.id), self._content(repo.id.encode()))

    async def _content(self, word: bytes) -> AsyncGenerator[bytes, None]:
        for number in range(1000):
            if self.breaks and number == 500:
                raise self.breaks
            yield word

    async def import_(self, chunks: AsyncIterator[bytes]) -> ImportedView:
        if self.refusal:
            raise self.refusal
        content = b""
        async for chunk in chunks:
            content += chunk
            if content.startswith(b"not a tar"):
                raise InvalidRequest("the file is not an export of distd")
        self.imported.append(content)
        return ImportedView("model", "acme/new", COMMIT, ("main",), 2, len(content), 0, "/hub/snapshots/c")


class MemoryAdoption:
    """Finds one snapshot of one file, which has to be copied."""

    async def adopt(self, path: str, *, may_copy: bool) -> AdoptView:
        taken = AdoptedView("model", "acme/tiny", COMMIT, ("main",), 1, bytes_copied=1000)
        left = AdoptedView("model", "acme/tiny", COMMIT, bytes_not_taken=1000, reason="another file system")
        return AdoptView(path, (taken if may_copy else left,))


class MemoryMonitoring:
    """Figures of a node that has been at work; `peers` and `repos` as many as a test wants."""

    def __init__(self, node: MemoryNode) -> None:
        self.tally = Tally(hub_received_bytes=3_000_000, reused_bytes=700)
        self.peer_bytes: dict[str, tuple[int, int]] = {"gpu-02": (2000, 1000)}
        self.eta_s: dict[str, float] = {"acme/tiny": 88.0}
        self._node = node

    def figures(self) -> Figures:
        status = self._node.status()
        return Figures(
            version=status.version,
            ready=status.ready,
            tally=self.tally,
            pulls={"downloading": len(status.active_pulls)},
            stalled_pulls=0,
            eta_s=self.eta_s,
            rates={"hub": status.rates.hub_bytes_per_s, "peers": status.rates.peers_bytes_per_s},
            peer_bytes=self.peer_bytes,
            members={"alive": status.cluster.reachable},
            draining_members=0,
            draining=False,
            cache=status.cache,
            cache_max_bytes=status.cache.max_bytes,
            cache_reserve_bytes=10**10,
        )


class MemoryAuditTable:
    """The audit without a database; `broken`: it cannot be written."""

    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []
        self.broken = False

    async def add(self, time: float, actor: str, deed: str, subject: str, outcome: str, detail: str) -> None:
        if self.broken:
            raise StorageFailed("distd.sqlite", "disk I/O error")
        self.entries.append(AuditEntry(len(self.entries) + 1, time, actor, deed, subject, outcome, detail))

    async def page(
        self, before: int | None, limit: int, *, since: float, deed: str, text: str
    ) -> list[AuditEntry]:
        found = [
            entry
            for entry in reversed(self.entries)
            if (before is None or entry.seq < before)
            and entry.time >= since
            and deed in ("", entry.deed)
            and (text in entry.actor or text in entry.subject)
        ]
        return found[:limit]


class MemoryBanTable:
    """Bans without a database; `broken`: it cannot be written."""

    def __init__(self) -> None:
        self.saved: list[Ban] = []
        self.broken = False

    async def load(self) -> list[Ban]:
        return self.saved

    async def save(self, bans: Iterable[Ban]) -> None:
        if self.broken:
            raise StorageFailed("distd.sqlite", "disk I/O error")
        self.saved = list(bans)


class MemoryDrainTable:
    """A drain without a database."""

    def __init__(self) -> None:
        self.saved: DrainRecord | None = None

    async def load(self) -> DrainRecord | None:
        return self.saved

    async def save(self, record: DrainRecord | None) -> None:
        self.saved = record


class MemoryCircle:
    """The members that the node in memory lists."""

    me = "gpu-01"

    def __init__(self, node: MemoryNode) -> None:
        self._node = node
        self.banned: Mapping[str, str] = {}

    def known(self) -> list[Node]:
        others = [Node(each.name, each.zone, each.state == "alive", each.state) for each in self._node.others]
        return [Node(self.me, "", True), *others]

    def ban(self, reasons: Mapping[str, str]) -> None:
        self.banned = reasons

    def forget(self, member: str) -> None:
        self._node.others = [each for each in self._node.others if each.name != member]


class MemoryDaemon:
    """The ports together."""

    def __init__(self) -> None:
        self.pulls = MemoryPulls(
            {"acme/tiny": {"config.json": 700, "model.safetensors": 2_000_000}, "gpt2": {"a.bin": 10}}
        )
        self.models = MemoryModels()
        self.node = MemoryNode(self.pulls)
        window = LimitWindow(days=("sat", "sun"), peer_up=0)
        section = LimitsSection(hub_down=50_000_000, peer_up=10_000_000, window=(window,))
        self.prefetch = PrefetchService(
            (),
            MemoryPrefetchTable(),
            self.pulls,
            self.models,
            Nobody("gpu-01", ""),
            wall=lambda: MONDAY,
        )
        self.prefetch.reload((PrefetchEntry(repo="acme/declared", schedule="0 3 * * *"),))
        self.limits = LimitService(section, MemoryLimitTable(), LoneBandwidth(Pacer()), wall=lambda: MONDAY)
        self.monitoring = MemoryMonitoring(self.node)
        self.housekeeping = MemoryHousekeeping()
        self.audit_table = MemoryAuditTable()
        self.audit = AuditService(self.audit_table, wall=lambda: MONDAY)
        self.circle = MemoryCircle(self.node)
        self.peering = PeeringService(self.circle, MemoryBanTable(), self.audit.note)
        self.draining = DrainService(MemoryDrainTable(), wall=lambda: MONDAY)
        self.answers = OwnAnswers(self.node, self.models, self.peering, self.draining)
        members = LoneMember("gpu-01", "", self.answers)
        self.nodes = NodeOperations(members)
        self.waits = WaitService(self.models, members)
        self.archives = MemoryArchives(self.models)
        self.adoption = MemoryAdoption()
        self.log = EventLog("run")
        self.changes = PullChanges(lambda: self.pulls, self.log, progress_s=0.02)
        self.pulls.changed = self.changes.changed

    def app(self, *, writable: bool = True, token: str = "") -> web.Application:
        """`changes.watch` is the caller's to run."""
        ports = Ports(
            self.pulls,
            self.models,
            self.node,
            self.limits,
            self.prefetch,
            self.monitoring,
            self.nodes,
            self.housekeeping,
            self.peering,
            self.archives,
            self.audit,
            self.adoption,
            self.waits,
            self.changes,
        )
        return build_app(ports, writable=writable, token=token)


def peer(name: str, **changes: Any) -> PeerView:
    """A member in good health, but for `changes`."""
    view = PeerView(
        name=name,
        zone="rack-4",
        state="alive",
        is_self=False,
        addresses=PeerAddresses("10.0.0.18:7071", "10.0.0.18:7072", "10.0.0.18:7073"),
        wire_version=1,
        fetches_hub=True,
        rtt_s=0.0012,
        seen_at=MOMENT,
        clock_skew_s=0.1,
        trouble=None,
        receive_rate_bytes_per_s=61e6,
        send_rate_bytes_per_s=5e6,
        received_bytes=2 * 10**9,
        sent_bytes=10**9,
    )
    return structs.replace(view, **changes)


def snapshot_path(repo: Repo) -> str:
    return f"{HUB_DIR}/{repo.folder}/snapshots/{COMMIT}"


def _new_pull(pull_id: str, request: PullRequest, repo: Repo) -> PullView:
    return PullView(
        id=pull_id,
        repo=repo.id,
        type=repo.type,
        revision=request.revision,
        commit=None,
        state="queued",
        include=request.include,
        exclude=request.exclude,
        weights=request.weights,
        priority=request.priority,
        pin=request.pin,
        bytes_total=None,
        bytes_done=0,
        bytes_from_hub=0,
        bytes_from_peers=0,
        bytes_reused=0,
        files_total=None,
        files_done=0,
        rate_bytes_per_s=0.0,
        rate_hub_bytes_per_s=0.0,
        rate_peers_bytes_per_s=0.0,
        eta_s=None,
        eta_low_s=None,
        eta_high_s=None,
        stalled_reason=None,
        error=None,
        snapshot_path=None,
        created_at=MOMENT,
        started_at=None,
        finished_at=None,
    )
