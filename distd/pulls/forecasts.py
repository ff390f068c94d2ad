"""When each pull will be published: watches the node's rates twice a second, and puts them against what is left.

Rates are the node's, not a pull's: pulls take the link in turn, so what is left of one stands behind what is left of
those before it. What other members get from the Hub is seen in the ledgers, which name what somebody holds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Literal, Protocol

from distd.core.desk import TINY_BYTES
from distd.core.estimate import (
    FILES_MANY,
    Cap,
    Estimate,
    Load,
    Part,
    Said,
    Source,
    Speed,
    Speeds,
    before_pull,
    binds,
    error_ratio,
    estimate,
    run_down,
)
from distd.core.gained import Gained
from distd.core.hash_pace import HashPace
from distd.core.pace import Pace, speed_of
from distd.core.pull import BlobNeed, PullRecord
from distd.core.rates import PAUSE_MIN_S, Meter
from distd.pulls.active import ActivePull
from distd.pulls.supply import BlobSupply
from distd.pulls.views import need_sources
from distd.store.workers import WorkClock

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
COST_SHARE = 20
"""A look takes at most a twentieth of the time: over a repo of a hundred thousand files it takes a third of a second."""
PRIOR_SPREAD = 0.25
"""What a source gave the last times says this much about what it gives now."""
SAID_MAX = 256
"""Estimates kept of a pull to be scored at its end; when there are more, every second one is dropped."""
WORKING = ("downloading", "verifying", "publishing")

Measured = Literal[
    "hub_large", "hub_capped", "hub_files", "peers_large", "peers_files", "hashing", "start", "finish"
]
"""What is remembered of a source, per second of use: its bytes while larger files come (tiny ones alone fill no link), and tiny
files while many are left. `hub_capped` are bytes while a limit held them back, which say nothing about the link. `hub_` is what the cluster gets from the Hub, `peers_` what members send to this node."""


class Past(Protocol):
    """What earlier pulls measured."""

    def rate(self, source: Measured) -> float | None:
        """Units per second of use; None when it was never measured."""

    def note(self, source: Measured, amount: float, busy_s: float) -> None:
        """One more measurement."""


@dataclass
class _Watched:
    """What is remembered of a pull in work."""

    said: list[Said] = field(default_factory=list)
    every: int = 1
    looks: int = 0
    files_got: int | None = None
    files_from_hub: int = 0
    first_byte_at: float | None = None
    hashed_at: float | None = None
    latest: Estimate | None = None
    latest_at: float = 0.0


class Forecasts:
    """`watch` is a task beside the API; `of` any time. `cluster` is filled here: what the cluster gets from the Hub, as far
    as it is seen on this node. `scored` hears of every pull's median |error| / time left."""

    def __init__(
        self,
        *,
        hub: Meter,
        peers: Meter,
        cluster: Meter,
        supply: BlobSupply,
        hashed: WorkClock,
        past: Past,
        caps: Callable[[], tuple[Cap, ...]] = lambda: (),
        scored: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._hub, self._peers, self._of_cluster = hub, peers, cluster
        self._supply = supply
        self._hashed = hashed
        self._past = past
        self._caps = caps
        self._scored = scored
        self._local, self._cluster, self._files, self._hashing = Pace(), Pace(), Pace(), HashPace()
        self._files_total = 0
        self._used: dict[Measured, float] = {}
        self._peers_before = 0
        self._own_before = 0
        self._gained = Gained()
        self._watched: dict[str, _Watched] = {}
        self._was_busy = False

    async def watch(self, active: Callable[[], Iterable[ActivePull]]) -> None:
        cost_s = 0.0
        while True:
            await asyncio.sleep(max(LOOK_EVERY_S, cost_s * COST_SHARE))
            began = time.monotonic()
            try:
                self.look(list(active()), began)
            except Exception:  # an estimate is never worth a daemon
                log.exception("estimates are not kept current")
            cost_s = time.monotonic() - began

    def look(self, pulls: list[ActivePull], now: float) -> None:
        """One look at everything; `watch` does it."""
        pulls = [pull for pull in pulls if pull.record.state in WORKING]
        loads = self._loads(pulls)
        larger = any(load.local_bytes > load.file_bytes for load in loads.values())
        if larger and not self._was_busy:
            self._local.restart()
            self._cluster.restart()
        self._was_busy = larger
        learning, from_hub = self._follow_ledgers(pulls, now)
        if learning and self._cluster.rate() is None:
            self._cluster.restart()
        if larger:
            self._local.observe(self._hub.total_bytes + self._peers.total_bytes, now)
            self._cluster.observe(self._of_cluster.total_bytes, now)
            rate = self._cluster.rate()
            is_capped = rate is not None and binds(rate, self._caps())
            self._remember("hub_capped" if is_capped else "hub_large", from_hub, now)
            self._remember("peers_large", self._peers.total_bytes - self._peers_before, now)
        self._peers_before = self._peers.total_bytes
        self._count_files(pulls, max((load.files for load in loads.values()), default=0), now)
        self._hashing.look(
            self._hashed.total_bytes,
            self._hashed.busy_s,
            backlog_bytes=sum(load.backlog_bytes for load in loads.values()),
            arrives=larger,
            past=self._past.rate("hashing"),
            now=now,
        )
        speeds = self._speeds(now)
        for pull in pulls:
            self._note(pull, loads[pull.record.id], speeds, now)
        for pull_id in self._watched.keys() - loads.keys():
            del self._watched[pull_id]

    def of(self, pull: ActivePull, now: float) -> Estimate | None:
        """None while it is not known."""
        watched = self._watched.get(pull.record.id)
        if watched is None or watched.latest is None or pull.record.state not in WORKING:
            return None
        return run_down(watched.latest, now - watched.latest_at)

    def before(self, hub: Part, peers: Part, pulls: Iterable[ActivePull]) -> Estimate | None:
        """Of a pull that would be started now."""
        if hub.size_bytes:
            loads = self._loads(pull for pull in pulls if pull.record.state in WORKING)
            for load in list(loads.values())[-1:]:  # the last one's counts those before it
                hub += Part(load.local_bytes, load.files, load.file_bytes)
        return before_pull(
            hub,
            peers,
            Source(self._known_link(), self._known("hub_files")),
            Source(self._known("peers_large"), self._known("peers_files")),
            self._speeds(time.monotonic()),
            self._start_s(),
        )

    def has_measured(self, source: Measured) -> bool:
        return self._past.rate(source) is not None

    def finished(self, pull: ActivePull, now: float) -> tuple[float, int] | None:
        """The pull is complete: scores what was said of it. Returns the median error and of how many estimates."""
        watched = self._watched.pop(pull.record.id, None)
        if watched is None:
            return None
        if watched.hashed_at is not None:
            self._past.note("finish", 1, now - watched.hashed_at)
        errors = [error for said in watched.said if (error := error_ratio(said, now)) is not None]
        if not errors:
            return None
        self._scored(median(errors))
        return median(errors), len(errors)

    # Inside.

    def _known(self, source: Measured) -> Speed | None:
        rate = self._past.rate(source)
        return Speed(rate, PRIOR_SPREAD) if rate else None

    def _remember(self, what: Measured, amount: int, now: float) -> None:
        """Puts what came since the last time into the history; silences longer than a pause are no use of a source."""
        if amount <= 0:
            return
        used_at = self._used.get(what)
        if used_at is not None and now - used_at <= PAUSE_MIN_S:
            self._past.note(what, amount, now - used_at)
        self._used[what] = now

    def _count_files(self, pulls: list[ActivePull], left: int, now: float) -> None:
        """Tiny files that this node got since the last look, wherever from: one of them from the Hub makes it the Hub's rate,
        for what members then send they had from there a moment before."""
        got = from_hub = 0
        for pull in pulls:
            watched = self._watched.setdefault(pull.record.id, _Watched())
            tiny = [
                sources
                for need in pull.record.needs
                if is_tiny(need) and (sources := pull.record.got.get(need.etag))
            ]
            of_hub = sum("hub" in sources for sources in tiny)
            of_any = sum(sources.keys() != {"reused"} for sources in tiny)
            if watched.files_got is not None:
                got += max(0, of_any - watched.files_got)
                from_hub += max(0, of_hub - watched.files_from_hub)
            watched.files_got, watched.files_from_hub = of_any, of_hub
        self._files_total += got
        if left == 0:
            self._files.restart()
            return
        self._files.observe(self._files_total, now)
        if left >= FILES_MANY:
            self._remember("hub_files" if from_hub else "peers_files", got, now)

    def _known_link(self) -> Speed | None:
        return self._known("hub_large") or self._known("hub_capped")

    def _start_s(self) -> float:
        rate = self._past.rate("start")
        return 1 / rate if rate else 0.0

    def _speeds(self, now: float) -> Speeds:
        hub, peers = self._hub.rate(10.0, now), self._peers.rate(10.0, now)
        finishes = self._past.rate("finish")
        clock = self._hashed
        return Speeds(
            local=self._now_or_before(self._local, None),
            hub=self._now_or_before(self._cluster, self._known_link()),
            files=self._now_or_before(self._files, self._known("hub_files")),
            hashing=self._hashing.speed(self._past.rate("hashing")),
            from_peers=peers / (hub + peers) if hub + peers > 0 else 0.0,
            finish_s=1 / finishes if finishes else 0.0,
            caps=self._caps(),
            link=self._past.rate("hub_large"),
            disk_bound=clock.busy_s > 1.0 and clock.computing_s < 0.4 * clock.busy_s,
        )

    @staticmethod
    def _now_or_before(pace: Pace, before: Speed | None) -> Speed | None:
        """What is seen; what was seen before only until there is anything to see."""
        return speed_of(pace) if pace.rate() is not None else before

    def _loads(self, pulls: Iterable[ActivePull]) -> dict[str, Load]:
        """By pull: what is left of it and of all that go before it, each blob counted once. One walk over everything."""
        loads: dict[str, Load] = {}
        counted: set[str] = set()
        local = hub = files = file_bytes = 0
        for pull in sorted(pulls, key=_place):
            unhashed = backlog = 0
            for need in pull.record.needs:
                if need.etag in pull.record.got:
                    continue
                missing, hub_left, hashed = self._blob(need, pull.record)
                unhashed += need.size_bytes - hashed
                backlog += max(0, need.size_bytes - missing - hashed)
                if need.etag not in counted:
                    counted.add(need.etag)
                    local, hub = local + missing, hub + hub_left
                    if is_tiny(need):
                        files, file_bytes = files + 1, file_bytes + missing
            loads[pull.record.id] = Load(local, hub, unhashed, backlog, files, file_bytes)
        return loads

    def _blob(self, need: BlobNeed, record: PullRecord) -> tuple[int, int, int]:
        """Missing here, missing in the cluster, hashed."""
        missing = need.size_bytes - sum(need_sources(record, need, self._supply.progress).values())
        outlook = self._supply.outlook(need.etag)
        if outlook is None:
            return missing, missing, 0
        hub_left = missing if outlook.hub_left_bytes is None else min(missing, outlook.hub_left_bytes)
        return missing, hub_left, outlook.hashed_bytes

    def _follow_ledgers(self, pulls: list[ActivePull], now: float) -> tuple[bool, int]:
        """Adds up what the cluster got from the Hub. First: whether a ledger is being learnt. Second: how much."""
        blobs: dict[str, tuple[int, int]] = {}
        whole: dict[str, int] = {}
        for pull in pulls:
            for need in pull.record.needs:
                if (sources := pull.record.got.get(need.etag)) is not None:
                    whole[need.etag] = sources.get("hub", 0)
                    continue
                outlook = self._supply.outlook(need.etag) if need.etag not in blobs else None
                if outlook is not None and outlook.hub_left_bytes is not None:
                    own = (self._supply.progress(need.etag) or {}).get("hub", 0)
                    blobs[need.etag] = (outlook.hub_left_bytes, own)
        learning, from_others = self._gained.look(blobs, whole, self._cluster.rate() or 0.0, now)
        own_total = self._hub.total_bytes
        if moved := from_others + own_total - self._own_before:
            self._of_cluster.add(moved, now)
        self._own_before = own_total
        return learning, moved

    def _note(self, pull: ActivePull, load: Load, speeds: Speeds, now: float) -> None:
        watched = self._watched.setdefault(pull.record.id, _Watched())
        if watched.first_byte_at is None and pull.meter.total_bytes:
            watched.first_byte_at = now
            if pull.record.started_at is not None:
                self._past.note("start", 1, max(0.0, time.time() - pull.record.started_at))
        if load.unhashed_bytes == 0 and watched.hashed_at is None:
            watched.hashed_at = now
        found = watched.latest = estimate(load, speeds)
        watched.latest_at = now
        watched.looks += 1
        total = pull.record.bytes_total
        if found is None or not total or watched.looks % watched.every:
            return
        done = 1 - missing_of(pull.record, self._supply) / total
        watched.said.append(Said(now, done, found.eta_s, found.low_s, found.high_s))
        if len(watched.said) > SAID_MAX:
            watched.said = watched.said[::2]
            watched.every *= 2


def is_tiny(need: BlobNeed) -> bool:
    """Whether it is counted and not weighed: one request, which is mostly waiting."""
    return 0 < need.size_bytes <= TINY_BYTES


def missing_of(record: PullRecord, supply: BlobSupply) -> int:
    """Bytes that the pull lacks on this node."""
    return sum(
        need.size_bytes - sum(need_sources(record, need, supply.progress).values()) for need in record.needs
    )


def told_of(score: tuple[float, int]) -> str:
    """For the pull's story."""
    error, count = score
    return f"its estimates were off by {error:.0%} of the time left (median of {count})"


def _place(pull: ActivePull) -> tuple[int, int]:
    return -pull.request.priority, pull.record.number
