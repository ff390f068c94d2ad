"""`distctl top`, `rates` and `estimate`: on a terminal, piped, and for scripts."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import termios
import time

import pytest

from tests.cli.serving import WAIT_S, ServedDaemon, command, distctl, environment


class Terminal:
    """A pseudo-terminal and everything that `distctl top` sends to it."""

    def __init__(self, daemon: ServedDaemon, **env: str) -> None:
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.sent = ""
        self.process = subprocess.Popen(
            command("top"),
            env=environment(daemon, **({"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"} | env)),
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
        )

    def until(self, text: str) -> None:
        give_up_at = time.monotonic() + WAIT_S
        while text not in self.sent:
            assert time.monotonic() < give_up_at, f"waited in vain for {text!r} in {self.sent!r}"
            self.read()

    def read(self) -> None:
        if select.select([self.master], [], [], 0.1)[0]:
            self.sent += os.read(self.master, 65536).decode("utf-8", "replace")

    def end(self, key: bytes) -> int:
        os.write(self.master, key)
        give_up_at = time.monotonic() + WAIT_S
        while self.process.poll() is None:
            assert time.monotonic() < give_up_at
            self.read()
        self.read()
        return self.process.wait()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.mark.parametrize("key", [b"q", b"\x1b"])
def test_top_takes_the_other_screen_and_leaves_everything_as_it_was(daemon: ServedDaemon, key: bytes) -> None:
    terminal = Terminal(daemon)
    try:
        terminal.until("no active pulls")
        assert "\x1b[?1049h" in terminal.sent
        assert terminal.end(key) == 0
        assert terminal.sent.rindex("\x1b[?1049l") > terminal.sent.rindex("\x1b[?1049h")
        assert terminal.sent.rindex("\x1b[?25h") > terminal.sent.rindex("\x1b[?25l")
        assert termios.tcgetattr(terminal.slave) == terminal.before
    finally:
        terminal.close()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_top_as_cleanly(daemon: ServedDaemon, sent: signal.Signals) -> None:
    terminal = Terminal(daemon, NO_COLOR="1")
    try:
        terminal.until("no active pulls")
        os.kill(terminal.process.pid, sent)
        assert terminal.end(b"") == 0
        assert "Traceback" not in terminal.sent
        assert "\x1b[31m" not in terminal.sent
        assert termios.tcgetattr(terminal.slave) == terminal.before
    finally:
        terminal.close()


def test_piped_top_prints_what_is_now_and_ends(daemon: ServedDaemon) -> None:
    ran = distctl(daemon, "top")
    assert ran.returncode == 0
    assert "gpu-01 ready" in ran.stdout
    assert "\x1b" not in ran.stdout
    found = json.loads(distctl(daemon, "top", "--json").stdout)
    assert {"status", "peers", "rates"} == set(found)


def test_rates_are_shown_now_and_by_the_hour(daemon: ServedDaemon) -> None:
    ran = distctl(daemon, "rates", "--since", "7d")
    assert ran.returncode == 0
    assert "1.31 GB/s" in ran.stdout or "1.3 GB/s" in ran.stdout
    assert "53 m 20 s" in ran.stdout
    only = json.loads(distctl(daemon, "rates", "--peer", "gpu-02", "--json").stdout)
    assert [each["peer"] for each in only["items"]] == ["gpu-02"]
    assert distctl(daemon, "rates", "--since", "yesterday").returncode == 2


def test_an_estimate_has_a_table_of_links(daemon: ServedDaemon) -> None:
    daemon.memory.pulls.repos["acme/70b"] = {"model.safetensors": 140_000_000_000}
    ran = distctl(daemon, "estimate", "acme/70b")
    assert ran.returncode == 0
    assert "time about 1 m 00 s (50 s to 1 m 30 s), limited by the Hub" in ran.stdout
    assert ran.stdout.splitlines()[-1].split() == [
        "all",
        "140.0",
        "GB",
        "3",
        "h",
        "06",
        "m",
        "18",
        "m",
        "40",
        "s",
        "1",
        "m",
        "52",
        "s",
    ]
    ran = distctl(daemon, "estimate", "acme/70b", "--link", "25 Gbit/s")
    assert ran.stdout.splitlines()[-1].split() == ["all", "140.0", "GB", "45", "s"]
    assert distctl(daemon, "estimate", "acme/70b", "--link", "fast").returncode == 2
    assert distctl(daemon, "estimate", "acme/none").returncode == 4
