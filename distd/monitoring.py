"""What monitoring is told of this node: gathered from those who know, at the moment somebody asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from distd import __version__
from distd.api.figures import Figures
from distd.api.schema import CacheView, RatesView
from distd.config import Config
from distd.core.pull import PullState
from distd.core.rates import Meter
from distd.core.tally import Tally

ALONE: Mapping[str, int] = {"alive": 1}
"""A node without a cluster is the one member of its own."""


class Node(Protocol):
    def unready_reasons(self) -> list[str]: ...

    def cache(self) -> CacheView: ...

    def current_rates(self) -> RatesView: ...

    def is_draining(self) -> bool: ...


class Pulls(Protocol):
    """Of this node alone: a pull on several nodes is counted on each of them."""

    def counts(self) -> Counter[PullState]: ...

    def stalled(self) -> int: ...

    def etas_s(self) -> dict[str, float]: ...


class Company(Protocol):
    def states(self) -> Counter[str]: ...

    def draining(self) -> int: ...

    def flows(self) -> dict[str, tuple[Meter, Meter]]:
        """Per member what it sent to this node and what it got from it."""


class MonitoringService:
    """Implements the API's `Monitoring`. `company` is None for a node without a cluster."""

    def __init__(
        self, config: Config, tally: Tally, node: Node, pulls: Pulls, company: Company | None
    ) -> None:
        self._config = config
        self._tally = tally
        self._node = node
        self._pulls = pulls
        self._company = company

    def figures(self) -> Figures:
        rates, company = self._node.current_rates(), self._company
        flows = company.flows() if company else {}
        return Figures(
            version=__version__,
            ready=not self._node.unready_reasons(),
            tally=self._tally,
            pulls=self._pulls.counts(),
            stalled_pulls=self._pulls.stalled(),
            eta_s=self._pulls.etas_s(),
            rates={"hub": rates.hub_bytes_per_s, "peers": rates.peers_bytes_per_s},
            peer_bytes={
                name: (received.total_bytes, sent.total_bytes) for name, (received, sent) in flows.items()
            },
            members=company.states() if company else ALONE,
            draining_members=company.draining() if company else 0,
            draining=self._node.is_draining(),
            cache=self._cache(),
            cache_max_bytes=self._config.cache.max_bytes,
            cache_reserve_bytes=self._config.cache.min_free_bytes,
        )

    def _cache(self) -> CacheView | None:
        try:
            return self._node.cache()
        except OSError:  # readiness says so, and the other figures are wanted all the more
            return None
