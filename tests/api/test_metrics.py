"""What monitoring is shown: names that follow its rules, values that are the program's, quickly, and to anybody."""

from __future__ import annotations

import time

import aiohttp
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics

from distd import __version__
from distd.api.metrics import Exposition
from tests.api.memory import MemoryDaemon
from tests.scrape import Scrape, lint

CONTRACT = {
    "distd_hub_received_bytes_total": set(),
    "distd_hub_requests_total": {"code"},
    "distd_peer_received_bytes_total": {"peer"},
    "distd_peer_sent_bytes_total": {"peer"},
    "distd_reused_bytes_total": set(),
    "distd_pieces_rejected_total": {"source"},
    "distd_files_rejected_total": set(),
    "distd_pulls": {"state"},
    "distd_pull_duration_seconds_bucket": {"le"},
    "distd_transfer_rate_bytes_per_second": {"source"},
    "distd_pull_eta_seconds": {"repo"},
    "distd_eta_error_ratio_bucket": {"le"},
    "distd_cache_bytes": set(),
    "distd_cache_free_bytes": set(),
    "distd_cluster_members": {"state"},
    "distd_hub_duplicate_bytes_total": set(),
    "distd_config_last_reload_successful": set(),
    "distd_build_info": {"version", "python"},
}
"""Dashboards and alerts of users depend on these."""
SCRAPE_S_MAX = 0.020


async def scraped(client: aiohttp.ClientSession) -> Scrape:
    async with client.get("/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        return Scrape(await response.text())


async def test_every_promised_metric_is_there_with_its_labels(
    client: aiohttp.ClientSession, daemon: MemoryDaemon
) -> None:
    daemon.monitoring.tally.hub_answered(200)
    names = (await scraped(client)).names()
    assert {name: names.get(name) for name in CONTRACT} == CONTRACT


async def test_names_units_types_and_labels_follow_prometheus_rules(
    client: aiohttp.ClientSession, daemon: MemoryDaemon
) -> None:
    daemon.monitoring.tally.hub_answered(200)
    assert lint(await scraped(client)) == []


@pytest.mark.parametrize(
    "text",
    [
        "# TYPE distd_x gauge\ndistd_x 1\n",
        "# HELP distd_x X.\ndistd_x 1\n",
        "# HELP distd_x_ms X.\n# TYPE distd_x_ms gauge\ndistd_x_ms 1\n",
        "# HELP distd_x_total X.\n# TYPE distd_x_total gauge\ndistd_x_total 1\n",
        "# HELP distd_x_count X.\n# TYPE distd_x_count gauge\ndistd_x_count 1\n",
        "# HELP distd_x_gauge X.\n# TYPE distd_x_gauge gauge\ndistd_x_gauge 1\n",
        "# HELP distd_xY X.\n# TYPE distd_xY gauge\ndistd_xY 1\n",
        "# HELP other_x X.\n# TYPE other_x gauge\nother_x 1\n",
        '# HELP distd_x X.\n# TYPE distd_x gauge\ndistd_x{instance="a"} 1\n',
    ],
)
def test_the_lint_finds_each_fault(text: str) -> None:
    assert lint(Scrape(text))


async def test_what_was_counted_is_what_is_shown(client: aiohttp.ClientSession, daemon: MemoryDaemon) -> None:
    tally = daemon.monitoring.tally
    for status in (200, 206, 206, 0):
        tally.hub_answered(status)
    tally.piece_rejected("peers")
    tally.pull_finished("complete", 42.0, 300)
    tally.observe_eta_error(0.04)
    tally.reload_ended(False)
    daemon.monitoring.peer_bytes = {'gpu "02"\n': (7, 5)}
    now = await scraped(client)
    assert now.by_label("distd_hub_requests_total") == {"200": 1, "206": 2, "none": 1}
    assert now.by_label("distd_pieces_rejected_total") == {"hub": 0, "peers": 1, "disk": 0}
    assert now.by_label("distd_peer_sent_bytes_total") == {'gpu "02"\n': 5}
    assert now.value("distd_hub_received_bytes_total") == 3_000_000
    assert now.value("distd_reused_bytes_total") == 1000
    assert now.value("distd_pull_duration_seconds_sum") == 42
    assert now.value("distd_pull_duration_seconds_bucket", le="60.0") == 1
    assert now.value("distd_pull_duration_seconds_bucket", le="15.0") == 0
    assert now.value("distd_eta_error_ratio_count") == 1
    assert now.value("distd_config_last_reload_successful") == 0
    assert now.by_label("distd_pull_eta_seconds") == {"acme/tiny": 88}
    assert now.by_label("distd_cluster_members") == {"alive": 1, "suspect": 0, "dead": 0, "left": 0}
    assert now.value("process_resident_memory_bytes") > 1_000_000
    (build,) = (s.labels for f in now.families() for s in f.samples if s.name == "distd_build_info")
    assert build["version"] == __version__


async def test_whoever_asks_for_openmetrics_gets_it(client: aiohttp.ClientSession) -> None:
    accept = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
    async with client.get("/metrics", headers=accept) as response:
        assert response.headers["Content-Type"].startswith("application/openmetrics-text")
        families: dict[str, Metric] = {f.name: f for f in open_metrics(await response.text())}
    assert families["distd_hub_received_bytes"].type == "counter"


def test_a_scrape_of_500_repos_and_100_members_is_quick(daemon: MemoryDaemon) -> None:
    monitoring = daemon.monitoring
    monitoring.eta_s = {f"acme/model-{number}": float(number) for number in range(500)}
    monitoring.peer_bytes = {f"gpu-{number:03}": (number, number) for number in range(100)}
    exposition = Exposition(monitoring)
    took_s = []
    for _ in range(10):
        began = time.perf_counter()
        body, _ = exposition.text("")
        took_s.append(time.perf_counter() - began)
    print(f"a scrape of {len(body)} bytes takes {min(took_s) * 1000:.1f} ms")
    assert body.count(b"\n") > 700
    assert min(took_s) < SCRAPE_S_MAX
