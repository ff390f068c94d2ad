"""The doctor of real daemons: two with different secrets, and one whose cache nobody else may read."""

from __future__ import annotations

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
