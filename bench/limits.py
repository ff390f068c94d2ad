"""Do bandwidth limits hold? A fleet with limits, and what its network cards counted.

    make limits BENCH="--nodes 4 --mib 250"

Runs in network namespaces of its own (`bench/netns.py`). Counted are all bytes on the links, headers included: what the
Hub's card sends is what the cluster takes from it, what a node's card sends goes to other nodes, but for its questions.
Cards send a packet of 1,500 bytes at a time: the kernel would hand down 64 KiB under one header, and count one.
Three parts: both limits of a fleet at once over a pull on all nodes; what one node takes from the Hub, and then another one
from it; and a window that begins in the middle of a pull. They need half a minute each, the last up to a minute and a
half, since windows begin at whole minutes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.cpu import machine
from bench.fleet_daemons import Daemons, running
from bench.fleet_site import Incomplete, Shape, Site, site
from bench.netns import Namespace, Unavailable, launch

SCRATCH = "DISTD_LIMITS_SCRATCH"
SAMPLE_S = 0.1
GOAL = 0.05
SWITCH_GOAL_S = 2.0
FAST_MBIT_PER_S = 600
"""Links and upstream: well above the limits, so that it is these that are measured."""
PEER_MBIT_PER_S = 100
HUB_MBIT_PER_S = 200
WINDOW_MBIT_PER_S = 80
BEFORE_WINDOW_S = 5.0
"""A pull begins so long before the window: 125 MB by the limit before, and 50 MB more take 5 s in it."""


@dataclass
class Counted:
    """What a card has sent or received: (seconds, bytes) since the start, in order."""

    samples: list[tuple[float, int]] = field(default_factory=list)

    def rate(self, since: float, until: float) -> float:
        """Mbit/s between two moments."""
        within = [each for each in self.samples if since <= each[0] <= until]
        (t0, b0), (t1, b1) = within[0], within[-1]
        return (b1 - b0) * 8 / 1e6 / (t1 - t0)

    def busy(self, rate_min: float) -> tuple[float, float]:
        """From when until when it passed at this rate or more over a second."""
        times = [t for t, _ in self.samples]
        busy = [t for t in times if t + 1 <= times[-1] and self.rate(t, t + 1) >= rate_min]
        return busy[0], busy[-1] + 1

    def highest(self, length_s: float) -> float:
        times = [t for t, _ in self.samples if t + length_s <= self.samples[-1][0]]
        return max(self.rate(t, t + length_s) for t in times)


@contextmanager
def counting(
    namespaces: Sequence[Namespace], passed: Callable[[], int] | None = None
) -> Iterator[list[Counted]]:
    """Counts what the cards send, or `passed`, in a thread, as long as the context lasts."""
    look = passed or _sent_bytes
    counted = [Counted() for _ in namespaces]
    stop, began = threading.Event(), time.monotonic()

    def count() -> None:
        while not stop.wait(SAMPLE_S):
            for namespace, each in zip(namespaces, counted, strict=True):
                each.samples.append((time.monotonic() - began, namespace.call(look)))

    thread = threading.Thread(target=count)
    thread.start()
    try:
        yield counted
    finally:
        stop.set()
        thread.join()


def _sent_bytes() -> int:
    return _card(8)


def _received_bytes() -> int:
    return _card(0)


def _card(column: int) -> int:
    for line in Path("/proc/thread-self/net/dev").read_text().splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "eth0":
            return int(numbers.split()[column])
    raise Incomplete("the namespace has no eth0")


def _send_single_packets(place: Site) -> None:
    for namespace in place.network.namespaces:
        command = ("ip", "link", "set", "dev", "eth0", "gso_max_segs", "1")
        namespace.call(lambda command=command: subprocess.run(command, check=True))


def fleet_limits(place: Site, hub: Namespace) -> bool:
    """Two limits over one pull on all nodes."""
    config = f'[limits]\nhub_down_cluster = "{HUB_MBIT_PER_S} Mbit/s"\npeer_up = "{PEER_MBIT_PER_S} Mbit/s"\n'
    with running(place, place.fresh(), config) as daemons, counting([hub, *place.nodes]) as counted:
        _pull(daemons, list(range(len(daemons.daemons))))
    return all(
        [
            _row("hub_down_cluster, all nodes", HUB_MBIT_PER_S, counted[0]),
            *(
                _row(f"peer_up, {node.name}", PEER_MBIT_PER_S, each)
                for node, each in zip(place.nodes, counted[1:], strict=True)
            ),
        ]
    )


def down_limits(place: Site) -> bool:
    """One node takes everything from the Hub, then another one everything from it."""
    rate = f'"{PEER_MBIT_PER_S} Mbit/s"'
    config = f"[limits]\nhub_down = {rate}\npeer_down = {rate}\n"
    held = []
    with running(place, place.fresh(), config) as daemons:
        for number, what in enumerate(("hub_down", "peer_down")):
            node = place.nodes[number]
            with counting([node], _received_bytes) as counted:
                _pull(daemons, [number])
            held.append(_row(f"{what}, {node.name}", PEER_MBIT_PER_S, counted[0]))
    return all(held)


def _row(what: str, limit: float, counted: Counted) -> bool:
    """The rate while the limit was what bound; further from the limit than the goal is a fault, on either side."""
    since, until = counted.busy(limit * 0.8)
    rate = counted.rate(since, until)
    held = abs(rate - limit) <= limit * GOAL
    over = f"{(rate / limit - 1) * 100:+.1f} %"
    print(
        f"{what:28}{limit:8.0f}{rate:10.1f}{over:>9}{counted.highest(1.0):13.1f}{counted.highest(3.0):8.1f}"
        f"   over {until - since:.1f} s {'' if held else '  MISSED'}",
        flush=True,
    )
    return held


def window(place: Site, hub: Namespace) -> bool:
    """A window that begins while a pull is under way."""
    begins = (int(time.time() + 15 + BEFORE_WINDOW_S) // 60 + 1) * 60
    clock = time.strftime("%H:%M", time.gmtime(begins))
    config = (
        f'[limits]\nhub_down_cluster = "{HUB_MBIT_PER_S} Mbit/s"\n'
        f'[[limits.window]]\nfrom = "{clock}"\nto = "{time.strftime("%H:%M", time.gmtime(begins + 600))}"\n'
        f'hub_down_cluster = "{WINDOW_MBIT_PER_S} Mbit/s"\n'
    )
    with running(place, place.fresh(), config) as daemons:
        time.sleep(max(0.0, begins - BEFORE_WINDOW_S - time.time()))
        with counting([hub]) as counted:
            at = begins - time.time()
            _pull(daemons, list(range(len(daemons.daemons))))
    (sent,) = counted
    settled = next(
        (t for t, _ in sent.samples if t >= at and sent.rate(t, t + 1) <= WINDOW_MBIT_PER_S * (1 + 2 * GOAL)),
        None,
    )
    if settled is None:
        raise Incomplete("the window's limit was never met")
    before = sent.rate(at - 3, at)
    after = sent.rate(settled, settled + 5)
    late = settled - at
    held = late <= SWITCH_GOAL_S and after <= WINDOW_MBIT_PER_S * (1 + GOAL)
    print(
        f"a window begins: {before:.1f} Mbit/s before (limit {HUB_MBIT_PER_S}), {after:.1f} after"
        f" (limit {WINDOW_MBIT_PER_S}), {late:.1f} s later"
    )
    return held


def _pull(daemons: Daemons, numbers: Sequence[int]) -> None:
    daemons.submit(numbers)
    daemons.wait(numbers)


def main() -> int:
    arguments = _arguments()
    scratch = os.environ.get(SCRATCH)
    if scratch is not None:
        return _inside(arguments, Path(scratch))
    with tempfile.TemporaryDirectory(dir=arguments.dir, prefix="distd-limits-") as made:
        try:
            return launch(
                [sys.executable, "-m", "bench.limits", *sys.argv[1:]], {**os.environ, SCRATCH: made}
            )
        except Unavailable as error:
            print(f"limits: {error}", file=sys.stderr)
            return 1


def _inside(arguments: argparse.Namespace, scratch: Path) -> int:
    shape = Shape(arguments.nodes, FAST_MBIT_PER_S, FAST_MBIT_PER_S, arguments.mib, shards=2)
    print(
        f"{machine()}; {shape.nodes} nodes, {shape.size_mib} MiB; links {FAST_MBIT_PER_S} Mbit/s", flush=True
    )
    print(f"{'':28}{'limit':>8}{'measured':>10}{'':>9}{'highest 1 s':>13}{'3 s':>8}   Mbit/s")
    with site(shape, scratch) as place:
        _send_single_packets(place)
        (hub,) = [each for each in place.network.namespaces if each.name == "hub"]
        held = [fleet_limits(place, hub)]
        if not arguments.fleet_only:
            held += [down_limits(place), window(place, hub)]
    return 0 if all(held) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make limits", description="Do bandwidth limits hold?")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--mib", type=int, default=250)
    parser.add_argument("--fleet-only", action="store_true", help="only the pull on all nodes")
    parser.add_argument("--dir", help="where to put stores and content (default: the system's)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
