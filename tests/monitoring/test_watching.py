"""What people and monitoring see of a fleet at work, with the real things: Chromium, Prometheus, three daemons."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.daemon.daemon import until
from tests.daemon.repos import Repos
from tests.dashboard.browser import WAIT_MS, tab
from tests.dashboard.conftest import browser, loop_is_never_held
from tests.fleet.conftest import Fleet, fleet, hub, repos
from tests.fleet.test_fleet_pulls import ended, submitted
from tests.hub import HubProcess
from tests.monitoring.prometheus import MISSING, PROGRAM, prometheus
from tests.monitoring.queries import Known, alert_queries, faults, panel_queries
from tests.scrape import Scrape, lint

__all__ = ["browser", "fleet", "hub", "loop_is_never_held", "repos"]

SEEN_S = 40.0
HUB_BYTES_PER_S = 4e6
expect.set_options(timeout=WAIT_MS)


@dataclass(frozen=True)
class Work:
    """A pull on all members over a slow link, which the first one coordinates."""

    repo: str
    pull_id: str


@pytest.fixture(scope="module")
def work(fleet: Fleet, hub: HubProcess, repos: Repos) -> Iterator[Work]:
    hub.set(rate_bytes_per_s=HUB_BYTES_PER_S)
    repo = repos.make(weight_mib=160)
    yield Work(repo.id, submitted(fleet.members[0], repo.id, nodes=["all"]))
    hub.set(rate_bytes_per_s=None)


def test_every_query_finds_something_in_real_scrapes_of_real_daemons(
    fleet: Fleet, work: Work, tmp_path: Path
) -> None:
    if not PROGRAM:
        pytest.skip(MISSING)
    addresses = [each.url.removeprefix("http://") for each in fleet.members]
    with prometheus(tmp_path / "prometheus", addresses) as running:
        missing = panel_queries()

        def all_found() -> bool:
            missing[:] = [query for query in missing if not running.query(query.expr)]
            return not missing

        try:
            until(all_found, "every panel to show something", SEEN_S)
        except AssertionError:
            raise AssertionError(f"nothing is found by {missing}") from None
        # What a rule finds depends on the moment; that it is understood, and looks at what there is, does not.
        known = Known.of(Scrape(fleet.members[0].get("/metrics")).families())
        for query in alert_queries():
            running.query(query.expr)
            assert list(faults(query, known)) == []


def test_the_dashboard_of_one_node_shows_the_whole_fleet(
    browser: Browser, fleet: Fleet, hub: HubProcess, work: Work
) -> None:
    # Of a node that did not start it: nothing but what members tell each other says how the others stand.
    with tab(browser, fleet.members[1].url) as opened:
        page = opened.page
        card = page.get_by_role("article", name=work.repo)
        for node in ("n0", "n1", "n2"):
            expect(card.get_by_role("row", name=node)).to_contain_text("%")
        flows = page.get_by_role("region", name="Who feeds whom")
        expect(flows.get_by_role("row", name=re.compile("^n2 "))).to_contain_text("B/s")
        hub.set(rate_bytes_per_s=None)
        assert ended(fleet.members[0], work.pull_id)["state"] == "complete"
        row = page.get_by_role("region", name="Models on nodes").get_by_role("row", name=work.repo)
        expect(row.get_by_role("cell").filter(has_text="complete")).to_have_count(3)
        expect(card).to_have_count(0)
        opened.check()


def test_a_real_scrape_passes_the_linters(fleet: Fleet) -> None:
    text = fleet.members[1].get("/metrics")
    own = "".join(line for line in text.splitlines(keepends=True) if "process_" not in line)
    assert lint(Scrape(own)) == []
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip(MISSING)
    ran = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")
