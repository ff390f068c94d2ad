"""The contender of this project: a daemon on every node, asked for the same model at the same instant.

Before the clock starts the daemons run and know each other, as services do. Progress and ends are the
daemons' own words: `bytes_done`, `finished_at`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from bench.fleet_site import REPO, Incomplete, Outcome, Site
from bench.netns import Namespace
from peers import secret
from tests.daemon.daemon import FINISHED, DaemonProcess

CLUSTER_PORT = 7071
SWARM_PORT = 7072
MEET_S = 5.0
"""For all members to see each other; a version that does not tell how many it reaches has met by then too."""
SETTLE_S = 2.0
"""Then, as services that have been running."""
POLL_S = 0.25
POLL_AT_END_S = 0.05
"""Once a node has nine tenths: tells the last byte from the publication, at little cost to the measured."""

Submit = Literal["each", "all"]
"""How a fleet is asked: every node by a request of its own, or one node by `nodes: ["all"]`."""

View = dict[str, Any]


class Daemons:
    """The running daemons of a site by node number, and what was asked of them."""

    def __init__(self, site: Site, daemons: Sequence[DaemonProcess]) -> None:
        self.site = site
        self.daemons = daemons
        self.pulls: dict[int, str] = {}
        self.alive = set(range(len(daemons)))
        self.asked_at = 0.0
        self._full_at: dict[int, float] = {}
        self._cpu_before = [daemon.cpu_s() for daemon in daemons]

    def submit(self, numbers: Sequence[int], how: Submit = "each") -> None:
        """Asks the nodes to pull, at once. `all` asks the first of them to make every member pull."""
        self.asked_at = time.time()
        if how == "all":
            view = self._on(numbers[0], lambda daemon: daemon.submit(REPO, nodes=["all"]))
            self.pulls[numbers[0]] = view["id"]
            # The other members' pulls get their ids once those members have answered.
            while not all(ids := [_ids(view).get(self.site.nodes[number].name) for number in numbers]):
                time.sleep(POLL_AT_END_S)
                (view,) = self.views(numbers[:1]).values()
            self.pulls |= dict(zip(numbers, map(str, ids), strict=True))
            return
        asked = [self.site.nodes[number].submit(partial(self._ask, number)) for number in numbers]
        self.pulls |= dict(zip(numbers, (future.result() for future in asked), strict=True))

    def _ask(self, number: int) -> str:
        return str(self.daemons[number].submit(REPO)["id"])

    def views(self, numbers: Sequence[int]) -> dict[int, View]:
        """What the nodes say of their pulls. Raises Incomplete when one failed."""
        found = {}
        for number in numbers:
            found[number] = view = self._view(number)
            if view["state"] in ("failed", "cancelled"):
                raise Incomplete(f"node {number}: {view['state']}: {view['error']}")
            if view["bytes_done"] == view["bytes_total"]:
                self._full_at.setdefault(number, time.time())
        return found

    def _view(self, number: int) -> View:
        view: View = self._on(number, lambda daemon: daemon.view(self.pulls[number]))
        return view

    def wait(
        self, numbers: Sequence[int], reached: Callable[[Mapping[int, View]], bool] | None = None
    ) -> dict[int, View]:
        """Returns the views once `reached` holds for them, or when all have published."""
        while True:
            views = self.views(numbers)
            if all(view["state"] in FINISHED for view in views.values()) or (reached and reached(views)):
                return views
            near = any(share_done(view) > 0.9 for view in views.values() if view["state"] not in FINISHED)
            time.sleep(POLL_AT_END_S if near else POLL_S)

    def kill(self, number: int) -> None:
        self.daemons[number].kill9()
        self.alive.discard(number)

    def restart(self, number: int) -> Future[float]:
        """Begins to start it again on what it has; the result is the epoch time at which it was ready."""
        self._cpu_before[number] = 0.0

        def start() -> float:
            self.daemons[number].start()
            return time.time()

        self.alive.add(number)
        return self.site.nodes[number].submit(start)

    def outcome(self, views: Mapping[int, View], idle: float) -> Outcome:
        """Of all that these pulls took, from `submit`. Checks what each node has published."""
        for view in views.values():
            self.site.check(Path(view["snapshot_path"]))
        alive = [self.daemons[number] for number in sorted(self.alive)]
        return Outcome(
            max(map(published_at, views.values())) - self.asked_at,
            self.site.hub_bytes(),
            sum(daemon.cpu_s() for daemon in alive)
            - sum(before for number, before in enumerate(self._cpu_before) if number in self.alive),
            max(daemon.rss_bytes(peak=True) for daemon in alive) / 1e6,
            idle,
            max(self._publish_s(number, view) for number, view in views.items()),
        )

    def _publish_s(self, number: int, view: View) -> float:
        """From the last byte that was checked, as far as polling saw it, to published."""
        return max(0.0, published_at(view) - self._full_at[number])

    def _on(self, number: int, ask: Callable[[DaemonProcess], Any]) -> Any:
        return self.site.nodes[number].call(lambda: ask(self.daemons[number]))


def _ids(view: View) -> dict[str, str | None]:
    return {node["name"]: node["pull_id"] for node in view["nodes"]}


def published_at(view: View) -> float:
    """Epoch seconds."""
    return datetime.fromisoformat(view["finished_at"]).timestamp()


def share_done(view: View) -> float:
    return view["bytes_done"] / view["bytes_total"] if view["bytes_total"] else 0.0


@contextmanager
def running(site: Site, directory: Path, config: str = "") -> Iterator[Daemons]:
    """Daemons with empty stores that know each other. `config`: further configuration as TOML, for all of them."""
    secret_file = directory / "secret"
    secret_file.touch(0o600)
    secret_file.write_text(secret.generate() + "\n")
    config_file = directory / "config.toml"
    config_file.write_text(config)
    wrapper = ("env", f"DISTD_CONFIG={config_file}")
    daemons: list[DaemonProcess] = []
    try:
        for node in site.nodes:
            settings = _settings(site, node, secret_file)
            daemon = DaemonProcess(directory / node.name, site.hub.url, settings, wrapper=wrapper)
            daemons.append(daemon)
        starting = [node.submit(daemon.start) for node, daemon in zip(site.nodes, daemons, strict=True)]
        for started in starting:
            started.result()
        _meet(site, daemons)
        time.sleep(SETTLE_S)
        yield Daemons(site, daemons)
    finally:
        for daemon in daemons:
            with suppress(ProcessLookupError):  # it ended by itself, which is being raised
                daemon.kill9()


def _meet(site: Site, daemons: Sequence[DaemonProcess]) -> None:
    give_up_at = time.monotonic() + MEET_S
    for node, daemon in zip(site.nodes, daemons, strict=True):
        status = partial(daemon.get, "/v1/status")
        while node.call(status)["cluster"]["reachable"] < len(daemons):
            if time.monotonic() > give_up_at:
                return
            time.sleep(POLL_S)


def _settings(site: Site, node: Namespace, secret_file: Path) -> dict[str, object]:
    return {
        "node.name": node.name,
        "node.log_level": "info",
        "hub.give_up_after": "60s",
        "cluster.name": "fleet",
        "cluster.secret_file": secret_file,
        "cluster.listen": f"{node.address}:{CLUSTER_PORT}",
        "cluster.join": f"{site.nodes[0].address}:{CLUSTER_PORT}",
        "swarm.listen": f"{node.address}:{SWARM_PORT}",
    }
