"""Three real daemons that found each other, on a Hub of their own."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.daemon import DaemonProcess, until
from tests.daemon.repos import Repos
from tests.hub import HubProcess

MEET_S = 15.0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for daemon in DaemonProcess.running:
            report.sections.append((f"log of distd on {daemon.state_dir}", daemon.log_tail()))
    return report


@dataclass
class Fleet:
    """Members by position; `n0` is asked in most tests. Ports are the system's choice and stay over restarts."""

    hub: HubProcess
    directory: Path
    members: list[DaemonProcess]

    def settings(self, index: int) -> dict[str, Any]:
        joined = [self.addresses(member)["cluster"] for member in self.members]
        return {
            "node.name": f"n{index}",
            "node.zone": f"rack-{min(index, 1)}",
            "cluster.name": "fleet",
            "cluster.listen": "127.0.0.1:0",
            "cluster.join": ",".join(joined),
            "swarm.listen": "127.0.0.1:0",
        }

    def start(self, index: int, **more: Any) -> DaemonProcess:
        settings = self.settings(index) | more
        daemon = DaemonProcess(self.directory / f"n{index}", self.hub.url, settings)
        daemon.start()
        return daemon

    def addresses(self, daemon: DaemonProcess) -> dict[str, str]:
        (own,) = (peer for peer in daemon.get("/v1/peers")["items"] if peer["is_self"])
        found: dict[str, str] = own["addresses"]
        return found

    def met(self) -> None:
        """Returns when every member sees all of them."""
        for member in self.members:
            until(
                lambda member=member: member.get("/v1/status")["cluster"]["reachable"] == len(self.members),
                "the members to meet",
                MEET_S,
            )


@pytest.fixture(scope="module")
def hub() -> Iterator[HubProcess]:
    with HubProcess() as hub:
        yield hub


@pytest.fixture(scope="module")
def repos(hub: HubProcess, tmp_path_factory: pytest.TempPathFactory) -> Repos:
    return Repos(hub, tmp_path_factory.mktemp("repos"))


@pytest.fixture(scope="module")
def fleet(hub: HubProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(hub, tmp_path_factory.mktemp("fleet"), [])
    with ExitStack() as stack:
        stack.callback(lambda: [member.terminate() for member in fleet.members])
        for index in range(3):
            fleet.members.append(fleet.start(index))
        fleet.met()
        yield fleet


@pytest.fixture
def slowly(hub: HubProcess) -> Iterator[None]:
    """A Hub that leaves time to look and to steer."""
    hub.set(rate_bytes_per_s=4e6)
    yield
    hub.set(rate_bytes_per_s=None)
