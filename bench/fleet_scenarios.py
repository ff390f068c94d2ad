"""A fleet of daemons in which one node comes late, dies, comes back, or has a tenth of the others' link.

The last node is the one, where it is not the lead. What counts is what it costs the others: the time they took from the event on, over
the ideal time of what the furthest behind of them had left. The ideal rate is that of `curl` in the same round.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.cpu import idle_share
from bench.fleet_daemons import View, published_at, running, share_done
from bench.fleet_site import Site
from peers import rendezvous

HALF = 0.5
THREE_QUARTERS = 0.75
SLOWER = 10
"""How much slower the slow node's link is."""


@dataclass(frozen=True)
class Effect:
    """Ratios to the ideal: `others` of the others, `one` of the node in question, None where it has none.
    `hub_copies`: bodies the Hub handed out, in sizes of the repo. `idle`: of the machine meanwhile."""

    others: float
    one: float | None
    hub_copies: float
    idle: float


def join_late(site: Site, ideal_s: float) -> Effect:
    """The last node is asked when the others have half. It has everything to get, over the same links."""
    with running(site, site.fresh()) as fleet, idle_share() as idle:
        *others, late = range(len(site.nodes))
        fleet.submit(others)
        left = _left(fleet.wait(others, _half))
        fleet.submit([late])
        views = fleet.wait([*others, late])
        outcome = fleet.outcome(views, idle())
        took_s = _last(views, others) - fleet.asked_at
        one = (published_at(views[late]) - fleet.asked_at) / ideal_s
        return Effect(took_s / (left * ideal_s), one, outcome.hub_bytes / site.size_bytes, outcome.idle)


def kill_one(site: Site, ideal_s: float) -> Effect:
    """The last node is killed when they have half. What it alone held has to come from the Hub again."""
    with running(site, site.fresh()) as fleet, idle_share() as idle:
        *others, victim = range(len(site.nodes))
        fleet.submit([*others, victim])
        fleet.wait([*others, victim], _half)
        fleet.kill(victim)
        killed_at = time.time()
        left = _left(fleet.views(others))
        views = fleet.wait(others)
        outcome = fleet.outcome(views, idle())
        took_s = _last(views, others) - killed_at
        return Effect(took_s / (left * ideal_s), None, outcome.hub_bytes / site.size_bytes, outcome.idle)


def kill_lead(site: Site, ideal_s: float) -> Effect:
    """The lead of what is arriving is killed when all have half, and comes back when the others have three quarters."""
    return _killed_and_back(site, ideal_s, lambda order: order[0])


def kill_holder(site: Site, ideal_s: float) -> Effect:
    """The same with one that fetches and does not lead: what it was fetching is fetched by others."""
    return _killed_and_back(site, ideal_s, lambda order: order[-1])


def _killed_and_back(site: Site, ideal_s: float, choose: Callable[[list[str]], str]) -> Effect:
    """`choose` is given the nodes, the lead first. `one`: from its return on, over the ideal of what it had left then."""
    names = [node.name for node in site.nodes]
    everybody = range(len(names))
    with running(site, site.fresh()) as fleet, idle_share() as idle:
        fleet.submit(everybody)
        views = fleet.wait(everybody, _half)
        victim = names.index(choose(rendezvous.order(_arriving(views), names)))
        others = [number for number in everybody if number != victim]
        fleet.kill(victim)
        killed_at = time.time()
        left = _left(fleet.views(others))
        fleet.wait(others, _three_quarters)
        back = fleet.restart(victim)
        ended = fleet.wait(others)
        back_at = back.result()
        # It was killed with this much; what the journal kept of it counts.
        had_left = 1 - share_done(views[victim])
        own = fleet.wait([victim])
        outcome = fleet.outcome({**ended, **own}, idle())
        return Effect(
            (_last(ended, others) - killed_at) / (left * ideal_s),
            (published_at(own[victim]) - back_at) / (had_left * ideal_s),
            outcome.hub_bytes / site.size_bytes,
            outcome.idle,
        )


def slow_node(site: Site, ideal_s: float) -> Effect:
    """The last node's NIC is ten times slower. Its own ideal is the size over that link."""
    *others, slow = range(len(site.nodes))
    rate = site.shape.nic_mbit_per_s / SLOWER
    site.network.set_rate(site.nodes[slow], rate)
    try:
        with running(site, site.fresh()) as fleet, idle_share() as idle:
            fleet.submit([*others, slow])
            views = fleet.wait([*others, slow])
            outcome = fleet.outcome(views, idle())
            own_ideal_s = max(ideal_s, site.size_bytes * 8 / (rate * 1e6))
            return Effect(
                (_last(views, others) - fleet.asked_at) / ideal_s,
                (published_at(views[slow]) - fleet.asked_at) / own_ideal_s,
                outcome.hub_bytes / site.size_bytes,
                outcome.idle,
            )
    finally:
        site.network.set_rate(site.nodes[slow], site.shape.nic_mbit_per_s)


def _arriving(views: Mapping[int, View]) -> str:
    """The etag of the file that most nodes are at: they go in the same order."""
    etags: list[str] = [
        next(file["etag"] for file in view["files"] if file["bytes_done"] < file["size"])
        for view in views.values()
    ]
    return statistics.mode(etags)


def _three_quarters(views: Mapping[int, View]) -> bool:
    return statistics.mean(map(share_done, views.values())) >= THREE_QUARTERS


def _half(views: Mapping[int, View]) -> bool:
    return statistics.mean(map(share_done, views.values())) >= HALF


def _left(views: Mapping[int, View]) -> float:
    """The share of the bytes that the one furthest behind has to get."""
    return max(1 - share_done(view) for view in views.values())


def _last(views: Mapping[int, View], numbers: Sequence[int]) -> float:
    return max(published_at(views[number]) for number in numbers)


SCENARIOS: dict[str, Callable[[Site, float], Effect]] = {
    "join late": join_late,
    "kill one": kill_one,
    "kill lead": kill_lead,
    "kill holder": kill_holder,
    "slow node": slow_node,
}
