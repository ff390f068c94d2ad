"""Who reads the cache: another user of its group, a read-only mount, a stranger; with what `distctl env` prints."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.daemon.daemon import DaemonProcess
from tests.daemon.repos import Repos
from tests.hub import HubProcess

READER_UID = 61_001
READERS_GID = 61_000
STRANGERS_GID = 61_002

LOAD = """
import json, os
import huggingface_hub
from transformers import AutoConfig, AutoTokenizer
told = {}
for how, model in (("path", os.environ["DISTD_MODEL"]), ("name", os.environ["DISTD_REPO"])):
    config, tokenizer = AutoConfig.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    told[how] = [config.model_type, bool(tokenizer("hello world")["input_ids"])]
told["snapshot"] = huggingface_hub.snapshot_download(os.environ["DISTD_REPO"])
print(json.dumps(told))
"""
FIND = """
import os, huggingface_hub
try:
    print(huggingface_hub.snapshot_download(os.environ["DISTD_REPO"]))
except Exception as error:
    print(type(error).__name__)
"""
WRITE = """
import os
for path in (os.environ["HF_HUB_CACHE"], os.environ["DISTD_MODEL"], os.environ["HF_HUB_CACHE"] + "/.."):
    try:
        open(path + "/mine", "w")
    except OSError as error:
        print(error.strerror)
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users")


@dataclass
class Cache:
    directory: Path
    repo: str
    commit: str
    lines: str
    """What `distctl env --export` printed."""


@pytest.fixture(scope="module")
def cache(hub: HubProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cache]:
    """Filled as the unit does it: umask 0027, and a directory with the readers' group that its children inherit."""
    directory = tmp_path_factory.mktemp("cache")
    repo = Repos(hub, tmp_path_factory.mktemp("repos")).make(weight_mib=1)
    daemon = DaemonProcess(
        directory,
        hub.url,
        wrapper=["sh", "-c", 'umask 0027; exec "$@"', "sh"],
    )
    os.chown(daemon.state_dir, 0, READERS_GID)
    daemon.state_dir.chmod(0o2750)
    with daemon:
        daemon.pulled(repo.id)
        words = [
            sys.executable,
            "-m",
            "distd.cli",
            "--url",
            daemon.url,
            "env",
            "--export",
            "--for",
            "vllm",
            repo.id,
        ]
        printed = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
        yield Cache(daemon.state_dir, repo.id, repo.commit, printed.stdout)


def run(cache: Cache, script: str, gid: int, *, read_only: bool = False) -> str:
    """Runs Python as another user with the lines printed, the cache seen as a container sees it: mounted elsewhere.

    The interpreter and its libraries are mounted too, because the directories above them may be closed to others.
    """
    mounts = Path("/run/distd-test")
    options = "bind,ro" if read_only else "bind"
    base, site = sys.base_prefix, sysconfig.get_path("purelib")
    setting_up = f"""
        set -e
        mount -t tmpfs -o mode=755 tmpfs /run && mkdir -p {mounts}/python {mounts}/site {mounts}/home
        chmod 777 {mounts}/home
        mount --bind {base} {mounts}/python && mount --bind {site} {mounts}/site
        mount -t tmpfs -o mode=755 tmpfs /mnt && mkdir -p /mnt/cache && mount --bind {cache.directory} /mnt/cache
        mount -o remount,{options} /mnt/cache
        eval "$(echo "$LINES_PRINTED" | sed 's|{cache.directory}|/mnt/cache|')"
        unset LINES_PRINTED
        cd {mounts}/home
        exec env LD_LIBRARY_PATH={mounts}/python/lib \\
            setpriv --reuid={READER_UID} --regid={READER_UID} --groups={gid} \\
            {mounts}/python/bin/python{sys.version_info.major}.{sys.version_info.minor} -c "$0"
    """
    done = subprocess.run(
        ["unshare", "--mount", "--propagation=private", "sh", "-c", setting_up, script],
        env={
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": f"{mounts}/home",
            "PYTHONPATH": f"{mounts}/site",
            "LINES_PRINTED": cache.lines,
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_transformers_loads_as_another_user_of_the_group_by_path_and_by_name(cache: Cache) -> None:
    told = json.loads(run(cache, LOAD, READERS_GID).splitlines()[-1])
    assert told["path"] == told["name"] == [told["path"][0], True]
    assert told["snapshot"].endswith(f"/snapshots/{cache.commit}")


def test_a_read_only_mount_serves_as_well(cache: Cache) -> None:
    assert run(cache, FIND, READERS_GID, read_only=True).strip().endswith(f"/snapshots/{cache.commit}")
    assert run(cache, WRITE, READERS_GID, read_only=True).splitlines() == ["Read-only file system"] * 3


def test_a_reader_cannot_write_and_a_stranger_finds_nothing(cache: Cache) -> None:
    assert run(cache, WRITE, READERS_GID).splitlines() == ["Permission denied"] * 3
    assert run(cache, FIND, STRANGERS_GID).strip() == "LocalEntryNotFoundError"


def test_the_modes_are_those_that_the_documents_name(cache: Cache) -> None:
    modes: dict[str, set[str]] = {}
    for path in (cache.directory / "hub").rglob("*"):
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            continue
        assert found.st_gid == READERS_GID, path
        kind = "directory" if path.is_dir() else "blob" if path.parent.name == "blobs" else "other"
        modes.setdefault(kind, set()).add(f"{stat.S_IMODE(found.st_mode):o}")
    assert modes == {"directory": {"2750"}, "blob": {"440"}, "other": {"640"}}
