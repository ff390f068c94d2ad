"""A Hub for each module, daemons' logs beside failures, and the repos that tests make for themselves."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.daemon.daemon import DaemonProcess
from tests.daemon.repos import Repos
from tests.hub import HubProcess


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for daemon in DaemonProcess.running:
            report.sections.append((f"log of distd on {daemon.state_dir}", daemon.log_tail()))
    return report


@pytest.fixture(scope="module")
def hub() -> Iterator[HubProcess]:
    with HubProcess() as hub:
        yield hub


@pytest.fixture(autouse=True)
def _undisturbed_hub(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test does to the module's Hub ends with the test, and no test may leak a token."""
    yield
    if "hub" in request.fixturenames:
        hub: HubProcess = request.getfixturevalue("hub")
        hub.come_back()
        hub.clear_faults()
        hub.set(rate_bytes_per_s=None, connection_rate_bytes_per_s=None, latency_s=0.0, url_life_s=3600)
        assert hub.counters()["token_leaks"] == 0


@pytest.fixture(scope="module")
def repos(hub: HubProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repos]:
    """Makes repos on the module's Hub, each name once."""
    directory = tmp_path_factory.mktemp("repos")
    yield Repos(hub, directory)
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def daemon(hub: HubProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """One daemon for the module's tests: they use different repos."""
    directory: Path = tmp_path_factory.mktemp("daemon")
    with DaemonProcess(directory, hub.url) as daemon:
        yield daemon
    shutil.rmtree(directory)
