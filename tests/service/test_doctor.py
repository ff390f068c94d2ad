"""The doctor of real daemons: two with different secrets, and one whose cache nobody else may read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from peers import secret
from tests.daemon.daemon import DaemonProcess, until
from tests.hub import HubProcess


def findings(daemon: DaemonProcess) -> dict[str, dict[str, Any]]:
    return {found["name"]: found for found in daemon.get("/v1/doctor")["items"]}


def member(directory: Path, hub: HubProcess, name: str, join: str) -> DaemonProcess:
    directory.mkdir()
    file = directory / "secret"
    file.write_text(secret.generate() + "\n")
    file.chmod(0o600)
    return DaemonProcess(
        directory,
        hub.url,
        {
            "node.name": name,
            "cluster.name": "fleet",
            "cluster.listen": "127.0.0.1:0",
            "cluster.join": join,
            "cluster.secret_file": file,
            "swarm.listen": "127.0.0.1:0",
        },
    )


def test_another_secret_is_found_and_the_fix_said(hub: HubProcess, tmp_path: Path) -> None:
    with member(tmp_path / "a", hub, "a", "") as first:
        (own,) = first.get("/v1/peers")["items"]
        with member(tmp_path / "b", hub, "b", own["addresses"]["cluster"]) as second:
            found = until(lambda: findings(second).get("cluster.secret"), "the refusal to be noticed", 10)
            assert found["outcome"] == "fail"
            assert "sha256sum" in found["fix"]
            assert findings(second)["cluster"]["outcome"] == "fail"


def test_what_can_be_seen_of_a_daemon_alone(hub: HubProcess, tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "node", hub.url) as daemon:
        daemon.hub_dir.chmod(0o700)
        found = findings(daemon)
        assert {"cache.hub_dir", "disk", "dns", "hub", "clock"} <= found.keys()
        assert found["cache.readers"]["outcome"] == "warn"
        assert {name for name, each in found.items() if each["outcome"] == "fail"} == set()


def test_a_mode_and_a_full_disk_are_found_each_with_a_fix(hub: HubProcess, tmp_path: Path) -> None:
    # Root may write anywhere, unless it is forbidden to.
    as_owner = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    settings = {"cache.min_free_bytes": "1000TB"}
    with DaemonProcess(tmp_path / "node", hub.url, settings, wrapper=as_owner, wait_ready=False) as daemon:
        daemon.store_dir.chmod(0o500)
        try:
            until(lambda: findings(daemon)["cache.store_dir"]["outcome"] == "fail", "a look at the mode")
            found = findings(daemon)
        finally:
            daemon.store_dir.chmod(0o755)
    failed = {name: each for name, each in found.items() if each["outcome"] == "fail"}
    assert failed.keys() == {"cache.store_dir", "disk"}
    assert "owner, mode" in failed["cache.store_dir"]["fix"]
    assert "distctl gc" in failed["disk"]["fix"]
    assert all(each["fix"] for each in found.values() if each["outcome"] != "ok")
