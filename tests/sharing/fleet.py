"""Daemons that form a cluster, each a process of its own with a name, beside one test Hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.daemon.daemon import DaemonProcess, until
from tests.hub import HubProcess

JOINED_S = 20.0


def member(
    directory: Path,
    hub: HubProcess,
    name: str,
    join: str = "",
    settings: Mapping[str, object] | None = None,
    token: str = "none",
) -> DaemonProcess:
    """A daemon that joins who listens at `join`; start it with `with` or `start`."""
    own: dict[str, object] = {
        "node.name": name,
        "cluster.name": "fleet",
        "cluster.listen": "127.0.0.1:0",
        "swarm.listen": "127.0.0.1:0",
        **({"cluster.join": join} if join else {}),
        **(settings or {}),
    }
    return DaemonProcess(directory / name, hub.url, own, token=token)


def address(daemon: DaemonProcess) -> str:
    """Where the daemon's cluster API listens."""
    (own,) = (peer for peer in daemon.get("/v1/peers")["items"] if peer["is_self"])
    return str(own["addresses"]["cluster"])


def live(daemon: DaemonProcess) -> set[str]:
    return {peer["name"] for peer in daemon.get("/v1/peers")["items"] if peer["state"] == "alive"}


def until_all_know(daemons: list[DaemonProcess]) -> None:
    for daemon in daemons:
        until(lambda d=daemon: len(live(d)) == len(daemons), "everybody to know everybody", JOINED_S)  # type: ignore[misc]  # bound early on purpose


@contextmanager
def fleet(
    directory: Path,
    hub: HubProcess,
    count: int,
    *,
    settings: Mapping[int, Mapping[str, object]] | None = None,
    tokens: Mapping[int, str] | None = None,
) -> Iterator[list[DaemonProcess]]:
    """`count` daemons called n0, n1, ..., all of which know each other. `settings` and `tokens` go by number."""
    with ExitStack() as stack:
        daemons: list[DaemonProcess] = []
        join = ""
        for number in range(count):
            daemon = member(
                directory,
                hub,
                f"n{number}",
                join,
                (settings or {}).get(number),
                (tokens or {}).get(number, "none"),
            )
            daemons.append(stack.enter_context(daemon))
            join = join or address(daemon)
        until_all_know(daemons)
        yield daemons
