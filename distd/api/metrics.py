"""`GET /metrics`: the node's figures under the names that monitoring knows them by.

The only importer of prometheus_client, and only when somebody scrapes: loading it takes 60 ms. Values are read from the
program's own counters at that moment, so nothing has to be kept in step with a library's objects.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, get_args

from aiohttp import web

from distd.api.answers import Route
from distd.api.figures import Figures
from distd.api.ports import Monitoring
from distd.core.pull import PullState
from distd.core.tally import UNANSWERED, Histogram

if TYPE_CHECKING:
    from prometheus_client.core import Metric

MEMBER_STATES = ("alive", "suspect", "dead", "left")


class MetricRoutes:
    def __init__(self, monitoring: Monitoring) -> None:
        self._monitoring = monitoring
        self._exposition: Exposition | None = None

    def routes(self) -> list[Route]:
        return [Route("GET", "/metrics", self.show, "the node's figures for Prometheus")]

    async def show(self, request: web.Request) -> web.Response:
        """OpenMetrics for those who ask for it, as Prometheus does; else Prometheus' older text."""
        if self._exposition is None:
            self._exposition = await asyncio.to_thread(Exposition, self._monitoring)
        body, content_type = self._exposition.text(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})


class Exposition:
    """A registry of its own: the library's global one would also tell of whatever else it was imported for."""

    def __init__(self, monitoring: Monitoring) -> None:
        from prometheus_client import CollectorRegistry, ProcessCollector

        self._monitoring = monitoring
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def text(self, accept: str) -> tuple[bytes, str]:
        """Body and content type."""
        from prometheus_client.exposition import choose_encoder

        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def describe(self) -> list[Metric]:
        """Nothing is collected to learn the names: the registry asks at registration, before there are figures."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield from families(self._monitoring.figures())


def families(now: Figures) -> Iterator[Metric]:
    """Every metric of distd. A label's values are bounded: states, statuses, sources, members, repos being pulled."""
    from prometheus_client.core import InfoMetricFamily

    tally = now.tally
    yield _counter(
        "distd_hub_received_bytes",
        "File data received from the Hub, repeats included.",
        tally.hub_received_bytes,
    )
    yield _counter(
        "distd_hub_duplicate_bytes",
        "File data received from the Hub although a member of the cluster had fetched it before.",
        tally.hub_duplicate_bytes,
    )
    codes = {str(code) if code != UNANSWERED else "none": n for code, n in sorted(tally.hub_requests.items())}
    yield _counters(
        "distd_hub_requests",
        "Requests to the Hub and its data servers by HTTP status.",
        "code",
        codes.items(),
    )
    received = {name: received for name, (received, _) in now.peer_bytes.items()}
    yield _counters(
        "distd_peer_received_bytes",
        "File data received from a member, repeats included.",
        "peer",
        received.items(),
    )
    sent = {name: sent for name, (_, sent) in now.peer_bytes.items()}
    yield _counters("distd_peer_sent_bytes", "File data sent to a member.", "peer", sent.items())
    yield _counter(
        "distd_reused_bytes", "Bytes of finished pulls that were held already.", tally.reused_bytes
    )
    yield _counters(
        "distd_pieces_rejected",
        "Pieces with wrong bytes, by source.",
        "source",
        tally.pieces_rejected.items(),
    )
    yield _counter(
        "distd_files_rejected", "Whole files whose hash was wrong when checked.", tally.files_rejected
    )
    yield _counters(
        "distd_pulls_finished", "Pulls that ended, by how.", "state", tally.pulls_finished.items()
    )
    yield _histogram(
        "distd_pull_duration_seconds", "From start to published, of complete pulls.", tally.pull_duration_s
    )
    yield _histogram(
        "distd_eta_error_ratio",
        "How far off the estimates of a complete pull were: |error| over the time that was left, median.",
        tally.eta_error,
    )
    pulls = {state: now.pulls.get(state, 0) for state in get_args(PullState)}
    yield _gauges(
        "distd_pulls", "Pulls of this node by state, finished ones as kept.", "state", pulls.items()
    )
    yield _gauge("distd_pulls_stalled", "Pulls that wait for something, which they name.", now.stalled_pulls)
    yield _gauges(
        "distd_pull_eta_seconds",
        "Time until a repo's pull is published, where known.",
        "repo",
        now.eta_s.items(),
    )
    yield _gauges(
        "distd_transfer_rate_bytes_per_second", "What arrives now, by source.", "source", now.rates.items()
    )
    if now.cache is not None:
        yield _gauge("distd_cache_bytes", "Size of the verified content.", now.cache.bytes)
        yield _gauge("distd_cache_free_bytes", "Room on the disk of the store.", now.cache.free_bytes)
    yield _counter(
        "distd_snapshots_evicted", "Snapshots that were removed to make room.", tally.snapshots_evicted
    )
    yield _counter(
        "distd_evicted_bytes", "What came free on the disk when room was made.", tally.evicted_bytes
    )
    yield _counter("distd_scrubbed_bytes", "Stored content that was hashed again.", tally.scrubbed_bytes)
    yield _counter("distd_files_rotten", "Stored files that lost their hash on the disk.", tally.files_rotten)
    yield _gauge(
        "distd_cache_reserve_bytes", "Room that is left free, cache.min_free_bytes.", now.cache_reserve_bytes
    )
    yield _gauge(
        "distd_cache_max_bytes", "Largest size of the content, cache.max_bytes; 0: any.", now.cache_max_bytes
    )
    members = {state: now.members.get(state, 0) for state in MEMBER_STATES}
    yield _gauges("distd_cluster_members", "Members known, this node included.", "state", members.items())
    yield _gauge(
        "distd_cluster_draining_members",
        "Live members on their way out of service, this node included.",
        now.draining_members,
    )
    yield _gauge("distd_draining", "1 while this node is on its way out of service.", now.draining)
    yield _gauge("distd_ready", "1 when the node can serve, as /readyz.", now.ready)
    yield _gauge(
        "distd_config_last_reload_successful",
        "1 when the configuration was valid as last read.",
        tally.reload_succeeded,
    )
    build = InfoMetricFamily("distd_build", "The program that answers.")
    build.add_metric([], {"version": now.version, "python": platform.python_version()})
    yield build


def _counter(name: str, help_: str, value: float) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    return CounterMetricFamily(name, help_, value=value)


def _counters(name: str, help_: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(name, help_, labels=[label])
    for key, value in values:
        family.add_metric([key], value)
    return family


def _gauge(name: str, help_: str, value: float) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(name, help_, value=float(value))


def _gauges(name: str, help_: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, help_, labels=[label])
    for key, value in values:
        family.add_metric([key], value)
    return family


def _histogram(name: str, help_: str, found: Histogram) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    buckets = [
        ("+Inf" if bound == float("inf") else repr(bound), float(count))
        for bound, count in found.cumulative()
    ]
    return HistogramMetricFamily(name, help_, buckets=buckets, sum_value=found.sum)
