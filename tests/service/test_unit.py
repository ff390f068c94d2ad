"""The unit, its examples, the user and the directories, judged by systemd's own tools; nothing is started."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from distd.main import STOP_TIMEOUT_S

SYSTEMD = Path(__file__).parents[2] / "systemd"
EXPOSURE_MAX = 2.0
EXAMPLES = sorted((SYSTEMD / "examples").iterdir())

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A directory of units with ours, its program being one that exists here."""
    unit = (SYSTEMD / "distd.service").read_text()
    program = str(Path(sys.executable).parent / "distd")
    (tmp_path / "distd.service").write_text(unit.replace("/opt/distd/venv/bin/distd", program))
    shutil.copy(SYSTEMD / "distd.socket", tmp_path)
    return tmp_path


def analyze(units: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *words],
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{units}:"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def verify(units: Path) -> subprocess.CompletedProcess[str]:
    # Unknown keys are no error of `verify`, only a line; and it goes on to the units ours needs.
    return analyze(units, "verify", "--man=no", "--recursive-errors=no", str(units / "distd.service"))


def with_example(units: Path, example: Path) -> None:
    (units / "distd.service.d").mkdir()
    shutil.copy(example, units / "distd.service.d")


def value_of(key: str) -> str:
    (value,) = re.findall(rf"^{key}=(.*)$", (SYSTEMD / "distd.service").read_text(), re.MULTILINE)
    return str(value)


def test_systemd_finds_nothing_wrong_with_the_unit(units: Path) -> None:
    done = verify(units)
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_finds_nothing_wrong_with_the_socket(units: Path) -> None:
    done = analyze(units, "verify", "--man=no", "--recursive-errors=no", str(units / "distd.socket"))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_systemd_finds_nothing_wrong_with_the_unit_and_an_example(units: Path, example: Path) -> None:
    with_example(units, example)
    done = verify(units)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_mistake_in_a_drop_in_would_be_seen(units: Path) -> None:
    (units / "distd.service.d").mkdir()
    (units / "distd.service.d" / "10-wrong.conf").write_text("[Service]\nIpAddressDenied=any\n")
    assert "IpAddressDenied" in verify(units).stderr


def test_the_service_is_exposed_to_less_than_2_points_of_10(units: Path) -> None:
    limit = f"--threshold={EXPOSURE_MAX * 10:.0f}"
    done = analyze(units, "security", "--offline=true", limit, str(units / "distd.service"))
    assert done.returncode == 0, done.stdout
    (told,) = re.findall(r"exposure level for distd\.service: ([\d.]+)", done.stdout)
    assert 0 < float(told) < EXPOSURE_MAX


def test_what_the_daemon_cannot_do_without_is_left_to_it(units: Path) -> None:
    done = analyze(units, "security", "--offline=true", "--json=short", str(units / "distd.service"))
    found = {row["json_field"]: row["set"] for row in json.loads(done.stdout)}
    assert found["RestrictAddressFamilies_AF_NETLINK"] is False
    assert found["RestrictAddressFamilies_AF_INET_INET6"] is False
    assert found["RestrictAddressFamilies_OTHER"] is True


def test_the_unit_allows_the_daemon_the_time_that_it_takes() -> None:
    assert int(value_of("TimeoutStopSec").removesuffix("s")) > STOP_TIMEOUT_S
    assert int(value_of("WatchdogSec").removesuffix("s")) >= 30


def test_a_fresh_root_gets_the_user_the_groups_and_the_directories(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes users and owns files as others")
    for name in ("etc", "var/lib"):
        (tmp_path / name).mkdir(parents=True)
    for tool, file in (("systemd-sysusers", "distd.sysusers"), ("systemd-tmpfiles", "distd.tmpfiles")):
        create = ["--create"] if tool == "systemd-tmpfiles" else []
        subprocess.run([tool, f"--root={tmp_path}", *create, str(SYSTEMD / file)], check=True, timeout=60)
    users = dict(line.split(":", 1) for line in (tmp_path / "etc/passwd").read_text().splitlines())
    groups = {
        line.split(":")[0]: line.split(":") for line in (tmp_path / "etc/group").read_text().splitlines()
    }
    assert users["distd"].endswith(":/var/lib/distd:/usr/sbin/nologin")
    assert groups["models"][3] == "distd"
    found = (tmp_path / "var/lib/distd").stat()
    assert stat.S_IMODE(found.st_mode) == 0o2750
    assert (str(found.st_uid), str(found.st_gid)) == (users["distd"].split(":")[1], groups["models"][2])
    assert stat.S_IMODE((tmp_path / "etc/distd/credentials").stat().st_mode) == 0o700
