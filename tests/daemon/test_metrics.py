"""The counters of a real daemon against what the Hub saw, and what a bad configuration and a bad byte do to them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.daemon.daemon import DaemonProcess, until
from tests.daemon.repos import MIB, Repos
from tests.hub import HubProcess
from tests.scrape import lint


def test_what_is_counted_is_what_the_hub_saw(hub: HubProcess, repos: Repos, tmp_path: Path) -> None:
    repo = repos.make(weight_mib=4)
    with DaemonProcess(tmp_path, hub.url) as node:
        hub.reset_counters()
        node.pulled(repo.id)
        node.pulled(repo.id)  # all of it is held
        seen, now = hub.counters(last=0), node.metrics()
        asked = {str(each["status"]): 0 for each in seen["requests"]}
        for each in seen["requests"]:
            asked[str(each["status"])] += each["count"]
        assert now.value("distd_hub_received_bytes_total") == repo.sent_bytes() == repo.size_bytes
        assert now.by_label("distd_hub_requests_total") == asked
        assert now.value("distd_reused_bytes_total") == repo.size_bytes
        assert now.by_label("distd_pulls_finished_total") == {"complete": 2, "failed": 0, "cancelled": 0}
        assert now.by_label("distd_pulls")["complete"] == 2
        assert now.value("distd_pull_duration_seconds_count") == 2
        assert now.value("distd_cache_free_bytes") > 0
        assert now.by_label("distd_cluster_members")["alive"] == 1
        assert now.value("distd_ready") == 1
        assert lint(now) == []


def test_a_wrong_byte_an_unknown_repo_and_a_bad_reload_are_counted(
    hub: HubProcess, repos: Repos, tmp_path: Path
) -> None:
    repo = repos.make(weight_mib=4, shards=1)
    config = tmp_path / "config.toml"
    config.write_text("")
    with DaemonProcess(tmp_path, hub.url, environment={"DISTD_CONFIG": str(config)}) as node:
        hub.add_fault("wrong_byte", on="body", path="model.safetensors", at=MIB, times=1)
        node.pulled(repo.id)
        node.pull("acme/unknown")
        now = node.metrics()
        assert now.by_label("distd_pieces_rejected_total") == {"hub": 1, "peers": 0, "disk": 0}
        assert now.value("distd_files_rejected_total") == 1
        assert now.value("distd_hub_received_bytes_total") > repo.size_bytes
        assert now.by_label("distd_pulls_finished_total")["failed"] == 1
        assert now.value("distd_config_last_reload_successful") == 1
        for text, outcome in (("[limits]\nhub_down = 'fast'\n", 0), ("", 1)):
            config.write_text(text)
            os.kill(node.pid, signal.SIGHUP)
            until(
                lambda wanted=outcome: node.metrics().value("distd_config_last_reload_successful") == wanted,  # type: ignore[misc]  # bound now
                "the reload to be told",
            )


def test_the_daemon_does_not_load_the_library_before_somebody_scrapes() -> None:
    script = "import distd.main, sys; print([name for name in sys.modules if name.startswith('prometheus')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
