"""The official client in processes of its own, kept apart from this user's settings and tokens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

CALL = """
import json, sys
import huggingface_hub
name, arguments = json.loads(sys.argv[1])
print(json.dumps(getattr(huggingface_hub, name)(**arguments)))
"""
TIMEOUT_S = 60.0


def environment(hub_dir: Path, endpoint: str, *, offline: bool) -> dict[str, str]:
    """What a model server would be started with, on the daemon's cache."""
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(hub_dir.parent),
        "HF_HOME": str(hub_dir.parent / "hf-home"),
        "HF_HUB_CACHE": str(hub_dir),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_OFFLINE": str(int(offline)),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }


def python(
    script: str, *arguments: str, env: dict[str, str], interpreter: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [interpreter, "-c", script, *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def call(name: str, hub_dir: Path, endpoint: str, *, offline: bool = True, **arguments: Any) -> Any:
    """A function of huggingface_hub; fails the test with its words when it raises."""
    done = python(CALL, json.dumps([name, arguments]), env=environment(hub_dir, endpoint, offline=offline))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def hf(*words: str, hub_dir: Path, endpoint: str, offline: bool = False) -> str:
    """The `hf` program; returns what it printed, fails the test when it fails."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("hf")), *words],
        env=environment(hub_dir, endpoint, offline=offline),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
