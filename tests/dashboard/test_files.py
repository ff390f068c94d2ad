"""The dashboard as files: all of them are in the package and served, under a strict policy, and name no other host."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import aiohttp

from distd.api.dashboard import CONTENT_TYPES
from distd.api.server import serve
from tests.api.memory import MemoryDaemon

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "distd/dashboard"
FILES = sorted(path.name for path in FOLDER.iterdir() if path.suffix[1:] in CONTENT_TYPES)
NAMESPACE = "http://www.w3.org/2000/svg"


async def test_every_file_is_served_under_a_policy_that_allows_this_node_alone() -> None:
    async with (
        serve(MemoryDaemon().app(token="s3cret"), "127.0.0.1:0") as bound,
        aiohttp.ClientSession(bound.url, headers={"Accept": "text/html,*/*"}) as session,
    ):
        for name in FILES:
            async with session.get("/" if name == "index.html" else f"/dashboard/{name}") as response:
                assert response.status == 200, name
                assert await response.read() == (FOLDER / name).read_bytes()
                assert response.content_type == CONTENT_TYPES[name.rpartition(".")[2]]
                policy = response.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert set(re.findall(r"'[^']+'|\S+:", policy)) <= {"'none'", "'self'", "'script'"}, policy
        for path in ("/dashboard/index.html", "/dashboard/__init__.py", "/dashboard/..%2findex.html"):
            async with session.get(path) as response:
                assert response.status == 404, path


def test_no_file_names_another_host_or_turns_a_string_into_markup() -> None:
    for name in FILES:
        text = (FOLDER / name).read_text(encoding="utf-8").replace(NAMESPACE, "")
        assert not re.search(r"https?:|//[a-z]+\.", text), name
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|Function\(", text
        ), name
        assert not re.search(r"\sstyle=|\son[a-z]+=|<style|javascript:", text), name


def test_every_module_is_one_idea_long_and_every_import_is_there() -> None:
    for path in FOLDER.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert text.startswith("// "), f"{path.name} does not say what it is"
        assert text.count("\n") <= 450
        assert {name.removeprefix("./") for name in re.findall(r'from "([^"]+)"', text)} <= set(FILES)


def test_the_wheel_carries_every_file(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        assert {f"distd/dashboard/{name}" for name in FILES} <= set(packed.namelist())
