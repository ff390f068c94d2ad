"""`distctl top` in terminals of every size."""

from __future__ import annotations

from asyncio import run
from typing import Any

import pytest
from msgspec import to_builtins

from distd.api.schema import NodePullView, PullRequest
from distd.cli.overview import bar, overview
from distd.cli.text import columns_of
from tests.api.memory import MemoryDaemon, peer


@pytest.fixture
def answers() -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """A node with a pull at a quarter, as the API answers."""
    daemon = MemoryDaemon()
    pull_id = run(daemon.pulls.submit(PullRequest(repo="acme/tiny"))).id
    daemon.pulls.download(pull_id, 0.25)
    daemon.node.others = [peer("gpu-02"), peer("モデル-03", state="dead")]
    status = dict(to_builtins(daemon.node.status()))
    return (
        status,
        list(to_builtins(run(daemon.node.peers()))),
        list(to_builtins(run(daemon.node.rates(0.0, None)))),
    )


def test_this_nodes_part_of_a_pull_on_several_nodes_is_shown_within_it(answers: Any) -> None:
    status, peers, rates = answers
    own = status["active_pulls"][0]
    parts = [
        NodePullView(name, own["id"], "downloading", 0, 3.0, None) for name in (status["node"], "gpu-02")
    ]
    whole = own | {"id": "p99", "nodes": to_builtins(parts)}
    # Another node's pull may have the number of one here, which is shown: it is another pull.
    other = own | {"id": "p98", "repo": "acme/other", "nodes": to_builtins([parts[1]])}
    text = "\n".join(
        line.text for line in overview(status | {"active_pulls": [whole, own]}, peers, rates, 200, 50)
    )
    assert text.count("acme/tiny@main") == 1
    text = "\n".join(
        line.text for line in overview(status | {"active_pulls": [other, own]}, peers, rates, 200, 50)
    )
    assert text.count("acme/tiny@main") == 1


@pytest.mark.parametrize("columns", range(1, 200, 9))
@pytest.mark.parametrize("rows", [1, 2, 5, 24])
def test_it_fits_every_terminal(answers: Any, columns: int, rows: int) -> None:
    status, peers, rates = answers
    nodes = [to_builtins(NodePullView(f"gpu-{n}", None, "queued", 0, 3.0, None)) for n in range(30)]
    fleet = status | {"active_pulls": [status["active_pulls"][0] | {"nodes": nodes}]}
    for shown in (status, fleet, status | {"active_pulls": []}):
        lines = overview(shown, peers, rates, columns, rows)
        assert 1 <= len(lines) <= rows
        assert all(columns_of(line.text) <= columns for line in lines)


def test_where_it_is_wide_everything_is_shown_and_where_it_is_narrow_what_matters(answers: Any) -> None:
    status, peers, rates = answers
    pull = status["active_pulls"][0] | {
        "eta_low_s": 61.0,
        "eta_high_s": 79.0,
        "limited_by": "hub",
        "eta_s": 70.0,
    }
    wide = "\n".join(line.text for line in overview(status | {"active_pulls": [pull]}, peers, rates, 200, 50))
    for word in (
        "acme/tiny@main",
        "###...",
        "25%",
        "1 m 10 s",
        "1 m 01 s to 1 m 19 s",
        "the Hub",
        "gpu-02",
        "60 s",
    ):
        assert word in wide
    narrow = overview(status | {"active_pulls": [pull]}, peers, rates, 30, 50)
    row = next(line.text for line in narrow if "25%" in line.text)
    assert "1 m 10 s" in row
    assert "61" not in row


def test_what_is_wrong_stands_out(answers: Any) -> None:
    status, peers, rates = answers
    pull = status["active_pulls"][0] | {"stalled_reason": "the Hub asked to wait\x1b[31m"}
    lines = overview(status | {"active_pulls": [pull], "ready": False}, peers, rates, 200, 50)
    bad = [line.text for line in lines if line.style == "bad"]
    assert "NOT READY" in bad[0]
    assert "stalled" in bad[1]
    assert "the Hub asked to wait\\x1b[31m" in bad[1]
    assert "dead" in bad[2]


def test_a_bar_is_full_only_when_all_is_there() -> None:
    assert (bar(0, 10, 4), bar(9, 10, 4), bar(10, 10, 4), bar(0, 0, 4)) == ("....", "###.", "####", "####")
