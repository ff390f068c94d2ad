"""`distd --check` and `--print-config` as an operator runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from distd.config import load_config

CHECKOUT = Path(__file__).parents[2]


def distd(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the daemon's program; what this machine has in DISTD_ or HF_ variables does not count."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DISTD_", "HF_"))}
    return subprocess.run(
        [sys.executable, "-m", "distd", *words],
        cwd=CHECKOUT,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_check_of_a_valid_configuration_exits_with_0() -> None:
    done = distd("--config", "config.toml", "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "the configuration is valid\n", "")


def test_check_of_an_invalid_one_exits_with_2_and_names_every_fault(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text("[hub]\nconections = 3\n[api]\nlisten = 'x'\n")
    done = distd("--config", str(file), "--check")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"{file}: hub.conections = 3: unknown key: did you mean 'connections'?",
        f"{file}: api.listen = 'x': 'x' is not an address: write \"HOST:PORT\", for instance \"127.0.0.1:7070\"",
    ]


def test_an_invalid_setting_stops_the_daemon_with_2_before_it_does_anything(tmp_path: Path) -> None:
    done = distd("--set", "hub.connections=0", "--set", f"node.state_dir={tmp_path}/state")
    assert done.returncode == 2
    assert "--set hub.connections=0: hub.connections = '0'" in done.stderr
    assert not (tmp_path / "state").exists()


def test_what_print_config_prints_is_a_file_of_the_same_configuration(tmp_path: Path) -> None:
    settings = ("node.zone=rack 7", "hub.connections=3", "cache.max_bytes=1 TB")
    done = distd(
        *(word for setting in settings for word in ("--set", setting)),
        "--print-config",
        HF_ENDPOINT="http://mirror",
    )
    assert (done.returncode, done.stderr) == (0, "")
    printed = tmp_path / "printed.toml"
    printed.write_text(done.stdout)
    assert load_config(str(printed), (), {}) == load_config(
        None, settings, {"HF_ENDPOINT": "http://mirror", "DISTD_CONFIG": "/dev/null"}
    )
