"""What `distctl doctor` finds from outside, and that its support archive has no secret."""

from __future__ import annotations

import gzip
import json
import socket
import stat
import tarfile
from pathlib import Path
from typing import Any

from distd.core.refs import Repo
from distd.errors import HubUnreachable
from tests.cli.serving import ServedDaemon, distctl

SECRETS = {
    "hub": "hf_PlantedInTheFileOfTheHub",
    "variable": "hf_PlantedInAVariable0",
    "cluster": "planted4cluster0f9c2ab1764de83350a1f2b4c6d8",
    "api": "planted-token-of-the-api",
    "signed": "planted5ignature",
    "password": "plantedPa55word",
}


def findings(*words: str, **env: str) -> dict[str, dict[str, Any]]:
    ran = distctl(None, "--json", *words, "doctor", env=env)
    return {found["name"]: found for found in json.loads(ran.stdout)["findings"]}


def test_a_taken_port_and_an_address_of_another_host_are_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        state = {"DISTD_NODE__STATE_DIR": str(tmp_path)}
        away = ("--socket", str(tmp_path / "none.sock"))
        found = findings(*away, DISTD_API__LISTEN=f"127.0.0.1:{port}", **state)["ports"]
        assert found["outcome"] == "fail"
        assert f"api.listen: 127.0.0.1:{port} is taken" in found["detail"]
        assert f"ss -ltnp 'sport = :{port}'" in found["fix"]
    found = findings(*away, DISTD_API__LISTEN=f"127.0.0.1:{port}", **state)["ports"]
    assert (found["outcome"], found["detail"]) == ("ok", f"free: {port}")
    found = findings(*away, DISTD_API__LISTEN="192.0.2.1:7070", **state)["ports"]
    assert "no address of this host" in found["detail"]


def test_the_archive_has_what_helps_and_no_secret(daemon: ServedDaemon, tmp_path: Path) -> None:
    """Secrets in every place that a text of the archive is made from."""
    files = {name: tmp_path / name for name in ("hub", "cluster", "api")}
    for name, file in files.items():
        file.write_text(SECRETS[name] + "\n")
        file.chmod(0o600)
    config = tmp_path / "config.toml"
    config.write_text(
        f"[hub]\ntoken_file = '{files['hub']}'\n[cluster]\nname = 'fleet'\nsecret_file = '{files['cluster']}'\n"
        f"[api]\ntoken_file = '{files['api']}'\n"
    )
    memory = daemon.memory
    memory.models.hold(Repo("model", "acme/tiny"))
    reason = f"GET https://cdn.example/x?X-Amz-Signature={SECRETS['signed']}&e=1: {SECRETS['cluster']}"
    memory.pulls.on_submit = lambda pull: memory.pulls.fail(
        pull.id, HubUnreachable("https://huggingface.co", reason)
    )
    distctl(daemon, "pull", "acme/tiny", "--detach")
    archive = tmp_path / "bundle.tar.gz"
    ran = distctl(
        daemon,
        *("doctor", "--bundle", str(archive)),
        env={
            "DISTD_CONFIG": str(config),
            "HF_TOKEN": SECRETS["variable"],
            "https_proxy": f"http://joe:{SECRETS['password']}@proxy.example:3128",
            "DISTD_TOKEN": SECRETS["api"],
        },
    )
    assert "readable by this user alone" in ran.stderr, ran
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    with tarfile.open(archive) as opened:
        texts = {
            member.name: opened.extractfile(member).read().decode()  # type: ignore[union-attr]  # all are files
            for member in opened.getmembers()
        }
    names = {name.removeprefix("distd-doctor/") for name in texts}
    assert {
        "findings.json",
        "config.toml",
        "status.json",
        "pulls.json",
        "models.json",
        "host.txt",
        "log.txt",
    } <= names
    assert "stories/p0001.json" in names
    whole = gzip.decompress(archive.read_bytes()).decode(errors="replace")
    assert {name for name, secret in SECRETS.items() if secret in whole} == set()
    # What helps is there: the failure's words, the proxy's name, and where the secrets are kept.
    assert "https://cdn.example/x?[hidden]" in texts["distd-doctor/pulls.json"]
    assert "proxy.example:3128" in texts["distd-doctor/host.txt"]
    assert str(files["cluster"]) in texts["distd-doctor/config.toml"]
    assert {"config", "daemon", "hub"} <= {f["name"] for f in json.loads(texts["distd-doctor/findings.json"])}


def test_an_archive_that_is_there_is_not_replaced(daemon: ServedDaemon, tmp_path: Path) -> None:
    archive = tmp_path / "bundle.tar.gz"
    archive.write_text("mine")
    ran = distctl(daemon, "doctor", "--bundle", str(archive))
    assert (ran.returncode, archive.read_text()) == (1, "mine")
    assert "name another file" in ran.stderr


def test_the_archive_is_made_without_a_daemon_too(tmp_path: Path) -> None:
    archive = tmp_path / "bundle.tar.gz"
    ran = distctl(None, "doctor", "--socket", str(tmp_path / "none.sock"), "--bundle", str(archive))
    assert ran.returncode == 1  # the daemon is away
    with tarfile.open(archive) as opened:
        status = opened.extractfile("distd-doctor/status.json")
        assert status is not None
        assert b"does not answer" in status.read()
