"""What a member that is taken out of service knows of the others: who is there to take over, who still works with it."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

from distd.pulls.views import RATE_WINDOW_S
from distd.sharing.company import Company
from distd.sharing.service import Sharing
from peers.cluster import Cluster
from peers.messages import SwarmPhase


class Leaving:
    """Implements `draining.Surroundings`."""

    def __init__(self, cluster: Cluster, sharing: Sharing, company: Company) -> None:
        self._company = company
        self.me = cluster.me
        self._cluster = cluster
        self._sharing = sharing

    def drain(self, wanted: bool) -> None:
        self._cluster.drain(wanted)

    def in_service(self) -> Collection[str]:
        view = self._cluster.view
        return view.live - view.draining - {self.me}

    def is_shared(self, etags: Iterable[str]) -> bool:
        return any(map(self._others_at_work, etags))

    def serves(self) -> bool:
        now = time.monotonic()
        return any(sent.rate(RATE_WINDOW_S, now) > 0 for _, sent in self._company.flows().values())

    def _others_at_work(self, etag: str) -> bool:
        """Whether the lead last named somebody in service who is filling the blob."""
        driver = self._sharing.working(etag)
        answer = driver.machine.asking.last_answer if driver and driver.machine else None
        there = self.in_service()
        return answer is not None and any(
            each.name in there and not each.published and each.phase is not SwarmPhase.NONE
            for each in answer.swarm
        )
