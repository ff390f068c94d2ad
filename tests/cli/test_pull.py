"""`distctl pull` with its output piped: what is said where, and how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from distd.api.schema import ErrorView, NodePullView, PullRequest, PullState, PullView
from distd.core.refs import Repo
from distd.errors import (
    EXIT_CODES,
    AccessDenied,
    Conflict,
    DistdError,
    FileNotFound,
    HashMismatch,
    HubUnreachable,
    NoSpace,
    RepoNotFound,
)
from tests.api.memory import COMMIT, snapshot_path
from tests.cli.serving import ServedDaemon, command, distctl, environment, until

PATH = snapshot_path(Repo("model", "acme/tiny"))


def completes_at_once(daemon: ServedDaemon) -> None:
    daemon.memory.pulls.on_submit = lambda pull: daemon.memory.pulls.complete(pull.id)


@pytest.fixture
def process(daemon: ServedDaemon) -> Iterator[subprocess.Popen[str]]:
    """A `distctl pull` that waits, and whose pull the daemon has."""
    with subprocess.Popen(
        command("pull", "acme/tiny"),
        env=environment(daemon),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as started:
        try:
            until(lambda: bool(daemon.memory.pulls.pulls), "the pull")
            yield started
        finally:
            started.kill()


def test_the_path_is_all_of_stdout_and_the_summary_is_on_stderr(daemon: ServedDaemon) -> None:
    completes_at_once(daemon)
    ran = distctl(daemon, "pull", "acme/tiny")
    assert (ran.returncode, ran.stdout) == (0, f"{PATH}\n")
    assert ran.stderr.splitlines()[-1] == (
        "acme/tiny@main: 2.0 MB, 2 files in 1 m 40 s, 20.0 kB/s average"
        " (hub 1.8 MB, peers 200.1 kB, reused 0 B)"
    )


def test_a_pull_whose_files_are_all_held_says_so(daemon: ServedDaemon) -> None:
    def held(pull: PullView) -> None:
        daemon.memory.pulls.complete(pull.id)
        done = daemon.memory.pulls.pulls[pull.id].bytes_done
        daemon.memory.pulls.advance(pull.id, bytes_from_hub=0, bytes_from_peers=0, bytes_reused=done)

    daemon.memory.pulls.on_submit = held
    ran = distctl(daemon, "pull", "acme/tiny")
    assert ran.stderr.endswith("acme/tiny@main: 2.0 MB, 2 files, all held already: nothing fetched\n")


def test_every_flag_reaches_the_daemon(daemon: ServedDaemon) -> None:
    flags = (
        "--type dataset --revision v1 --include a* --include b* --exclude c* --weights gguf --priority -5"
        " --nodes n1,n2 --zone z --at 02:00 --pin --detach"
    )
    ran = distctl(daemon, "pull", "acme/tiny", *flags.split())
    assert (ran.returncode, ran.stdout) == (0, "p0001\n")
    assert daemon.memory.pulls.requests == [
        PullRequest(
            repo="acme/tiny",
            type="dataset",
            revision="v1",
            include=("a*", "b*"),
            exclude=("c*",),
            weights="gguf",
            priority=-5,
            nodes=("n1", "n2"),
            zone="z",
            at="02:00",
            pin=True,
        )
    ]


def test_a_revision_after_the_repo_is_the_same_as_the_flag(daemon: ServedDaemon) -> None:
    distctl(daemon, "pull", "-d", "acme/tiny@refs/pr/1")
    assert daemon.memory.pulls.requests == [PullRequest(repo="acme/tiny", revision="refs/pr/1")]
    ran = distctl(daemon, "pull", "-d", "acme/tiny@v1", "--revision", "v2")
    assert (ran.returncode, len(daemon.memory.pulls.requests)) == (2, 1)


def test_json_prints_the_final_pull_as_one_document(daemon: ServedDaemon) -> None:
    completes_at_once(daemon)
    for arguments in (["--json", "pull", "acme/tiny"], ["pull", "acme/tiny", "--json"]):
        ran = distctl(daemon, *arguments)
        assert ran.returncode == 0
        pull = json.loads(ran.stdout)
        assert (pull["state"], pull["snapshot_path"], pull["commit"]) == ("complete", PATH, COMMIT)


def test_quiet_prints_only_the_path(daemon: ServedDaemon) -> None:
    completes_at_once(daemon)
    ran = distctl(daemon, "-q", "pull", "acme/tiny")
    assert (ran.stdout, ran.stderr) == (f"{PATH}\n", "")


def test_a_log_gets_a_line_at_each_change_of_state(
    daemon: ServedDaemon, process: subprocess.Popen[str]
) -> None:
    assert process.stderr is not None
    pulls = daemon.memory.pulls
    assert process.stderr.readline() == "acme/tiny@main: queued: waiting for its turn\n"
    pulls.advance("p0001", state="resolving")
    assert process.stderr.readline() == "acme/tiny@main: resolving: asking the Hub for the list of files\n"
    pulls.download("p0001", 0.5)
    assert process.stderr.readline() == (
        "acme/tiny@main: downloading 1.0/2.0 MB  50%  1.42 GB/s (hub 1.31 peers 0.11)  1 m 28 s left\n"
    )
    pulls.advance("p0001", stalled_reason="no source\x1b[2J")
    assert process.stderr.readline() == (
        "acme/tiny@main: downloading 1.0/2.0 MB  50%  stalled: no source\\x1b[2J\n"
    )
    pulls.complete("p0001")
    out, err = process.communicate(timeout=10)
    assert (out, err.count("\n")) == (f"{PATH}\n", 1)
    assert process.returncode == 0


@pytest.mark.parametrize(
    "error",
    [
        RepoNotFound("acme/tiny", "https://huggingface.co", False),
        FileNotFound("acme/tiny", "main", "x"),
        AccessDenied("acme/tiny", "gated", "Ask for access."),
        HashMismatch("model.safetensors", "a", "b"),
        NoSpace(10**12, 10**9, 10**9, "/srv"),
        HubUnreachable("https://huggingface.co", "timed out"),
        Conflict("busy"),
    ],
    ids=lambda error: error.code,
)
def test_a_failed_pull_says_what_to_do_and_exits_by_its_code(daemon: ServedDaemon, error: DistdError) -> None:
    daemon.memory.pulls.on_submit = lambda pull: daemon.memory.pulls.fail(pull.id, error)
    ran = distctl(daemon, "pull", "acme/tiny", "--json")
    assert ran.returncode == EXIT_CODES[error.code]
    assert f"distctl: {error.title}: {error}" in ran.stderr
    assert json.loads(ran.stdout)["error"]["code"] == error.code


def test_a_cancelled_pull_has_failed(daemon: ServedDaemon) -> None:
    daemon.memory.pulls.on_submit = lambda pull: daemon.memory.pulls.advance(pull.id, state="cancelled")
    ran = distctl(daemon, "pull", "acme/tiny")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "was cancelled" in ran.stderr


def nodes_of(daemon: ServedDaemon, *states: PullState) -> None:
    """Pulls end at once, on a node for each of the states."""
    error = ErrorView("no_space", "Not enough disk space", "the disk of n2 is full", True)
    nodes = tuple(
        NodePullView(
            f"n{number}",
            f"{number}-ab",
            state,
            2_000_700,
            None,
            error if state == "failed" else None,
            bytes_total=2_000_700,
            bytes_from_hub=700 if number == 1 else 0,
            bytes_from_peers=2_000_000 if number == 1 else 2_000_700,
        )
        for number, state in enumerate(states, 1)
    )
    is_whole = set(states) == {"complete"}

    def spread(pull: PullView) -> None:
        daemon.memory.pulls.complete(pull.id)
        changes: dict[str, Any] = (
            {} if is_whole else {"state": "failed", "error": error, "snapshot_path": None}
        )
        daemon.memory.pulls.advance(pull.id, nodes=nodes, **changes)

    daemon.memory.pulls.on_submit = spread


def test_every_node_is_told_at_the_end_and_the_summary_is_of_all(daemon: ServedDaemon) -> None:
    nodes_of(daemon, "complete", "complete")
    ran = distctl(daemon, "pull", "acme/tiny", "--nodes", "all")
    assert (ran.returncode, ran.stdout) == (0, f"{PATH}\n")
    assert ran.stderr.splitlines() == [
        "  n1  complete  2.0 MB (hub 700 B, peers 2.0 MB, reused 0 B)",
        "  n2  complete  2.0 MB (hub 0 B, peers 2.0 MB, reused 0 B)",
        "acme/tiny@main: 4.0 MB, 2 files on 2 nodes in 1 m 40 s, 40.0 kB/s average"
        " (hub 700 B, peers 4.0 MB, reused 0 B)",
    ]
    shown = json.loads(distctl(daemon, "pull", "acme/tiny", "--nodes", "n1,n2", "--json").stdout)
    assert [node["bytes_from_hub"] for node in shown["nodes"]] == [700, 0]


def test_one_failed_node_of_several_is_a_failure_with_exit_code_1(daemon: ServedDaemon) -> None:
    nodes_of(daemon, "complete", "failed")
    ran = distctl(daemon, "pull", "acme/tiny", "--nodes", "all")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "  n1  complete  2.0 MB" in ran.stderr
    assert "  n2  failed  Not enough disk space: the disk of n2 is full" in ran.stderr


def test_a_pull_that_this_node_has_no_part_in_prints_no_path(daemon: ServedDaemon) -> None:
    nodes_of(daemon, "complete")
    start = daemon.memory.pulls.on_submit

    def elsewhere(pull: PullView) -> None:
        start(pull)
        daemon.memory.pulls.advance(pull.id, snapshot_path=None, files_total=None)

    daemon.memory.pulls.on_submit = elsewhere
    ran = distctl(daemon, "pull", "acme/tiny", "--nodes", "n1")
    assert (ran.returncode, ran.stdout) == (0, "")


def test_a_pull_on_several_nodes_is_shown_with_each(daemon: ServedDaemon) -> None:
    nodes_of(daemon, "complete", "failed")
    distctl(daemon, "pull", "acme/tiny", "--nodes", "all")
    lines = distctl(daemon, "show", "p0001").stdout.splitlines()
    assert any(line.split()[:3] == ["n1", "1-ab", "complete"] for line in lines)
    assert any(line.startswith("n2") and line.endswith("the disk of n2 is full") for line in lines)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_leaves_the_pull_running_and_says_how_to_cancel(
    daemon: ServedDaemon, process: subprocess.Popen[str], sent: signal.Signals
) -> None:
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(sent)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (130, "")
    assert "distctl cancel p0001" in err
    assert "Traceback" not in err
    assert daemon.memory.pulls.get("p0001").state == "queued"


def test_a_restart_of_the_daemon_is_waited_through(
    daemon: ServedDaemon, process: subprocess.Popen[str]
) -> None:
    assert process.stderr is not None
    assert "queued" in process.stderr.readline()
    daemon.stop()
    assert "the daemon does not answer" in process.stderr.readline()
    daemon.start()
    daemon.memory.pulls.complete("p0001")
    out, _ = process.communicate(timeout=10)
    assert (process.returncode, out) == (0, f"{PATH}\n")


def test_a_pull_that_the_restarted_daemon_does_not_know_is_not_found(
    daemon: ServedDaemon, process: subprocess.Popen[str]
) -> None:
    daemon.stop()
    daemon.memory.pulls.pulls.clear()
    daemon.start()
    _, err = process.communicate(timeout=10)
    assert process.returncode == 4
    assert "no pull p0001" in err
