"""Members on both IP families, found by a name with many addresses, with a clock that is off and addresses that nobody reaches."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from peers.secret import generate
from tests.daemon.daemon import DaemonProcess, until
from tests.daemon.repos import Repos
from tests.daemon.test_clock import MovedClock
from tests.fleet.test_fleet_pulls import distctl
from tests.hub import HubProcess

NAME = "members.distd.test"
WAIT_S = 30.0
IN_A_NAMESPACE = (
    "unshare",
    "--map-root-user",
    "--mount",
    "sh",
    "-c",
    'mount --bind "$0" /etc/hosts && exec "$@"',
)
"""The command that follows sees another /etc/hosts, which may be changed while it runs."""


class Names:
    """What the system's resolver says, by a file of its own."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "hosts"
        self._file.touch()
        self.wrapper = (*IN_A_NAMESPACE, str(self._file))
        if subprocess.run([*self.wrapper, "true"], capture_output=True, check=False).returncode != 0:
            pytest.skip("no namespaces of mounts here")

    def say(self, *addresses: str) -> None:
        self._file.write_text("".join(f"{address} {NAME}\n" for address in addresses))


@pytest.fixture
def started(hub: HubProcess, tmp_path: Path) -> Iterator[Any]:
    secret_file = tmp_path / "secret"
    secret_file.touch(mode=0o600)
    secret_file.write_text(f"{generate()}\n")
    with ExitStack() as stack:

        def start(name: str, listen: str, join: str = "", **more: Any) -> DaemonProcess:
            settings = {
                "node.name": name,
                "cluster.name": "both",
                "cluster.listen": listen,
                "swarm.listen": listen,
                "cluster.join": join,
                "cluster.secret_file": secret_file,
            }
            options = {key: more.pop(key) for key in ("wrapper", "environment") if key in more}
            daemon = DaemonProcess(tmp_path / name, hub.url, settings | more, **options)
            stack.enter_context(daemon)
            return daemon

        yield start


def addresses_of(daemon: DaemonProcess) -> dict[str, str]:
    (own,) = (peer for peer in daemon.get("/v1/peers")["items"] if peer["is_self"])
    return dict(own["addresses"])


def reachable(daemon: DaemonProcess) -> int:
    return int(daemon.get("/v1/status")["cluster"]["reachable"])


def finding(daemon: DaemonProcess, name: str) -> dict[str, str]:
    found = [each for each in daemon.get("/v1/doctor")["items"] if each["name"] == name]
    return found[0] if found else {"outcome": "", "detail": ""}


def test_both_families_a_name_of_many_addresses_and_a_clock_that_is_off(
    started: Any, repos: Repos, tmp_path: Path
) -> None:
    names, clock = Names(tmp_path), MovedClock(tmp_path)
    own = {"cluster.advertise": "127.0.0.1:0", "swarm.advertise": "127.0.0.1:0"}
    both = started("both", "[::]:0", **own)
    port = addresses_of(both)["cluster"].rpartition(":")[2]
    six = started("six", "[::1]:0", f"[::1]:{port}")
    until(lambda: reachable(both) == reachable(six) == 2, "the two to meet", WAIT_S)
    assert {address.rpartition(":")[0] for address in addresses_of(six).values()} == {"[::1]"}

    names.say("240.0.0.1")  # nobody is there
    clock.move(90)
    late = started(
        "late", "127.0.0.3:0", f"{NAME}:{port}", wrapper=names.wrapper, environment=clock.environment
    )
    until(
        lambda: "240.0.0.1" in finding(late, "cluster.reach")["detail"], "the dead address to be told", WAIT_S
    )
    names.say("240.0.0.1", "127.0.0.1")
    until(lambda: finding(late, "cluster.clock")["outcome"] == "fail", "the refusal to be told", WAIT_S)
    assert "the clock of both (-90 s)" in finding(late, "cluster.clock")["detail"]
    assert "the clock of both is 90 s behind this host's" in late.log()
    assert reachable(late) == 1

    clock.move(30)
    until(lambda: [reachable(each) for each in (both, six, late)] == [3, 3, 3], "all to meet", WAIT_S)
    own_clock = "this host's clock is off: 30 s ahead of those of 2 of 2 members"
    until(
        lambda: finding(late, "cluster.clock")["detail"].startswith(own_clock),
        "the clock to be judged",
        WAIT_S,
    )
    until(
        lambda: "its clock differs by +30 s" in distctl(both, "peers").stdout, "the amount in peers", WAIT_S
    )
    clock.move(0)

    repo = repos.make(weight_mib=24)
    pull = both.pulled(repo.id, nodes=["all"])
    assert [node["state"] for node in pull["nodes"]] == ["complete"] * 3
    for member in (six, late):
        (part,) = (each for each in member.get("/v1/pulls")["items"] if each["repo"] == repo.id)
        assert part["bytes_from_peers"] > 0

    refused = "BitTorrent connections are refused with: "
    assert distctl(both, "peers", "ban", "late").returncode == 0
    until(
        lambda: f"{refused}127.0.0.3" in both.log(),
        "its host to be refused, and not the one it shares",
        WAIT_S,
    )
    assert distctl(both, "peers", "unban", "late").returncode == 0
    until(lambda: f"{refused}nobody" in both.log(), "the door to be open again", WAIT_S)


def test_a_member_that_others_do_not_reach_where_it_says_it_is_says_so(started: Any) -> None:
    one = started("one", "127.0.0.1:0")
    hidden = started(
        "hidden",
        "127.0.0.1:0",
        addresses_of(one)["cluster"],
        **{"cluster.advertise": "127.0.0.9:9", "swarm.advertise": "127.0.0.9:9"},
    )
    assert addresses_of(hidden) == {"cluster": "127.0.0.9:9", "hot": "127.0.0.9:9", "sealed": "127.0.0.9:10"}

    def told() -> str:
        found = finding(hidden, "cluster.advertise")
        return found["detail"] if found["outcome"] == "fail" else ""

    text = until(told, "the doctor to tell", WAIT_S)
    assert all(f"127.0.0.9:{port} cannot be reached" in text for port in (9, 10))
    assert "tried by one" in text
    until(
        lambda: "other members do not reach this node: 127.0.0.9" in hidden.log(), "the log to tell", WAIT_S
    )
    assert finding(one, "cluster.advertise")["outcome"] != "fail"
