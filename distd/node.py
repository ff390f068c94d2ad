"""This node as a whole: its status, whether it can serve, and what is wrong with it."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

from distd import __version__
from distd.api.housekeeping_schema import ScrubView
from distd.api.rate_schema import RateView
from distd.api.schema import (
    CacheView,
    ClusterView,
    Finding,
    FlowView,
    PeerAddresses,
    PeerView,
    PullView,
    RatesView,
    StatusView,
)
from distd.config import Config
from distd.core.draining import DrainState
from distd.core.rates import Meter
from distd.errors import DistdError
from distd.pulls.views import RATE_WINDOW_S, rfc3339
from distd.store.blobs import BlobStore
from distd.store.disk import hard_link_fault, write_fault
from distd.units import format_rate, format_size

log = logging.getLogger(__name__)

USAGE_INTERVAL_S = 10.0
"""How often the store's size is counted; it is a directory walk, so not at every question."""
FAULT_INTERVAL_S = 5.0
"""How often the disk is asked whether it still takes writes: it may take a while to answer."""


class Company(Protocol):
    """The cluster that this node is a member of."""

    def view(self) -> ClusterView: ...

    async def peers(self) -> list[PeerView]:
        """Every member, this node included, in order of their names."""

    def flows(self) -> dict[str, tuple[Meter, Meter]]:
        """Per member what it sent to this node and what it got from it, as last sampled."""


class Examination(Protocol):
    """What can be wrong around this node: the way to the Hub, the other members, who may read the cache."""

    async def findings(self) -> list[Finding]:
        """Bounded to some seconds."""


class NodeService:
    """Implements the API's `Node`. Run `watch` as a task beside the API."""

    def __init__(
        self,
        config: Config,
        *,
        blobs: BlobStore,
        hub_meter: Meter,
        peers_meter: Meter,
        active_pulls: Callable[[], Sequence[PullView]],
        company: Company | None,
        examination: Examination,
        rates: Callable[[float, str | None], Awaitable[list[RateView]]],
        scrub: Callable[[], ScrubView | None],
        service: Callable[[], DrainState],
    ) -> None:
        self._service = service
        self._scrub = scrub
        self._rates = rates
        self._config = config
        self._blobs = blobs
        self._hub_meter = hub_meter
        self._peers_meter = peers_meter
        self._company = company
        self._examination = examination
        self._active_pulls = active_pulls
        self._started = time.monotonic()
        self._usage_bytes = 0
        self._write_faults: dict[str, str] = {}
        self._link_fault = hard_link_fault(Path(config.store_dir), Path(config.hub_dir))

    async def watch(self) -> None:
        """Keeps current how large the store is and whether the disk takes writes, for ever."""
        counted_at = -USAGE_INTERVAL_S
        while True:
            await asyncio.to_thread(self._look_for_faults)
            if time.monotonic() - counted_at >= USAGE_INTERVAL_S:
                counted_at = time.monotonic()
                try:
                    self._usage_bytes = await asyncio.to_thread(self._blobs.usage_bytes)
                except (DistdError, OSError) as error:
                    log.warning("the size of the store is unknown: %s", error)
            await asyncio.sleep(FAULT_INTERVAL_S)

    def _look_for_faults(self) -> None:
        for path in (self._config.hub_dir, self._config.store_dir, self._config.node.state_dir):
            fault = write_fault(Path(path))
            if fault != self._write_faults.get(path):
                log.log(
                    logging.ERROR if fault else logging.INFO, "%s %s", path, fault or "can be written again"
                )
            if fault:
                self._write_faults[path] = fault
            else:
                self._write_faults.pop(path, None)

    def status(self) -> StatusView:
        config = self._config
        return StatusView(
            node=config.node.name,
            version=__version__,
            uptime_s=time.monotonic() - self._started,
            ready=not self.unready_reasons(),
            hub_endpoint=config.hub.endpoint,
            cluster=self._company.view() if self._company else ClusterView(config.cluster.name, 1, 1),
            cache=self.cache(),
            rates=self.current_rates(),
            active_pulls=tuple(self._active_pulls()),
            flows=self._flows(),
            service=self._service(),
        )

    def _flows(self) -> tuple[FlowView, ...]:
        now, flows = time.monotonic(), self._company.flows() if self._company else {}
        return tuple(
            FlowView(
                name,
                received.rate(RATE_WINDOW_S, now),
                sent.rate(RATE_WINDOW_S, now),
                received.total_bytes,
                sent.total_bytes,
            )
            for name, (received, sent) in sorted(flows.items())
            if received.total_bytes or sent.total_bytes
        )

    def is_draining(self) -> bool:
        return self._service() != "in_service"

    def cache(self) -> CacheView:
        config = self._config
        return CacheView(
            hub_dir=os.path.abspath(config.hub_dir),
            store_dir=os.path.abspath(config.store_dir),
            bytes=self._usage_bytes,
            free_bytes=self._blobs.free_bytes(),
            max_bytes=config.cache.max_bytes,
            scrub=self._scrub(),
        )

    def current_rates(self) -> RatesView:
        now = time.monotonic()
        return RatesView(
            hub_bytes_per_s=self._hub_meter.rate(RATE_WINDOW_S, now),
            peers_bytes_per_s=self._peers_meter.rate(RATE_WINDOW_S, now),
        )

    async def summary(self) -> str:
        """One line for `systemctl status`: what is wrong, else what goes on."""
        reasons = await asyncio.to_thread(self.unready_reasons)
        if reasons:
            return f"not ready: {'; '.join(reasons)}"
        rates = self.current_rates()
        hub, peers = format_rate(rates.hub_bytes_per_s), format_rate(rates.peers_bytes_per_s)
        pulls = len(self._active_pulls())
        return f"{pulls} active pull{'' if pulls == 1 else 's'}, hub {hub}, peers {peers}"

    async def rates(self, since: float, peer: str | None) -> list[RateView]:
        return await self._rates(since, peer)

    async def peers(self) -> list[PeerView]:
        """A lone node is the one member of its own cluster."""
        if self._company is not None:
            return await self._company.peers()
        config = self._config
        return [
            PeerView(
                name=config.node.name,
                zone=config.node.zone,
                state="alive",
                is_self=True,
                addresses=PeerAddresses("", "", ""),
                wire_version=0,
                fetches_hub=config.hub.fetch,
                rtt_s=0.0,
                seen_at=rfc3339(time.time()),
                clock_skew_s=0.0,
                trouble=None,
                receive_rate_bytes_per_s=0.0,
                send_rate_bytes_per_s=0.0,
                received_bytes=0,
                sent_bytes=0,
            )
        ]

    def unready_reasons(self) -> list[str]:
        return [finding.detail for finding in self._disk_findings() if finding.outcome == "fail"]

    async def diagnose(self) -> list[Finding]:
        return [*await asyncio.to_thread(self._disk_findings), *await self._examination.findings()]

    def _disk_findings(self) -> list[Finding]:
        findings = []
        config = self._config
        for name, path in (
            ("cache.hub_dir", config.hub_dir),
            ("cache.store_dir", config.store_dir),
            ("node.state_dir", config.node.state_dir),
        ):
            fault = self._write_faults.get(path)
            if not fault and not os.access(path, os.W_OK | os.X_OK):
                fault = "cannot be written"
            if fault:
                detail = f"{os.path.abspath(path)} {fault}"
                findings.append(Finding(name, "fail", detail, "check its owner, mode, mount and disk"))
            else:
                findings.append(Finding(name, "ok", f"{os.path.abspath(path)} is writable"))
        if self._link_fault:
            findings.append(
                Finding(
                    "cache",
                    "fail",
                    self._link_fault,
                    "set cache.store_dir and cache.hub_dir to one filesystem",
                )
            )
        reserve = config.cache.min_free_bytes
        try:
            free = self._blobs.free_bytes()
        except OSError as error:
            return [*findings, Finding("disk", "fail", f"free space is unknown: {error}", "check the mount")]
        text = f"{format_size(free)} free, {format_size(reserve)} reserved (cache.min_free_bytes)"
        if free < reserve:
            fix = "distctl gc --dry-run says what stays and why: unpin or remove models (distctl rm), or lower the reserve"
            findings.append(Finding("disk", "fail", text, fix))
        else:
            findings.append(Finding("disk", "ok", text))
        return findings
