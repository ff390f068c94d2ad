"""`distctl` on a terminal: what is seen while it works and what stays."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from distd.core.refs import Repo
from tests.api.memory import snapshot_path
from tests.cli.serving import ServedDaemon
from tests.cli.terminal import OnTerminal

Run = Callable[..., OnTerminal]

PATH = snapshot_path(Repo("model", "acme/big"))
TOTAL = "68.5/137.0 GB  50%"


@pytest.fixture
def on_terminal(daemon: ServedDaemon) -> Iterator[Run]:
    """Starts `distctl` on a terminal; what a failed test leaves running is ended."""
    runs: list[OnTerminal] = []

    def start(*args: str, **options: Any) -> OnTerminal:
        runs.append(OnTerminal(daemon, *args, **options))
        return runs[-1]

    yield start
    for run in runs:
        run.close()


def big(daemon: ServedDaemon, extra: str = "config.json") -> None:
    """A repo of thirty shards and a file, which is half done as soon as it is pulled."""
    shards = {f"model-{n:05d}-of-00030.safetensors": 4_566_666_666 for n in range(1, 31)}
    daemon.memory.pulls.repos["acme/big"] = {extra: 20} | shards
    daemon.memory.pulls.on_submit = lambda pull: daemon.memory.pulls.download(pull.id, 0.5)


def test_a_pull_shows_files_and_a_total_and_leaves_only_the_result(
    daemon: ServedDaemon, on_terminal: Run
) -> None:
    big(daemon)
    run = on_terminal("pull", "acme/big", columns=100)
    run.until(lambda text: TOTAL in text, "the total")
    lines = run.text.splitlines()
    assert lines[-1] == f"{TOTAL}  1.42 GB/s (hub 1.31 peers 0.11)  1 m 28 s left"
    assert lines[-2] == "  and 27 more"
    assert re.fullmatch(r"  model-00001-of-00030.safetensors +50% +2.3/4.6 GB", lines[1])
    assert len(lines) == 6
    daemon.memory.pulls.complete("p0001")
    assert run.ended() == 0
    assert run.screen.rows[0].startswith("acme/big@main: 137.0 GB, 31 files in 1 m 40 s")
    assert [row for row in run.screen.rows if row][-1] == PATH
    assert len([row for row in run.screen.rows if row]) == 3


def test_forty_columns_are_enough(daemon: ServedDaemon, on_terminal: Run) -> None:
    big(daemon)
    run = on_terminal("pull", "acme/big", columns=40, rows=10)
    run.until(lambda text: TOTAL in text, "the total")
    lines = run.text.splitlines()
    assert lines[-1] == f"{TOTAL}  1 m 28 s left"
    assert lines[1] == "  …del-00001-of-00030.safetensors   50%"
    assert max(map(len, lines)) < 40
    run.interrupt()
    assert run.ended() == 130
    assert "\x1b[" in run.sent
    assert TOTAL not in run.text
    assert "distctl cancel p0001" in run.text.replace("\n", "")


def test_a_resized_terminal_is_filled_anew(daemon: ServedDaemon, on_terminal: Run) -> None:
    big(daemon)
    run = on_terminal("pull", "acme/big", columns=40)
    run.until(lambda text: TOTAL in text, "the total")
    run.screen.columns = 100
    run.resize(100, 24)
    run.until(lambda text: "peers 0.11" in text, "the longer total")
    assert len(run.text.splitlines()) == 6
    daemon.memory.pulls.complete("p0001")
    assert run.ended() == 0


def test_three_rows_still_show_the_total(daemon: ServedDaemon, on_terminal: Run) -> None:
    big(daemon)
    run = on_terminal("pull", "acme/big", rows=3)
    run.until(lambda text: TOTAL in text, "the total")
    assert len(run.text.splitlines()) == 2
    run.interrupt()
    assert run.ended() == 130


def test_a_hostile_name_sends_no_control_character(daemon: ServedDaemon, on_terminal: Run) -> None:
    big(daemon, extra="\x1b]0;owned\x07\u202eevil\r\n.bin")
    run = on_terminal("pull", "acme/big")
    run.until(lambda text: TOTAL in text, "the total")
    assert r"  \x1b]0;owned\x07\u202eevil\r\n.bin" in run.text
    run.interrupt()
    assert run.ended() == 130


def test_a_dumb_terminal_gets_plain_lines(daemon: ServedDaemon, on_terminal: Run) -> None:
    big(daemon)
    run = on_terminal("pull", "acme/big", TERM="dumb")
    run.until(lambda text: "left" in text, "a line")
    run.interrupt()
    assert run.ended() == 130
    assert "\x1b" not in run.sent
    assert f"acme/big@main: downloading {TOTAL}" in run.text.replace("\n", "")


def test_without_colour_tables_are_plain_text(daemon: ServedDaemon, on_terminal: Run) -> None:
    daemon.memory.models.hold(Repo("model", "acme/tiny"))
    run = on_terminal("ls", NO_COLOR="1")
    assert run.ended() == 0
    assert "\x1b" not in run.sent
    assert "acme/tiny" in run.text


def test_a_table_folds_into_a_narrow_terminal(daemon: ServedDaemon, on_terminal: Run) -> None:
    daemon.memory.models.hold(Repo("model", "acme/" + "tiny" * 12))
    run = on_terminal("ls", TERM="xterm", columns=60)
    # Styles are rich's; what counts is that nothing runs over the edge.
    run.screen.feed = lambda text: None  # type: ignore[method-assign]  # only `sent` is looked at
    assert run.ended() == 0
    seen = re.sub(r"\x1b\[[\d;]*m", "", run.sent)
    assert max(len(line.rstrip()) for line in seen.splitlines()) <= 60
    assert "\x1b[1m" in run.sent


def test_rm_asks_at_a_terminal_and_no_is_no(daemon: ServedDaemon, on_terminal: Run) -> None:
    tiny = Repo("model", "acme/tiny")
    daemon.memory.models.hold(tiny)
    run = on_terminal("rm", "acme/tiny")
    run.until(lambda text: "[y/N]" in text, "the question")
    run.type("n\n")
    assert run.ended() == 1
    assert "nothing was removed" in run.text
    assert tiny in daemon.memory.models.models
    run = on_terminal("rm", "acme/tiny")
    run.until(lambda text: "[y/N]" in text, "the question")
    run.type("y\n")
    assert run.ended() == 0
    assert tiny not in daemon.memory.models.models
