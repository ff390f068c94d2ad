"""What holds for every test: a skip is a failure where CI says so, and the event loop is never held."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator

import pytest

LOOP_HELD_S = 0.5
"""A callback this long would be felt by everybody the daemon serves. Ten times what any takes on an
idle machine, because tests share two cores with the daemons that they start."""

_skipped: list[str] = []


@pytest.fixture(autouse=True)
def loop_is_never_held(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fails an asynchronous test in which one callback kept the event loop for too long."""
    if not asyncio.iscoroutinefunction(getattr(request.node, "obj", None)):
        yield
        return
    loop = request.getfixturevalue("event_loop_debug")
    del loop
    yield
    held = [
        record.getMessage()
        for record in caplog.get_records("call")
        if record.name == "asyncio" and record.levelno == logging.WARNING and "took" in record.getMessage()
    ]
    assert not held, f"the event loop was held: {held[0]}"


@pytest.fixture
async def event_loop_debug() -> None:
    """Has the loop say which callback held it; without the cost of asyncio's full debug mode."""
    loop = asyncio.get_running_loop()
    loop.slow_callback_duration = LOOP_HELD_S
    loop.set_debug(True)


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
