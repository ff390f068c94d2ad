"""The Grafana dashboard and the alert rules ask for what a daemon tells, and the rules fire when they should."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from distd.api.metrics import families
from tests.api.memory import MemoryDaemon
from tests.monitoring.queries import (
    RULES,
    RULES_TEST,
    Known,
    Query,
    alert_queries,
    alerts,
    board,
    faults,
    panel_queries,
)

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    not PROMTOOL, reason="no promtool on this machine: apt install prometheus"
)
DOCUMENT = Path(__file__).parents[2] / "docs/MONITORING.md"


@pytest.fixture(scope="module")
def known() -> Known:
    daemon = MemoryDaemon()
    daemon.monitoring.tally.hub_answered(200)
    process = {
        name: (frozenset({"job", "instance"}), kind)
        for name, kind in (
            ("process_cpu_seconds_total", "counter"),
            ("process_resident_memory_bytes", "gauge"),
        )
    }
    return Known(Known.of(list(families(daemon.monitoring.figures()))).samples | process)


@pytest.mark.parametrize("query", [*panel_queries(), *alert_queries()], ids=lambda query: query.where)
def test_a_query_asks_for_what_there_is(query: Query, known: Known) -> None:
    assert list(faults(query, known)) == []


@pytest.mark.parametrize(
    "expr",
    [
        "distd_nothing",
        'distd_pulls{status="failed"}',
        "rate(distd_cache_bytes[5m])",
        "sum(distd_hub_received_bytes_total)",
        "sum by (peer) (rate(distd_hub_received_bytes_total[5m]))",
        "histogram_quantile(0.5, sum by (le) (distd_eta_error_ratio_bucket))",
    ],
)
def test_a_query_for_what_there_is_not_is_found(expr: str, known: Known) -> None:
    assert len(list(faults(Query("planted", expr), known))) == 1


def test_the_dashboard_is_whole() -> None:
    loaded = board()
    panels = loaded["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {name["name"] for name in loaded["templating"]["list"]} == {"datasource", "job", "instance"}
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"
            assert 'job=~"$job", instance=~"$instance"' in target["expr"], panel["title"]


@needs_promtool
@pytest.mark.parametrize("words", [("check", RULES), ("test", RULES_TEST)], ids=lambda words: words[0])
def test_promtool_accepts_the_rules_and_they_fire_when_they_should(words: tuple[str, Path]) -> None:
    ran = subprocess.run(
        [str(PROMTOOL), words[0], "rules", words[1].name],
        cwd=words[1].parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_alert_is_tried_and_says_what_to_do_and_is_documented() -> None:
    names = [rule["alert"] for rule in alerts()]
    tried = yaml.safe_load(RULES_TEST.read_text(encoding="utf-8"))["tests"]
    assert [case["alertname"] for test in tried for case in test["alert_rule_test"]] == names
    for rule in alerts():
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["action"]
    section = DOCUMENT.read_text(encoding="utf-8").partition("## Alerts")[2]
    assert re.findall(r"^\| `(Distd\w+)`", section, re.MULTILINE) == names
