"""Members found by names of a name server, whose records change."""

from __future__ import annotations

from tests.daemon.daemon import until
from tests.shapes.conftest import CLUSTER_PORT, COPIES_MAX, MEET_S, Site, copies, finding

ALL, ONE = "members.test", "b.test"
NOBODY = "10.77.0.200"


def test_names_of_many_addresses_that_change_when_a_member_is_replaced(site: Site) -> None:
    site.serve_hub("10.77.0.99", "10.77.0.99")
    names = site.names("10.77.0.98")
    join = f"{ALL}:{CLUSTER_PORT}"
    a = site.daemon(site.host("a", "10.77.0.1"), join, names=names)
    until(lambda: f"the name {ALL} has no address" in a.log(), "the log to tell", MEET_S)
    assert f"the name {ALL} has no address" in finding(a, "cluster.reach")["detail"]

    names.say(ALL, NOBODY, "10.77.0.2", "10.77.0.1")
    names.say(ONE, "10.77.0.2")
    told = {"cluster__advertise": f"{ONE}:{CLUSTER_PORT}"}
    b = site.daemon(site.host("b", "10.77.0.2"), join, names=names, **told)
    c = site.daemon(site.host("c", "10.77.0.3"), join, names=names)
    site.met()
    site.hub.set(rate_bytes_per_s=8e6)
    repo = site.repo()
    site.pulled(repo)
    assert copies(repo) <= COPIES_MAX

    # Its disk goes into another host: the same member, at another address, by the same name.
    b.kill9()
    names.say(ONE, "10.77.0.12")
    names.say(ALL, NOBODY, "10.77.0.12")
    b.moved(site.host("b2", "10.77.0.12"))
    b.start()
    site.met()
    # Who has forgotten all addresses finds them by the name alone.
    c.terminate()
    (c.state_dir / "members").unlink()
    c.start()
    site.met()
    assert {peer["name"]: peer["state"] for peer in c.get("/v1/peers")["items"]}["b"] == "alive"

    repo = site.repo()
    views = site.pulled(repo)
    assert all(view["bytes_from_peers"] > 0 for view in views)
    print(f"names: {copies(repo):.3f} copies after the move")
    assert copies(repo) <= COPIES_MAX
