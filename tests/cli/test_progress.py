"""Lines of a pull as pure functions: every state, every width."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import to_builtins

from distd.api.schema import ErrorView, NodePullView, PullState
from distd.cli.progress import NODES_NAMED_MAX, frame, plain_line
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
    node = to_builtins(NodePullView("gpu-02", None, "queued", 0, 3.0, None))
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
        ({"state": "verifying"}, "2.0/8.0 GB  25%  verifying  1 m 28 s left"),
        (
            {"eta_s": 70.0, "eta_low_s": 61.0, "eta_high_s": 79.0, "limited_by": "hub"},
            "2.0/8.0 GB  25%  1.42 GB/s (hub 1.31 peers 0.11)  1 m 10 s left (1 m 01 s to 1 m 19 s), limited by the Hub",
        ),
        ({"state": "queued"}, "queued: waiting for its turn"),
        ({"state": "resolving", "bytes_total": None}, "resolving: asking the Hub for the list of files"),
    ],
)
def test_the_total_says_what_happens(pull: dict[str, Any], changes: dict[str, Any], line: str) -> None:
    assert frame(pull | changes, 120, 24)[-1] == line


def a_node(name: str, state: PullState, done: int, **more: Any) -> dict[str, Any]:
    view = NodePullView(name, "1-ab", state, done, more.pop("eta_s", None), more.pop("error", None), **more)
    return dict(to_builtins(view))


def test_every_node_has_its_line_and_the_total_is_that_of_all(pull: dict[str, Any]) -> None:
    lost = ErrorView("internal", "Node not reachable", "no answer", True)
    nodes = [
        a_node("gpu-01", "downloading", 10**9, bytes_total=8 * 10**9, eta_s=70.0)
        | {"rate_bytes_per_s": 1e8, "rate_hub_bytes_per_s": 4e7, "rate_peers_bytes_per_s": 6e7},
        a_node("gpu-2", "failed", 0, error=lost),
        a_node("gpu-03", "downloading", 10**9, bytes_total=8 * 10**9, stalled_reason="no answer for 3 s"),
        a_node("gpu-04", "complete", 8 * 10**9, bytes_total=8 * 10**9, bytes_from_peers=8 * 10**9),
    ]
    assert frame(pull | {"nodes": nodes, "eta_s": None}, 99, 24) == [
        "  gpu-01  downloading   12%  100.0 MB/s  1 m 10 s left",
        "  gpu-2   failed       Node not reachable",
        "  gpu-03  downloading   12%  no answer for 3 s",
        "  gpu-04  complete     100%",
        "10.0/32.0 GB  31%  100.00 MB/s (hub 40.00 peers 60.00)",
    ]
    assert frame(pull | {"nodes": nodes}, 99, 4)[:2] == [
        "  gpu-01  downloading   12%  100.0 MB/s  1 m 10 s left",
        "  and 3 more",
    ]


def test_a_log_names_few_nodes_and_counts_many(pull: dict[str, Any]) -> None:
    half = [a_node(f"n{n}", "downloading", 5, bytes_total=10) for n in range(2)]
    assert plain_line(pull | {"nodes": half}).endswith("; n0 downloading 50%; n1 downloading 50%")
    many = [a_node(f"n{n}", "complete" if n else "queued", 1) for n in range(NODES_NAMED_MAX + 1)]
    assert plain_line(pull | {"nodes": many}).endswith(f"; 1 queued; {NODES_NAMED_MAX} complete")


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
