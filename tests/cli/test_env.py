"""`distctl env`: what each server gets, and that a shell, systemd and docker read the lines alike."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from msgspec import structs

from distd.cli.serving import SERVERS, Serving, Snapshot, serving
from distd.core.refs import Repo
from tests.api.memory import COMMIT, HUB_DIR, snapshot_path
from tests.cli.serving import ServedDaemon, distctl

TINY = Repo("model", "acme/tiny")
SNAPSHOT = Snapshot("acme/tiny", COMMIT, f"/hub/models--acme--tiny/snapshots/{COMMIT}", "/hub")
COMMON = {
    "HF_HUB_CACHE": "/hub",
    "HF_HUB_OFFLINE": "1",
    "DISTD_MODEL": SNAPSHOT.path,
    "DISTD_REPO": "acme/tiny",
    "DISTD_COMMIT": COMMIT,
}


def llama(*files: str) -> Serving:
    return serving(SNAPSHOT, "llama.cpp", files, None)


@pytest.mark.parametrize("server", [None, *SERVERS])
def test_every_server_reads_the_cache_offline_at_this_commit(server: str | None) -> None:
    found = serving(SNAPSHOT, server, ["config.json"], 990)
    assert found.variables.items() >= COMMON.items()
    assert (found.command is None) == (server is None)


def test_offline_vllm_reports_its_use_to_nobody() -> None:
    assert serving(SNAPSHOT, "vllm", None, None).variables["VLLM_NO_USAGE_STATS"] == "1"
    assert "VLLM_NO_USAGE_STATS" not in serving(SNAPSHOT, "docker", None, None).variables


def test_llama_cpp_gets_its_file_when_there_is_one_choice() -> None:
    assert llama("README.md", "q4.gguf", "mmproj-f16.gguf").variables["LLAMA_ARG_MODEL"].endswith("/q4.gguf")
    parts = llama("big/q8-00002-of-00002.gguf", "big/q8-00001-of-00002.gguf")
    assert parts.variables["LLAMA_ARG_MODEL"].endswith("/big/q8-00001-of-00002.gguf")


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (["q4.gguf", "q8.gguf"], "one of them below $DISTD_MODEL: q4.gguf, q8.gguf"),
        (["model.safetensors"], "this snapshot has none"),
        (None, "this user cannot look there"),
    ],
)
def test_llama_cpp_is_told_when_there_is_not(files: list[str] | None, says: str) -> None:
    found = serving(SNAPSHOT, "llama.cpp", files, None)
    assert "LLAMA_ARG_MODEL" not in found.variables
    assert says in found.remarks[0]


def test_docker_mounts_the_cache_where_it_is_and_only_to_read() -> None:
    assert serving(SNAPSHOT, "docker", None, 990).command == (
        "docker run --env-file FILE --group-add 990 --volume /hub:/hub:ro IMAGE"
    )
    assert "number of the group" in serving(SNAPSHOT, "docker", None, None).remarks[0]


def test_the_lines_are_an_env_file_and_with_export_a_script(daemon: ServedDaemon, tmp_path: Path) -> None:
    daemon.memory.models.hold(TINY)
    lines = distctl(daemon, "env", "acme/tiny", "--for", "vllm").stdout.splitlines()
    assert lines[0] == '# vllm serve "$DISTD_MODEL" --served-model-name "$DISTD_REPO"'
    assert lines[1:4] == [
        f"HF_HUB_CACHE={HUB_DIR}",
        "HF_HUB_OFFLINE=1",
        f"DISTD_MODEL={snapshot_path(TINY)}",
    ]
    assert all(line.startswith("#") or "=" in line for line in lines)
    script = distctl(daemon, "env", "acme/tiny", "--export").stdout
    ran = subprocess.run(
        ["sh", "-c", 'eval "$1"; exec env', "sh", script], env={}, capture_output=True, text=True, check=True
    )
    assert f"DISTD_MODEL={snapshot_path(TINY)}" in ran.stdout.splitlines()
    assert not distctl(daemon, "env", "acme/tiny", "--for", "vllm", "-q").stdout.startswith("#")
    told = json.loads(distctl(daemon, "env", "acme/tiny", "--json").stdout)
    assert told["variables"]["DISTD_COMMIT"] == COMMIT


def test_a_value_that_a_shell_would_split_is_quoted(daemon: ServedDaemon) -> None:
    daemon.memory.models.hold(TINY)
    model = daemon.memory.models.models[TINY]
    (revision,) = model.revisions
    odd = structs.replace(revision, snapshot_path="/hub of mine/$HOME")
    daemon.memory.models.models[TINY] = structs.replace(model, revisions=(odd,))
    assert "DISTD_MODEL='/hub of mine/$HOME'\n" in distctl(daemon, "env", "acme/tiny").stdout


def test_what_is_not_held_ends_with_4(daemon: ServedDaemon) -> None:
    assert distctl(daemon, "env", "acme/tiny").returncode == 4
    daemon.memory.models.hold(TINY)
    ran = distctl(daemon, "env", "acme/tiny@v2")
    assert (ran.returncode, ran.stdout) == (4, "")
