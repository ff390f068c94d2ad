"""What holds for every test: a skip is a failure where CI says so, and the event loop is never held."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from collections.abc import Iterator

import pytest

LOOP_HELD_CPU_S = 0.5
"""Processor time of one callback that everybody the daemon serves would feel: hashing 600 MB, say. Time of
the clock would also count what other tests on the same cores take."""
LOOP_HELD_S = 3.0
"""Time of the clock, for callbacks that wait for a disk or sleep instead of computing."""

for each in (signal.SIGINT, signal.SIGHUP):
    # Under nohup, or behind a shell's &, they are ignored, and so by every program that a test starts and then interrupts.
    if signal.getsignal(each) is signal.SIG_IGN:
        signal.signal(each, signal.default_int_handler if each is signal.SIGINT else signal.SIG_DFL)

_skipped: list[str] = []


class _Collecting:
    """What the garbage collector took of the processor: it looks at the objects of all tests that ran before in the process,
    which are not the tested code's to answer for."""

    def __init__(self) -> None:
        self.cpu_s = 0.0
        self._since = 0.0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._since = time.thread_time()
        else:
            self.cpu_s += time.thread_time() - self._since


@pytest.fixture(autouse=True)
def loop_is_never_held(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails a test in which one callback kept an event loop of this process for too long."""
    held: list[str] = []
    run = asyncio.Handle._run
    collecting = _Collecting()
    gc.callbacks.append(collecting)

    def timed(handle: asyncio.Handle) -> None:
        cpu, clock, before_s = time.thread_time(), time.monotonic(), collecting.cpu_s
        run(handle)
        collected_s = collecting.cpu_s - before_s
        cpu, clock = time.thread_time() - cpu - collected_s, time.monotonic() - clock
        if cpu > LOOP_HELD_CPU_S or clock > LOOP_HELD_S:
            held.append(f"{cpu:.2f} s of CPU in {clock:.2f} s by {handle!r}")

    monkeypatch.setattr(asyncio.Handle, "_run", timed)
    yield
    gc.callbacks.remove(collecting)
    assert not held, f"the event loop was held: {held[0]}"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _skipped.append(f"{report.nodeid}: {reason}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI (`NO_SKIPS=1`) a test that could not run is a failure: the runner lacks something."""
    if _skipped and os.environ.get("NO_SKIPS") and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _skipped and os.environ.get("NO_SKIPS"):
        terminalreporter.section("skipped, which NO_SKIPS forbids", red=True)
        for line in _skipped:
            terminalreporter.line(line)
