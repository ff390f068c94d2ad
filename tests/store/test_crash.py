"""A process killed at any step leaves a state others can use, and the same call completes it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.store.crash_driver import COMMIT, CONTENTS

WHOLE = {path: content.decode() for path, content in CONTENTS.items()}


def crash_everywhere(tmp_path: Path, scenario: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.store.crash_driver", str(tmp_path), scenario],
        capture_output=True, text=True, timeout=100, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    assert [entry["status"] for entry in found] == [86] * (len(found) - 1) + [0], done.stderr
    assert [entry["again_status"] for entry in found] == [0] * len(found), done.stderr
    return found


def test_publishing_killed_anywhere_shows_all_or_nothing_and_goes_on(tmp_path: Path) -> None:
    found = crash_everywhere(tmp_path, "publish")

    assert len(found) > 20
    for entry in found:
        crashed = entry["crashed"]
        assert crashed["snapshot"] in ({}, WHOLE)
        if crashed["tree"] or crashed["refs"]:
            assert crashed["snapshot"] == WHOLE
        if crashed["refs"]:
            assert crashed["tree"]
        if crashed["snapshot"]:
            assert crashed["warnings"] == []
        assert set(crashed["refs"].values()) <= {COMMIT}
        assert entry["again"] == found[-1]["again"]
    last = found[-1]["again"]
    assert last["snapshot"] == WHOLE
    assert last["refs"] == {"main": COMMIT, "refs/pr/1": COMMIT}
    assert (last["warnings"], last["scratch"], last["hub_blobs"], last["tree"]) == ([], False, 3, True)


def test_completing_a_filtered_snapshot_killed_anywhere_goes_on(tmp_path: Path) -> None:
    found = crash_everywhere(tmp_path, "publish over a part")

    for entry in found:
        crashed = entry["crashed"]
        assert crashed["warnings"] == []
        assert crashed["refs"]["main"] == COMMIT
        assert "dangling" not in crashed["snapshot"].values()
        if crashed["tree"]:
            assert crashed["snapshot"] == WHOLE
        assert entry["again"] == found[-1]["again"]
    assert found[-1]["again"]["snapshot"] == WHOLE


def test_unpublishing_killed_anywhere_hides_all_and_goes_on(tmp_path: Path) -> None:
    found = crash_everywhere(tmp_path, "unpublish")

    for entry in found:
        crashed = entry["crashed"]
        assert crashed["snapshot"] in ({}, WHOLE)
        if crashed["refs"]:
            assert crashed["snapshot"] == WHOLE
        assert not [warning for warning in crashed["warnings"] if "Snapshots dir" not in warning]
        assert entry["again"] == found[-1]["again"]
    assert found[-1]["again"]["hub_blobs"] == 0
    assert found[-1]["again"]["snapshot"] == {}


def test_accepting_killed_anywhere_gives_the_whole_blob_or_none(tmp_path: Path) -> None:
    found = crash_everywhere(tmp_path, "accept")

    assert {entry["crashed"]["new_blob"] for entry in found} == {None, "n" * 1000}
    assert {entry["again"]["new_blob"] for entry in found} == {"n" * 1000}
