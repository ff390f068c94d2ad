"""Members behind a router that translates addresses: with ports that it passes on, and with none."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from bench.netns import Namespace, give, run
from tests.daemon.daemon import until
from tests.shapes.conftest import (
    COPIES_MAX,
    EXCESS,
    MEET_S,
    Site,
    addresses_of,
    copies,
    finding,
    shared_without_the_hub,
)

OUTSIDE, INSIDE_NET = "10.77.0.254", "192.168.7"
PORTS = (7071, 7072, 7073)


class Router:
    """Its own namespace: outside it has one address, which all that it hides share."""

    def __init__(self, site: Site) -> None:
        self._site = site
        site.host("router", OUTSIDE)
        self._do("ip", "link", "add", "name", "inner", "type", "bridge")
        give("router", "inner", f"{INSIDE_NET}.1")
        self._do("ip", "link", "set", "dev", "inner", "up")
        self._do("sysctl", "-qw", "net.ipv4.ip_forward=1")
        self._rules(
            "add table ip nat",
            "add chain ip nat inward { type nat hook prerouting priority -100; }",
            "add chain ip nat outward { type nat hook postrouting priority 100; }",
            'add rule ip nat outward oifname "eth0" masquerade',
            # Two hosts inside that know each other by the outer address: answers have to come back this way too.
            f"add rule ip nat outward ip saddr {INSIDE_NET}.0/24 ip daddr {INSIDE_NET}.0/24 masquerade",
        )

    def host(self, name: str, number: int) -> Namespace:
        """One inside, which finds out only its inner address."""
        host = Namespace(name, f"{INSIDE_NET}.{number}")
        run("ip", "netns", "add", name)
        self._site.network.namespaces.append(host)
        port = ("ip", "link", "add", "name", f"to-{name}", "netns", "router", "type", "veth")
        run(*port, "peer", "name", "eth0", "netns", name)
        self._do("ip", "link", "set", "dev", f"to-{name}", "master", "inner", "up")
        give(name, "eth0", host.address)
        for device in ("lo", "eth0"):
            run("ip", "-n", name, "link", "set", "dev", device, "up")
        run("ip", "-n", name, "route", "add", "default", "via", f"{INSIDE_NET}.1")
        return host

    def passes(self, first: int, host: Namespace) -> None:
        """Three ports from this one on lead to those of a host inside."""
        rules = (
            f"add rule ip nat inward ip daddr {OUTSIDE} tcp dport {first + offset} counter dnat to {host.address}:{port}"
            for offset, port in enumerate(PORTS)
        )
        self._rules(*rules)

    def passed(self) -> dict[int, int]:
        """Connections by outer port."""
        rules = self._do("nft", "list", "chain", "ip", "nat", "inward")
        found = re.findall(r"dport (\d+) counter packets (\d+)", rules)
        return {int(port): int(packets) for port, packets in found}

    def _rules(self, *lines: str) -> None:
        for line in lines:
            self._do("nft", *line.split(" "))

    def _do(self, *command: str) -> str:
        done = subprocess.run(
            ["ip", "netns", "exec", "router", *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout


@pytest.fixture
def router(site: Site) -> Router:
    if shutil.which("nft") is None:
        pytest.skip("needs nft (nftables) to translate addresses")
    site.serve_hub("10.77.0.99", "10.77.0.99")
    return Router(site)


def test_members_behind_nat_are_reached_where_they_say(site: Site, router: Router) -> None:
    """Two of them, which reach each other by the outer address too."""
    outer = site.daemon(site.host("outer", "10.77.0.1"))
    for name, number, first in (("inner1", 11, 17071), ("inner2", 12, 27071)):
        host = router.host(name, number)
        router.passes(first, host)
        told = {
            "cluster__advertise": f"{OUTSIDE}:{first}",
            "swarm__advertise": f"{OUTSIDE}:{first + 1}",
        }
        site.daemon(host, "10.77.0.1:7071", **told)
    inner = site.daemons[1]
    site.met()
    assert addresses_of(inner) == {
        "cluster": f"{OUTSIDE}:17071",
        "hot": f"{OUTSIDE}:17072",
        "sealed": f"{OUTSIDE}:17073",
    }
    for daemon in site.daemons:
        found = until(lambda d=daemon: finding(d, "cluster.advertise"), "the doctor to look", MEET_S)  # type: ignore[misc]  # bound now
        assert found["outcome"] == "ok", found

    site.hub.set(rate_bytes_per_s=8e6)
    repo = site.repo()
    views = site.pulled(repo)
    print(f"behind NAT: {copies(repo):.3f} copies")
    assert all(view["bytes_from_peers"] > 0 for view in views)
    assert copies(repo) <= COPIES_MAX

    alone = site.repo()
    site.pulled(alone, inner)
    late = site.daemon(site.host("late", "10.77.0.2"), "10.77.0.1:7071")
    site.met()
    for taker in (late, site.daemons[2], outer):
        shared_without_the_hub(site, alone, taker)
    passed = router.passed()
    print("connections that the router passed on, by port:", passed)
    assert all(passed[port] > 0 for port in (17071, 17072, 17073, 27071, 27072))


def test_a_member_behind_nat_that_nobody_reaches_says_so_and_pulls(site: Site, router: Router) -> None:
    site.daemon(site.host("outer1", "10.77.0.1"))
    site.daemon(site.host("outer2", "10.77.0.2"), "10.77.0.1:7071")
    hidden = site.daemon(router.host("hidden", 11), "10.77.0.1:7071")
    words = f"other members do not reach this node: {INSIDE_NET}.11"
    until(lambda: words in hidden.log(), "the log to tell", MEET_S)
    assert finding(hidden, "cluster.advertise")["outcome"] == "fail"

    site.hub.set(rate_bytes_per_s=8e6)
    repo = site.repo()
    site.pulled(repo)
    print(f"hidden behind NAT: {copies(repo):.3f} copies")
    assert (
        copies(repo) <= 2 + EXCESS
    )  # it is not asked what it has, and where it leads the others follow another lead
