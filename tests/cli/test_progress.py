"""Lines of a pull as pure functions: every state, every width."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import to_builtins

from distd.cli.progress import frame, plain_line
from distd.cli.text import columns_of, cut_end, cut_start, format_percent, format_share, safe
from tests.api.memory import MemoryPulls


@pytest.fixture(scope="module")
def pull() -> dict[str, Any]:
    """A pull at a quarter, as the API answers it."""
    pulls = MemoryPulls({"acme/big": {f"モデル-{n:02d}.bin": 10**9 for n in range(8)}})
    from asyncio import run

    from distd.api.schema import PullRequest

    pull_id = run(pulls.submit(PullRequest(repo="acme/big"))).id
    return dict(to_builtins(pulls.download(pull_id, 0.25)))


@pytest.mark.parametrize("columns", range(1, 120, 7))
@pytest.mark.parametrize("rows", [1, 2, 3, 24])
def test_a_frame_fits_every_terminal(pull: dict[str, Any], columns: int, rows: int) -> None:
    node = {"name": "gpu-02", "state": "queued", "bytes_done": 0, "eta_s": 3.0, "error": None}
    for changed in (pull, pull | {"nodes": [node] * 30}, pull | {"state": "resolving", "bytes_total": None}):
        lines = frame(changed, columns, rows)
        assert len(lines) <= max(1, rows - 1)
        assert all(columns_of(line) <= columns for line in lines)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"eta_s": None}, "2.0/8.0 GB  25%  1.42 GB/s (hub 1.31 peers 0.11)"),
        ({"eta_s": 4.2}, "2.0/8.0 GB  25%  1.42 GB/s (hub 1.31 peers 0.11)  4 s left"),
        ({"stalled_reason": "no source"}, "2.0/8.0 GB  25%  stalled: no source"),
        ({"state": "paused"}, "2.0/8.0 GB  25%  paused: distctl resume p0001 continues"),
        ({"state": "verifying"}, "2.0/8.0 GB  25%  verifying"),
        ({"state": "queued"}, "queued: waiting for its turn"),
        ({"state": "resolving", "bytes_total": None}, "resolving: asking the Hub for the list of files"),
    ],
)
def test_the_total_says_what_happens(pull: dict[str, Any], changes: dict[str, Any], line: str) -> None:
    assert frame(pull | changes, 99, 24)[-1] == line


def test_a_pull_of_a_commit_is_named_by_its_beginning(pull: dict[str, Any]) -> None:
    assert plain_line(pull | {"revision": pull["commit"]}).startswith("acme/big@c0ffee00: ")


@pytest.mark.parametrize(
    ("done", "total", "share", "percent"),
    [
        (0, 0, "0/0 B", "100%"),
        (999, 1000, "1.0/1.0 kB", "99%"),
        (12_300_000_000, 137_000_000_000, "12.3/137.0 GB", "8%"),
        (136_999_999_999, 137_000_000_000, "137.0/137.0 GB", "99%"),
        (5, 999_960_000, "0.0/1.0 GB", "0%"),
    ],
)
def test_shares_use_the_unit_of_the_total(done: int, total: int, share: str, percent: str) -> None:
    assert (format_share(done, total), format_percent(done, total)) == (share, percent)


@given(st.text(max_size=40), st.integers(0, 30))
def test_cut_text_fits_and_safe_text_prints(text: str, columns: int) -> None:
    shown = safe(text)
    assert shown.isprintable()
    for cut in (cut_end(shown, columns), cut_start(shown, columns)):
        assert columns_of(cut) <= columns
    assert cut_end(shown, columns_of(shown)) == shown
