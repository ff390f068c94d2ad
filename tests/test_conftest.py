"""The rules of tests/conftest.py are themselves tested: a check that cannot fail is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def outcome(tmp_path: Path, test: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs one planted test under the project's settings and conftest."""
    (tmp_path / "conftest.py").write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom tests.conftest import *\n"
    )
    (tmp_path / "test_planted.py").write_text(test)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-c",
        str(ROOT / "pyproject.toml"),
        "--rootdir",
        str(tmp_path),
    ]
    return subprocess.run(
        [*command, "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "NO_SKIPS"} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


HASHES = "import hashlib\nasync def test_busy():\n    for _ in range(32):\n        hashlib.sha256(bytes(1 << 26))\n"
SLEEPS = "import time\nasync def test_slow():\n    time.sleep(3.2)\n"


@pytest.mark.parametrize("test", [HASHES, SLEEPS], ids=["hashes", "sleeps"])
def test_a_test_that_holds_the_loop_fails(tmp_path: Path, test: str) -> None:
    done = outcome(tmp_path, test)
    assert done.returncode == 1
    assert "the event loop was held" in done.stdout


def test_a_test_that_awaits_passes(tmp_path: Path) -> None:
    done = outcome(tmp_path, "import asyncio\nasync def test_patient():\n    await asyncio.sleep(3.2)\n")
    assert done.returncode == 0, done.stdout


def test_a_skip_fails_only_where_none_is_allowed(tmp_path: Path) -> None:
    skipped = "import pytest\ndef test_other():\n    pass\ndef test_none():\n    pytest.skip('no tool')\n"
    assert outcome(tmp_path, skipped).returncode == 0
    forbidden = outcome(tmp_path, skipped, NO_SKIPS="1")
    assert forbidden.returncode == 1
    assert "no tool" in forbidden.stdout
