"""Bandwidth limits on a daemon that is alone: held, changed while bytes flow, kept over a restart, and told."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.daemon.daemon import DaemonProcess, Refused, until
from tests.daemon.repos import Repos
from tests.hub import HubProcess

RATE = 8_000_000
KEPT_BACK_BYTES = 2_000_000
"""What sockets take in ahead, and a tenth of a second's burst."""


@pytest.fixture
def limited(hub: HubProcess, tmp_path: Path) -> DaemonProcess:
    """Reads a configuration file, so that it can be told to read another one. Not started."""
    config = tmp_path / "config.toml"
    config.write_text(f'[limits]\nhub_down = "{RATE} B/s"\n')
    return DaemonProcess(tmp_path, hub.url, wrapper=("env", f"DISTD_CONFIG={config}"))


def test_a_limit_holds_and_goes_at_once_when_it_is_lifted(
    limited: DaemonProcess, repos: Repos, tmp_path: Path
) -> None:
    repo = repos.make(weight_mib=48)
    with limited:
        began = time.monotonic()
        pull = limited.submit(repo.id)["id"]
        view = limited.wait(pull, lambda view: view["bytes_done"] >= 16 * 2**20)
        took_s = time.monotonic() - began
        assert view["bytes_done"] <= RATE * took_s + KEPT_BACK_BYTES
        assert view["bytes_done"] >= RATE * 0.8 * (took_s - 1.0)

        (tmp_path / "config.toml").write_text("[limits]\nhub_down = 0\n")
        os.kill(limited.pid, signal.SIGHUP)
        lifted = time.monotonic()
        assert limited.wait(pull)["state"] == "complete"
        assert time.monotonic() - lifted < 3.0  # 32 MiB at the limit would be more than 4 s
        assert limited.get("/v1/limits")["hub_down_now"] == 0
    assert repo.sent_bytes() <= repo.size_bytes + 2**20  # nothing was dropped and fetched again


def test_what_is_set_at_run_time_holds_until_it_is_taken_back_restarts_included(
    limited: DaemonProcess,
) -> None:
    with limited:
        view = limited.ask("PUT", "/v1/limits", {"hub_down": 5_000_000, "peer_up": 0})
        assert (view["in_force"]["hub_down"], view["sources"]["hub_down"]) == (5_000_000, "set")
        assert view["hub_down_now"] == 5_000_000
        limited.restart()
        view = limited.get("/v1/limits")
        assert view["set"]["hub_down"] == {"rate_bytes_per_s": 5_000_000, "until": None}
        assert view["hub_down_now"] == 5_000_000
        limited.ask("PUT", "/v1/limits", {"hub_down": None, "peer_up": None})
        view = limited.ask("PUT", "/v1/limits", {"hub_down_cluster": 3_000_000, "for_s": 0.8})
        assert view["hub_down_now"] == 3_000_000
        assert view["next_change_at"] == view["set"]["hub_down_cluster"]["until"]
        until(lambda: limited.get("/v1/limits")["hub_down_now"] == RATE, "the setting to end", 2.8)
        assert limited.get("/v1/limits")["set"] == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hub_down": 100}, "is too little to work with"),
        ({"hub_down": -1}, ">= 0"),
        ({"hub_donw": 1}, "did you mean 'hub_down'"),
        ({"peer_up": 10**6, "for_s": 0}, "> 0.0"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_and_changes_nothing(
    daemon: DaemonProcess, change: dict[str, float], said: str
) -> None:
    before = daemon.get("/v1/limits")
    with pytest.raises(Refused) as refused:
        daemon.ask("PUT", "/v1/limits", change)
    assert refused.value.code == "invalid_request"
    assert said in refused.value.detail
    assert daemon.get("/v1/limits") == before
