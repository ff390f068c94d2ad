"""Hosts that have one IP family only."""

from __future__ import annotations

import time

from tests.shapes.conftest import (
    CLUSTER_PORT,
    COPIES_MAX,
    EXCESS,
    Site,
    addresses_of,
    copies,
    lead_of,
    shared_without_the_hub,
)

SECONDS_MAX = 40.0
"""By the link alone 3 s, as much again for who pulls alone, and the time to find that out."""


def test_hosts_that_have_ipv6_only(site: Site) -> None:
    site.serve_hub("fd77::99", "fd77::99")
    listen = {"cluster__listen": "[::]:7071", "swarm__listen": "[::]:7072"}
    join = f"[fd77::1]:{CLUSTER_PORT}"
    for number in (1, 2, 3):
        site.daemon(site.host(f"six{number}", f"fd77::{number}"), join, **listen)
    site.met()
    assert addresses_of(site.daemons[1]) == {
        "cluster": "[fd77::2]:7071",
        "hot": "[fd77::2]:7072",
        "sealed": "[fd77::2]:7073",
    }
    repo = site.repo()
    site.hub.set(rate_bytes_per_s=8e6)
    views = site.pulled(repo)
    assert all(view["bytes_from_peers"] > 0 for view in views)
    print(f"IPv6 only: {copies(repo):.3f} copies")
    assert copies(repo) <= COPIES_MAX
    late = site.daemon(site.host("late", "fd77::4"), join, **listen)
    site.met()
    shared_without_the_hub(site, repo, late)


def test_hosts_of_one_family_beside_hosts_of_both(site: Site) -> None:
    """Those of both are told of by names that have both addresses. Whoever leads, all complete."""
    site.serve_hub("::", "10.77.0.99", "fd77::99")
    names = {4: site.names("10.77.0.98"), 6: site.names("fd77::98")}
    for server in names.values():
        server.say("hub.test", "10.77.0.99", "fd77::99")
        for number in (1, 2):
            server.say(f"both{number}.test", f"10.77.0.{number}", f"fd77::{number}")
    site.hub_url = f"http://hub.test:{site.hub_url.rpartition(':')[2]}"
    every = {"cluster__listen": "[::]:7071", "swarm__listen": "[::]:7072"}
    join = "both1.test:7071,both2.test:7071"
    for number in (1, 2):
        addresses = f"10.77.0.{number}", f"fd77::{number}"
        told = {
            "cluster__advertise": f"both{number}.test:7071",
            "swarm__advertise": f"{addresses[0]}:7072",
        }
        site.daemon(site.host(f"both{number}", *addresses), join, names=names[4], **told, **every)
    site.daemon(site.host("four", "10.77.0.4"), join, names=names[4])
    site.daemon(site.host("six", "fd77::6"), join, names=names[6], **every)
    site.met()
    site.hub.set(rate_bytes_per_s=8e6)
    left = {"both", "four", "six"}
    while left:  # by drawn names of blobs: a handful
        repo = site.repo()
        lead = lead_of(repo, [daemon.host.name for daemon in site.daemons]).rstrip("12")
        if lead in left:
            left.remove(lead)
            began = time.monotonic()
            site.pulled(repo)
            took_s = time.monotonic() - began
            print(f"one family and both, {lead} leads: {took_s:.1f} s, {copies(repo):.3f} copies")
            # Whoever does not reach the lead asks another one: it pulls alone, from the Hub, and is not the last by much.
            assert copies(repo) <= (COPIES_MAX if lead == "both" else 2 + EXCESS), lead
            assert took_s < SECONDS_MAX
