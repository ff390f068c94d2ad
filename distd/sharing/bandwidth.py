"""A member's limits put into effect: its part of the cluster's Hub bandwidth, and content between members.

A pull that lacks what members have holds less urgent ones back. Content comes from members over two ways, the swarm engine and the cluster's API (small blobs); one limit is divided
over both. Gossip, reports and questions are small and not counted.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import NoReturn

from distd.core.hub_share import Company, HubShare
from distd.core.limits import Limits, lowest
from distd.core.pacing import divided
from distd.pacing import Pacer
from distd.sharing.service import Sharing
from peers.cluster import Cluster
from peers.engine import Engine

LOOK_EVERY_S = 0.5
"""What time alone changes: a beginner becomes settled, a swarm is opened or left. Limits switch within 2 s."""


@dataclass(frozen=True, slots=True)
class Pacers:
    """What the shell pays for its bytes: all bodies from the Hub, and small blobs to and from members."""

    hub: Pacer
    small_up: Pacer
    small_down: Pacer

    @classmethod
    def make(cls) -> Pacers:
        return cls(Pacer(), Pacer(), Pacer())


class MemberBandwidth:
    """Implements the `Bandwidth` of the limits. `open` after the cluster is started; `watch` is a task beside it."""

    def __init__(
        self, cluster: Cluster, engine: Engine, sharing: Sharing, share: HubShare, pacers: Pacers
    ) -> None:
        self._cluster = cluster
        self._engine = engine
        self._sharing = sharing
        self._share = share
        self._pacers = pacers
        self._limits = Limits()
        self._engine_limits = (0, 0)

    def open(self) -> None:
        self._cluster.on_change(self._look)
        self._pacers.hub.on_use = self._look
        self._pacers.small_up.on_use = self._pacers.small_down.on_use = self._divide
        self._look()

    def set_limits(self, limits: Limits) -> None:
        self._limits = limits
        self._look()

    def cluster_limit(self) -> int:
        return int(self._cluster.view.hub_down_cluster)

    def hub_rate(self) -> int:
        return int(self._pacers.hub.rate_bytes_per_s)

    async def watch(self) -> NoReturn:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self._look()

    def _look(self) -> None:
        now, view = time.monotonic(), self._cluster.view
        fetchers = {each.name for each in self._cluster.members() if each.facts.fetches_hub}
        limit = lowest(view.hub_down_cluster, self._limits.hub_down_cluster)
        company = Company(self._cluster.me, limit, view.live & fetchers, view.hub_busy)
        self._share.company_changed(company, now)
        self._share.filling(self._sharing.filling())
        self._share.fetching(self._pacers.hub.in_use, now)
        self._pacers.hub.set_rate(lowest(self._limits.hub_down, self._share.rate(now)))
        self._divide()
        self._engine.hold_back(self._sharing.means.link.held_back(now))
        self._tell(now)

    def _tell(self, now: float) -> None:
        told, busy = self._cluster.facts, self._share.is_busy(now)
        facts = replace(told, hub_down_cluster=float(self._limits.hub_down_cluster), hub_busy=busy)
        if facts != told:
            # Not from within the table's own news of a change, of which this may be a part.
            asyncio.get_running_loop().call_soon(self._cluster.change_facts, facts)

    def _divide(self) -> None:
        swarms, up, down = self._sharing.in_swarms, self._pacers.small_up, self._pacers.small_down
        engine_up, small_up = divided(self._limits.peer_up, swarms, up.in_use)
        engine_down, small_down = divided(self._limits.peer_down, swarms, down.in_use)
        up.set_rate(small_up)
        down.set_rate(small_down)
        if (engine_up, engine_down) != self._engine_limits:
            self._engine_limits = (engine_up, engine_down)
            self._engine.limit(engine_up, engine_down)
