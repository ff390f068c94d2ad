"""Hosts of their own for daemons: network namespaces with a Hub, each with the addresses it is given."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bench.netns import Namespace, Network, run
from peers import rendezvous
from peers.secret import generate
from tests.daemon.daemon import DaemonProcess, View, until
from tests.daemon.repos import HubRepo, Repos
from tests.hub import HubProcess
from tests.shapes.dns import NameServer
from tests.swarm.fleet import Ended, complete, largest

INSIDE = "DISTD_TEST_SHAPES"
"""Set where this may make namespaces: by `make shapes`."""
EXCESS = 0.1
COPIES_MAX = 1 + EXCESS
"""Of a small model: a connection that is given up, or a small file fetched twice, is much of it."""
MEET_S = 30.0
PULL_S = 60.0
CLUSTER_PORT, SWARM_PORT = 7071, 7072


def pytest_runtest_setup() -> None:
    if INSIDE not in os.environ:
        pytest.skip("runs in namespaces of its own: make shapes")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for daemon in DaemonProcess.running:
            report.sections.append((f"log of distd on {daemon.state_dir}", daemon.log_tail()))
    return report


class HubThere(HubProcess):
    """A Hub on a host, steered from anywhere."""

    def __init__(self, host: Namespace, address: str) -> None:
        super().__init__(host=address)
        self._host = host

    def start(self) -> None:
        self._host.call(super().start)

    def _call(self, method: str, route: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
        ask = super()._call
        return self._host.call(lambda: ask(method, route, arguments))


class DaemonThere(DaemonProcess):
    """A daemon on a host, asked from anywhere what only that host can ask."""

    def __init__(self, host: Namespace, *rest: Any, **more: Any) -> None:
        super().__init__(*rest, **more)
        self.host = host

    def start(self) -> float:
        return self.host.call(super().start)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        ask = super().ask
        return self.host.call(lambda: ask(method, path, body))

    def moved(self, host: Namespace) -> None:
        """From the next start on it runs there."""
        self.host = host


class Site:
    """Hosts, the Hub that all of them reach, and daemons on them that share a secret."""

    def __init__(self, network: Network, directory: Path, stack: ExitStack) -> None:
        self.network = network
        self.directory = directory
        self.daemons: list[DaemonThere] = []
        self.hub: HubProcess
        self.hub_url = ""
        self._stack = stack
        self._secret_file = directory / "secret"
        self._secret_file.touch(mode=0o600)
        self._secret_file.write_text(f"{generate()}\n")

    def host(self, name: str, *addresses: str) -> Namespace:
        """With a route outward for each family it has: that is how a daemon finds out its own address."""
        host = self.network.add(name, addresses=addresses)
        for family in {"-6" if ":" in address else "-4" for address in addresses}:
            run("ip", family, "-n", name, "route", "add", "default", "dev", "eth0")
        return host

    def serve_hub(self, listen: str, *addresses: str) -> None:
        self.hub = self._stack.enter_context(HubThere(self.host("hub", *addresses), listen))
        self.hub_url = self.hub.url
        self._repos = Repos(self.hub, self.directory / "repos")

    def names(self, address: str) -> NameServer:
        """A name server on a host of its own."""
        host = self.host(f"names{len(self.network.namespaces)}", address)
        return self._stack.enter_context(NameServer(host))

    def repo(self, weight_mib: float = 24) -> HubRepo:
        self.hub.reset_counters()
        return self._repos.make(weight_mib=weight_mib)

    def daemon(
        self, host: Namespace, join: str = "", *, name: str = "", names: NameServer | None = None, **more: Any
    ) -> DaemonThere:
        """Started; `more` are settings, a double underscore for the dot."""
        settings = {
            "node.name": name or host.name,
            "cluster.name": "shapes",
            "cluster.listen": f"0.0.0.0:{CLUSTER_PORT}",
            "swarm.listen": f"0.0.0.0:{SWARM_PORT}",
            "cluster.join": join,
            "cluster.secret_file": self._secret_file,
        }
        settings |= {key.replace("__", "."): value for key, value in more.items()}
        url = settings.pop("hub.endpoint", self.hub_url)
        wrapper = names.wrapper(self.directory) if names else ()
        made = DaemonThere(host, self.directory / (name or host.name), url, settings, wrapper=wrapper)
        self._stack.enter_context(made)
        self.daemons.append(made)
        return made

    def met(self, *daemons: DaemonThere) -> None:
        chosen = daemons or self.daemons
        for daemon in chosen:
            until(
                lambda daemon=daemon: reachable(daemon) == len(chosen),  # type: ignore[misc]  # bound now
                f"{daemon.host.name} to meet all",
                MEET_S,
            )

    def pulled(self, repo: HubRepo, *daemons: DaemonThere) -> list[View]:
        """On each of these at the same time, to the end; all right."""
        pulls = {daemon: daemon.submit(repo.id)["id"] for daemon in daemons or self.daemons}
        ended = [Ended(daemon, daemon.wait(pull, timeout_s=PULL_S)) for daemon, pull in pulls.items()]
        complete(ended, repo)
        return [each.view for each in ended]


def reachable(daemon: DaemonProcess) -> int:
    return int(daemon.get("/v1/status")["cluster"]["reachable"])


def addresses_of(daemon: DaemonProcess) -> dict[str, str]:
    (own,) = (peer for peer in daemon.get("/v1/peers")["items"] if peer["is_self"])
    return dict(own["addresses"])


def finding(daemon: DaemonProcess, name: str) -> dict[str, str]:
    found = [each for each in daemon.get("/v1/doctor")["items"] if each["name"] == name]
    return found[0] if found else {"outcome": "", "detail": ""}


def lead_of(repo: HubRepo, names: Iterable[str]) -> str:
    """Who leads its large file while all are alive."""
    return rendezvous.order(largest(repo)[1], names)[0]


def copies(repo: HubRepo) -> float:
    return repo.sent_bytes() / repo.size_bytes


def shared_without_the_hub(site: Site, repo: HubRepo, late: DaemonThere) -> None:
    """One that pulled nothing takes all large files from sealed swarms and the small ones from members."""
    site.hub.reset_counters()
    (view,) = site.pulled(repo, late)
    assert view["bytes_from_peers"] > 0
    assert view["bytes_from_hub"] == repo.sent_bytes() == 0


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Network() as network, ExitStack() as stack:
        yield Site(network, tmp_path, stack)
