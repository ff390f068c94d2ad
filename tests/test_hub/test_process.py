"""The Hub as a process: it serves, is steered from outside, goes away, and ends when told."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
from huggingface_hub import snapshot_download

from tests.hub import HubProcess, make_certificate
from tests.hub.process import HubControlError
from tests.test_hub.client import files_below


def get(url: str, **headers: str) -> bytes:
    with urlopen(Request(url, headers=headers), timeout=10) as response:
        return bytes(response.read())


@pytest.fixture
def small(tmp_path: Path) -> Path:
    directory = tmp_path / "small"
    directory.mkdir()
    (directory / "config.json").write_bytes(b"{}")
    (directory / "m.bin").write_bytes(b"b" * 5000)
    return directory


def test_a_hub_process_serves_a_snapshot_and_counts(model: Path, tmp_path: Path) -> None:
    with HubProcess({"acme/tiny": model, "dataset:acme/data": model}) as hub:
        for repo_type, repo_id in (("model", "acme/tiny"), ("dataset", "acme/data")):
            cache = tmp_path / repo_type
            path = snapshot_download(
                repo_id, repo_type=repo_type, endpoint=hub.url, cache_dir=cache, token=False
            )
            assert (files_below(Path(path)) == files_below(model)) is True
        counted = hub.counters()
        assert counted["body_bytes"] == 2 * sum(
            path.stat().st_size for path in model.rglob("*") if path.is_file()
        )
        assert counted["token_leaks"] == 0
        hub.reset_counters()
        assert hub.counters()["requests_total"] == 0


def test_everything_can_be_steered_from_outside(small: Path, tmp_path: Path) -> None:
    with HubProcess() as hub:
        sha = hub.add_repo("acme/m", small, gated="auto", readers=["hf_reader"])
        with pytest.raises(HTTPError, match="401"):
            get(f"{hub.url}/acme/m/resolve/main/config.json")
        assert get(f"{hub.url}/acme/m/resolve/main/config.json", Authorization="Bearer hf_reader") == b"{}"
        hub.change_repo("acme/m", gated=False, tags={"v1": "main"})
        (tmp_path / "new.json").write_bytes(b"[]")
        second = hub.commit("acme/m", {"config.json": tmp_path / "new.json", "m.bin": None})
        assert second != sha
        assert get(f"{hub.url}/acme/m/resolve/v1/config.json") == b"{}"
        assert get(f"{hub.url}/acme/m/resolve/main/config.json") == b"[]"
        hub.change_repo("acme/m", renamed_to="acme/new", refs={"refs/pr/2": sha})
        assert get(f"{hub.url}/acme/new/resolve/refs%2Fpr%2F2/config.json") == b"{}"
        hub.set(latency_s=0.0, rate_bytes_per_s=1e9)
        with pytest.raises(HubControlError, match="no setting 'latency'"):
            hub.set(latency=1)
        with pytest.raises(HubControlError, match="the Hub has no model acme/none"):
            hub.change_repo("acme/none", gated=False)


def test_faults_are_added_seen_and_cleared_from_outside(small: Path) -> None:
    with HubProcess({"acme/m": small}) as hub:
        hub.add_fault("status", on="body", path="m.bin", status=500, times=None)
        with pytest.raises(HTTPError, match="500"):
            get(f"{hub.url}/acme/m/resolve/main/m.bin")
        assert [(rule["name"], rule["hits"]) for rule in hub.faults()] == [("status", 1)]
        hub.clear_faults()
        url = f"{hub.url}/acme/m/resolve/main/m.bin"
        assert len(get(url)) == 5000
        hub.advance(3601)
        assert len(get(url)) == 5000
        with pytest.raises(HubControlError, match="unknown fault"):
            hub.add_fault("nonsense")


def test_a_hub_that_went_away_refuses_connections_until_it_is_back(small: Path) -> None:
    with HubProcess({"acme/m": small}) as hub:
        hub.go_away()
        assert hub.wait_until(lambda: not reachable(hub.url))
        assert not reachable(hub.data_url)
        assert hub.counters()["streams"] == 0
        hub.come_back()
        assert get(f"{hub.url}/acme/m/resolve/main/config.json") == b"{}"
        hub.go_away(seconds=0.2)
        assert hub.wait_until(lambda: not reachable(hub.url))
        assert hub.wait_until(lambda: reachable(hub.url))


def reachable(url: str) -> bool:
    try:
        get(f"{url}/api/agent-harnesses")
    except HTTPError:
        return True
    except (URLError, OSError):
        return False
    return True


def test_sigterm_stops_the_process_cleanly_and_kill_at_once(small: Path) -> None:
    hub = HubProcess({"acme/m": small})
    hub.start()
    pid = hub.pid
    os.kill(pid, signal.SIGTERM)
    assert hub.wait() == 0
    hub.stop()
    url = hub.url
    hub.start()
    assert hub.pid != pid
    assert hub.url == url
    hub.kill()
    assert not reachable(url)
    hub.stop()


def test_a_wrong_option_is_reported(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(HubControlError, match="ended with 2"):
        HubProcess({"acme/m": tmp_path / "absent"}).start()
    assert "with an existing DIR" in capfd.readouterr().err


def test_options_reach_the_hub_over_tls(small: Path, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    options = {"tls_cert": certificate, "tls_key": key, "private": True, "token": ["hf_a"], "latency_s": 0.01}
    with HubProcess({"acme/m": small}, **options) as hub:
        assert hub.url.startswith("https://")
        assert hub.data_url.startswith("https://")
        assert hub.counters()["requests_total"] == 0
