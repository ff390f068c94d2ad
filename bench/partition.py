"""`make partition`: the cluster's network breaks in two in the middle of a pull, healed later or never.

Three nodes pull together behind the test Hub's link (`bench/fleet_site.py`). Once each has a quarter, the last one and the
others stop hearing each other: frames between them go to an address that nobody has, as when a switch dies. The Hub stays
reachable from both sides. Per run: whether all published, the copies that the Hub sent, the bytes it sent beyond one copy,
and what the daemons count in `distd_hub_duplicate_bytes_total`.

Everything runs in network namespaces of its own (`bench/netns.py`), as root or where users may make them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.fleet_daemons import Daemons, running, share_done
from bench.fleet_site import Shape, Site, site
from bench.netns import Namespace, Unavailable, launch, run

SCRATCH = "PARTITION_SCRATCH"
UNAVAILABLE = 3
"""Exit status of a machine that grants no namespaces."""
NODES = 3
NIC_MBIT_PER_S, UPSTREAM_MBIT_PER_S = 400.0, 100.0
CUT_AT = 0.25
HEAL_AT = 0.5
"""Of the bytes on every node: both sides have by then fetched for themselves, and have something left to share."""
DUPLICATES = "distd_hub_duplicate_bytes_total"
NOBODY = "02:00:00:00:00:99"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make partition", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mib", type=int, default=96, help="size of the model")
    parser.add_argument("--healed", nargs="*", default=["later", "never"], choices=["later", "never"])
    parser.add_argument(
        "--dir", default=None, help="where to write [default: the system's temporary directory]"
    )
    arguments = parser.parse_args()
    if SCRATCH not in os.environ:
        with tempfile.TemporaryDirectory(prefix="distd-partition-", dir=arguments.dir) as made:
            try:
                return launch(
                    [sys.executable, "-m", "bench.partition", *sys.argv[1:]], {**os.environ, SCRATCH: made}
                )
            except Unavailable as error:
                print(f"partition: {error}", file=sys.stderr)
                return UNAVAILABLE
    shape = Shape(NODES, NIC_MBIT_PER_S, UPSTREAM_MBIT_PER_S, arguments.mib, 1)
    with site(shape, Path(os.environ[SCRATCH])) as made_site:
        for healed in arguments.healed:
            print(json.dumps({"healed": healed} | measured(made_site, healed)), flush=True)
    return 0


def measured(place: Site, healed: str) -> dict[str, Any]:
    with running(place, place.fresh()) as fleet:
        everybody = range(NODES)
        fleet.submit(everybody)
        fleet.wait(everybody, lambda views: all(share_done(view) >= CUT_AT for view in views.values()))
        set_cut(place.nodes[:-1], place.nodes[-1:], is_cut=True)
        try:
            if healed == "later":
                fleet.wait(
                    everybody, lambda views: all(share_done(view) >= HEAL_AT for view in views.values())
                )
                set_cut(place.nodes[:-1], place.nodes[-1:], is_cut=False)
            views = fleet.wait(everybody)
            return told(place, fleet, views)
        finally:
            set_cut(place.nodes[:-1], place.nodes[-1:], is_cut=False)


def told(place: Site, fleet: Daemons, views: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    for view in views.values():
        place.check(Path(view["snapshot_path"]))
    scrapes = [node.call(daemon.metrics) for node, daemon in zip(place.nodes, fleet.daemons, strict=True)]
    return {
        "states": [view["state"] for view in views.values()],
        "hub_copies": round(place.hub_bytes() / place.size_bytes, 3),
        "beyond_one_copy_bytes": place.hub_bytes() - place.size_bytes,
        "counted_duplicate_bytes": int(sum(scrape.value(DUPLICATES) for scrape in scrapes)),
        "accepted_from_hub_bytes": sum(view["bytes_from_hub"] for view in views.values()),
    }


def set_cut(some: Sequence[Namespace], others: Sequence[Namespace], *, is_cut: bool) -> None:
    """Between each of some and each of the others, both ways."""
    for one in some:
        for other in others:
            for here, there in ((one, other), (other, one)):
                neighbour = ("ip", "-n", here.name, "neighbour")
                if is_cut:
                    run(
                        *neighbour,
                        "replace",
                        there.address,
                        "lladdr",
                        NOBODY,
                        "dev",
                        "eth0",
                        "nud",
                        "permanent",
                    )
                else:
                    run(*neighbour, "flush", "to", there.address, "nud", "permanent", "dev", "eth0")


if __name__ == "__main__":
    raise SystemExit(main())
