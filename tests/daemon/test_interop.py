"""What other programs make of it: model libraries that load from the cache, and another mirror in front of the Hub.

Skipped, and said so, where the program is missing: TRANSFORMERS_PYTHON and OLAH_PYTHON name interpreters that have
`transformers` and `olah`; the tests' own is tried for the former.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest
import safetensors

from tests.daemon.client import environment, python
from tests.daemon.daemon import DaemonProcess, until
from tests.daemon.repos import MIB, HubRepo, Repos, assert_same_files, etag_of
from tests.hub import HubProcess

TRANSFORMERS_PYTHON = os.environ.get("TRANSFORMERS_PYTHON", sys.executable)
OLAH_PYTHON = os.environ.get("OLAH_PYTHON", "")

LOAD = """
import json, sys
from transformers import AutoConfig, AutoTokenizer
model = sys.argv[1]
config = AutoConfig.from_pretrained(model)
tokenizer = AutoTokenizer.from_pretrained(model)
print(json.dumps([config.model_type, tokenizer.decode(tokenizer("hello world")["input_ids"])]))
"""
OLAH_START_S = 30.0


def test_transformers_loads_configuration_and_tokenizer_offline_by_name_and_by_path(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess
) -> None:
    if python("import transformers", env=dict(os.environ), interpreter=TRANSFORMERS_PYTHON).returncode:
        pytest.skip("transformers is not installed; set TRANSFORMERS_PYTHON to an interpreter that has it")
    repo = repos.make(weight_mib=1)
    snapshot = daemon.pulled(repo.id)["snapshot_path"]
    hub.reset_counters()

    for name in (repo.id, snapshot):
        env = environment(daemon.hub_dir, hub.url, offline=True)
        done = python(LOAD, name, env=env, interpreter=TRANSFORMERS_PYTHON)
        assert done.returncode == 0, done.stderr
        model_type, text = json.loads(done.stdout.splitlines()[-1])
        assert model_type == json.loads((repo.directory / "config.json").read_text())["model_type"]
        assert text
    assert hub.counters()["requests_total"] == 0


def test_safetensors_opens_the_published_weights(repos: Repos, daemon: DaemonProcess) -> None:
    repo = repos.make(weight_mib=3, shards=3)
    snapshot = Path(daemon.pulled(repo.id)["snapshot_path"])

    index = json.loads((snapshot / "model.safetensors.index.json").read_text())

    assert len(index["weight_map"]) == 3
    for tensor, name in index["weight_map"].items():
        content = (snapshot / name).read_bytes()
        tensors = dict(safetensors.deserialize(content))  # type: ignore[no-untyped-call]  # an extension module
        assert bytes(tensors[tensor]["data"]) == content[-len(tensors[tensor]["data"]) :]


@pytest.fixture
def olah(hub: HubProcess, tmp_path: Path) -> Iterator[str]:
    """The URL of an Olah mirror in front of the test Hub."""
    if not OLAH_PYTHON:
        pytest.skip("OLAH_PYTHON names no interpreter that has olah")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[
            1
        ]  # it takes no port of 0; another may take this one first, and the test fails
    words = [
        "--host=127.0.0.1", f"--port={port}",
        "--hf-scheme=http", f"--hf-netloc={hub.url.removeprefix('http://')}",
        f"--hf-lfs-netloc={hub.data_url.removeprefix('http://')}",
        f"--mirror-netloc=127.0.0.1:{port}", f"--mirror-lfs-netloc=127.0.0.1:{port}",
        f"--repos-path={tmp_path / 'olah'}", f"--log-path={tmp_path / 'olah-logs'}",
    ]  # fmt: skip
    log = tmp_path / "olah.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(Path(OLAH_PYTHON).with_name("olah-cli")), *words],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_ENDPOINT": hub.url},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            with urlopen(url, timeout=5):
                return True
        except HTTPError as error:
            error.close()
            return True
        except URLError:
            return False

    try:
        until(answers, "Olah to answer", OLAH_START_S, poll_s=0.2)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def test_pull_through_an_olah_mirror_is_the_same_as_from_the_hub(
    hub: HubProcess, repos: Repos, olah: str, tmp_path: Path
) -> None:
    # No awkward names: Olah 0.5.4 asks the Hub for them wrongly quoted and answers 404.
    repo = repos.make(weight_mib=12, shards=2, small_files=5)
    with DaemonProcess(tmp_path / "daemon", olah) as daemon:
        view = daemon.pulled(repo.id, weights="all")

        assert view["commit"] == repo.commit
        assert_same_files(Path(view["snapshot_path"]), repo.directory)
        sent = repo.sent_bytes()
        assert sent >= repo.size_bytes
        daemon.delete(f"/v1/models/model/{repo.id}")
        again = daemon.pulled(repo.id, weights="all")

        assert again["bytes_from_hub"] == repo.size_bytes
        assert repo.sent_bytes() - sent < 2 * MIB, "the mirror did not keep it"
        assert_published_under_hub_names(daemon, repo)


def assert_published_under_hub_names(daemon: DaemonProcess, repo: HubRepo) -> None:
    """The blobs are called what the Hub calls them, also where the mirror's headers say something else."""
    for blob in (daemon.hub_dir / repo.folder / "blobs").iterdir():
        assert etag_of(blob, blob.name) == blob.name
