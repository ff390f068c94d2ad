"""`distctl wait` as a unit's ExecStartPre sees it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from distd.api.schema import NodeHoldingView, PullRequest
from distd.core.refs import Repo
from distd.units import parse_duration
from tests.api.memory import COMMIT, snapshot_path
from tests.cli.serving import ServedDaemon, command, distctl, environment

TINY = Repo("model", "acme/tiny")


@contextmanager
def waiting(daemon: ServedDaemon, *args: str) -> Iterator[subprocess.Popen[str]]:
    """The command in the background, until it said on stderr what it waits for."""
    process = subprocess.Popen(
        command("wait", *args),
        env=environment(daemon),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        first = process.stderr.readline()
        assert first.startswith("waiting: "), first
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def test_what_is_held_ends_it_at_once_with_the_path(daemon: ServedDaemon) -> None:
    daemon.memory.models.hold(TINY)
    for name in ("acme/tiny", f"acme/tiny@{COMMIT}"):
        ran = distctl(daemon, "wait", name)
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, snapshot_path(TINY) + "\n", "")
    assert json.loads(distctl(daemon, "wait", "acme/tiny", "--json").stdout)["commit"] == COMMIT


def test_it_ends_when_the_repo_is_published(daemon: ServedDaemon) -> None:
    with waiting(daemon, "acme/tiny") as process:
        daemon.memory.models.hold(TINY)
        out, _ = process.communicate(timeout=20)
        assert (process.returncode, out) == (0, snapshot_path(TINY) + "\n")


def test_another_revision_does_not_end_it_and_the_timeout_does_with_9(daemon: ServedDaemon) -> None:
    daemon.memory.models.hold(TINY)
    began = time.monotonic()
    ran = distctl(daemon, "wait", "acme/tiny@v2", "--timeout", "400ms")
    assert (ran.returncode, ran.stdout) == (9, "")
    assert time.monotonic() - began >= 0.4
    assert ran.stderr.splitlines()[-1] == (
        "distctl: timed out waiting for acme/tiny@v2: nobody pulls it here: distctl pull acme/tiny does"
    )


def test_it_tells_how_far_the_pull_is(daemon: ServedDaemon) -> None:
    daemon.memory.pulls.on_submit = lambda pull: daemon.memory.pulls.download(pull.id, 0.5)
    distctl(daemon, "pull", "--detach", "acme/tiny")
    assert daemon.memory.pulls.requests == [PullRequest("acme/tiny")]
    ran = distctl(daemon, "wait", "acme/tiny", "--timeout", "0")
    assert "its pull is downloading 50%" in ran.stderr
    assert distctl(daemon, "wait", "acme/tiny", "--timeout", "0", "-q").stderr.count("\n") == 1


def test_a_daemon_that_is_not_there_yet_is_waited_for(daemon: ServedDaemon) -> None:
    daemon.memory.models.hold(TINY)
    daemon.stop()
    assert distctl(daemon, "wait", "acme/tiny", "--timeout", "200ms").returncode == 9
    with waiting(daemon, "acme/tiny") as process:
        daemon.start()
        out, _ = process.communicate(timeout=20)
        assert (process.returncode, out) == (0, snapshot_path(TINY) + "\n")


def test_other_nodes_are_named_while_they_lack_it(daemon: ServedDaemon) -> None:
    models = daemon.memory.models
    models.hold(TINY)
    models.elsewhere = [
        NodeHoldingView("gpu-02", "alive", None, None),
        NodeHoldingView("gpu-03", "alive", None, None, "it does not answer"),
        NodeHoldingView("gpu-04", "dead", None, None, "gone"),
    ]
    ran = distctl(daemon, "wait", "acme/tiny", "--nodes", "all", "--timeout", "0")
    assert ran.returncode == 9
    assert "not yet on gpu-02, gpu-03 (it does not answer)" in ran.stderr
    ran = distctl(daemon, "wait", "acme/tiny", "--nodes", "gpu-02,gpu-99", "--timeout", "0")
    assert "not yet on gpu-02, gpu-99 (no such member)" in ran.stderr
    assert distctl(daemon, "wait", "acme/tiny", "--nodes", "gpu-01").returncode == 0
    models.elsewhere = [NodeHoldingView("gpu-02", "alive", COMMIT, False)]
    assert distctl(daemon, "wait", "acme/tiny", "--nodes", "all").stdout == snapshot_path(TINY) + "\n"


@pytest.mark.parametrize("value", ["soon", "-1s", ""])
def test_a_timeout_that_is_none_is_refused_with_an_example(daemon: ServedDaemon, value: str) -> None:
    ran = distctl(daemon, "wait", "acme/tiny", "--timeout", value)
    assert ran.returncode == 2
    assert '"30s"' in ran.stderr
    assert parse_duration("30s") == 30


def test_a_refused_token_ends_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    daemon = ServedDaemon(tmp_path_factory.mktemp("guarded"), token="right")
    try:
        env = {"DISTD_SOCKET": "", "DISTD_URL": daemon.url, "DISTD_TOKEN": "wrong"}
        assert distctl(daemon, "wait", "acme/tiny", env=env).returncode == 5
    finally:
        daemon.close()
