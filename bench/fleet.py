"""A fleet: N daemons and a Hub behind capped links, next to what a fleet would use instead.

    make fleet BENCH="--nodes 4 --nic 200 --upstream 200 --mib 128 --shards 4 --runs 3"

Everything runs in network namespaces of its own on this machine (`bench/netns.py`), as root or where users
may make user namespaces. Each round measures the ideal, one `curl` of the same bytes over the same links,
and then every contender; ratios are to the ideal of their round. A run in which the machine was busier than
80 % measured the machine: it is marked void and left out of the medians. With a scenario, daemons alone run
and the scenario is what is measured.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.cpu import machine
from bench.fleet_contenders import CONTENDERS, TITLES, distd, ideal, missing
from bench.fleet_scenarios import SCENARIOS, Effect
from bench.fleet_site import Incomplete, Outcome, Shape, Site, site
from bench.netns import Unavailable, congestion_control, launch

SCRATCH = "DISTD_FLEET_SCRATCH"
"""Names the directory to work in; set for the process inside the namespaces, and so tells it where it is."""

IDLE_MIN = 0.2
TIME_GOAL = 1.10
HUB_GOAL = 1.01


@dataclass(frozen=True)
class Measured:
    """A run next to the ideal of its round. `void`: the machine was too busy for either."""

    ideal_s: float
    outcome: Outcome
    void: bool

    @property
    def ratio(self) -> float:
        return self.outcome.wall_s / self.ideal_s


def main() -> int:
    arguments = _arguments()
    scratch = os.environ.get(SCRATCH)
    if scratch is not None:
        return _inside(arguments, Path(scratch))
    with tempfile.TemporaryDirectory(dir=arguments.dir, prefix="distd-fleet-") as made:
        try:
            return launch([sys.executable, "-m", "bench.fleet", *sys.argv[1:]], {**os.environ, SCRATCH: made})
        except Unavailable as error:
            print(f"fleet: {error}", file=sys.stderr)
            return 2


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fleet", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--nic", type=float, default=200, metavar="MBIT", help="of every node, each way")
    parser.add_argument("--upstream", type=float, default=200, metavar="MBIT", help="of the Hub")
    parser.add_argument(
        "--peers", type=float, metavar="MBIT", help="of every node to the others, by a way of its own"
    )
    parser.add_argument("--mib", type=int, default=128)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        *("--contenders", "-c"), nargs="+", choices=[*CONTENDERS], default=[*CONTENDERS], metavar="NAME"
    )
    parser.add_argument(
        "--submit", choices=("each", "all"), default="each", help="a request per node, or nodes=all at one"
    )
    for name in SCENARIOS:
        parser.add_argument(
            f"--{name.replace(' ', '-')}", action="append_const", dest="scenarios", const=name
        )
    parser.add_argument("--dir", type=Path, help="where to write [default: a temporary directory]")
    arguments = parser.parse_args()
    if not 2 <= arguments.nodes <= 250 or min(arguments.runs, arguments.mib, arguments.shards) < 1:
        parser.error("a fleet has 2 to 250 nodes; runs, MiB and shards are at least 1")
    return arguments


def _inside(arguments: argparse.Namespace, scratch: Path) -> int:
    shape = Shape(
        *(
            arguments.nodes,
            arguments.nic,
            arguments.upstream,
            arguments.mib,
            arguments.shards,
            arguments.peers,
        )
    )
    between = "" if shape.peers_mbit_per_s is None else f", {shape.peers_mbit_per_s:g} Mbit/s between them"
    print(
        f"{machine()}, {congestion_control()}\n{shape.nodes} nodes at {shape.nic_mbit_per_s:g} Mbit/s{between}, upstream "
        f"{shape.upstream_mbit_per_s:g} Mbit/s, {shape.size_mib} MiB in {shape.shards} shards"
    )
    try:
        with site(shape, scratch) as built:
            if arguments.scenarios:
                _report_effects(_scenarios(built, arguments.scenarios, arguments.runs))
            else:
                _report(_rounds(built, arguments), built)
    except Incomplete as error:
        print(f"fleet: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _rounds(built: Site, arguments: argparse.Namespace) -> dict[str, list[Measured]]:
    contenders: dict[str, Callable[[Site], Outcome]] = CONTENDERS | {
        "distd": partial(distd, submit=arguments.submit)
    }
    runs: dict[str, list[Measured]] = {}
    for name in arguments.contenders:
        if lacking := missing(name):
            print(f"{TITLES[name]}: left out, {', '.join(lacking)} is not installed")
        else:
            runs[name] = []
    ideal(built)  # warms the page cache of the Hub's files
    for _ in range(arguments.runs):
        ideal_s, ideal_idle = ideal(built)
        for name, values in runs.items():
            outcome = contenders[name](built)
            values.append(Measured(ideal_s, outcome, min(ideal_idle, outcome.idle) < IDLE_MIN))
            print(
                f"  {TITLES[name]:28} {outcome.wall_s:6.2f} s / {ideal_s:.2f} s = {values[-1].ratio:5.2f}  "
                f"Hub {outcome.hub_bytes / built.size_bytes:.3f}  CPU {outcome.cpu_s:5.1f} s  "
                f"idle {outcome.idle:.0%} (ideal {ideal_idle:.0%}){_void(values[-1].void)}",
                flush=True,
            )
    return runs


def _report(runs: dict[str, list[Measured]], built: Site) -> None:
    delivered_gb = built.size_bytes * len(built.nodes) / 1e9
    print(
        f"\n{'median of the runs that count':28} {'time/ideal':>10} {'Hub/size':>9} {'CPU s/GB':>9} "
        f"{'peak MB':>8} {'publish s':>9} {'idle':>5} {'runs':>5}"
    )
    for name, values in runs.items():
        counted = [run for run in values if not run.void]
        if not counted:
            print(f"{TITLES[name]:28} void: the machine was busier than {1 - IDLE_MIN:.0%} in every run")
            continue
        outcomes = [run.outcome for run in counted]
        ratio = statistics.median(run.ratio for run in counted)
        hub = statistics.median(outcome.hub_bytes for outcome in outcomes) / built.size_bytes
        publish = [outcome.publish_s for outcome in outcomes if outcome.publish_s is not None]
        print(
            f"{TITLES[name]:28} {ratio:10.2f} {hub:9.3f} "
            f"{statistics.median(outcome.cpu_s for outcome in outcomes) / delivered_gb:9.2f} "
            f"{max(outcome.peak_rss_mb for outcome in outcomes):8.0f} "
            f"{f'{statistics.median(publish):.2f}' if publish else '':>9} "
            f"{statistics.median(outcome.idle for outcome in outcomes):5.0%} {len(counted):>2}/{len(values)}"
            f"{_missed(ratio, hub, built.shape) if name == 'distd' else ''}"
        )


def _missed(ratio: float, hub: float, shape: Shape) -> str:
    """Over a narrow way between the nodes the goal is the time: what it carries too late is fetched twice."""
    missed = [
        text
        for text, failed in (
            (f"time > {TIME_GOAL:.2f}", ratio > TIME_GOAL),
            (f"Hub > {HUB_GOAL:.2f}", hub > HUB_GOAL and shape.peers_mbit_per_s is None),
        )
        if failed
    ]
    return f"  goal missed: {', '.join(missed)}" if missed else ""


def _scenarios(built: Site, names: list[str], rounds: int) -> dict[str, list[Effect]]:
    effects: dict[str, list[Effect]] = {name: [] for name in names}
    ideal(built)
    for _ in range(rounds):
        ideal_s, _ = ideal(built)
        for name, values in effects.items():
            values.append(SCENARIOS[name](built, ideal_s))
            print(f"  {name:12} {_effect(values[-1])}{_void(values[-1].idle < IDLE_MIN)}", flush=True)
    return effects


def _effect(effect: Effect) -> str:
    one = "" if effect.one is None else f"{effect.one:.2f}"
    return f"{effect.others:10.2f} {one:>10} {effect.hub_copies:9.3f} {effect.idle:5.0%}"


def _report_effects(effects: dict[str, list[Effect]]) -> None:
    print(
        f"\n{'':14} {'others':>10} {'the one':>10} {'Hub/size':>9} {'idle':>5}   (time/ideal of what was left)"
    )
    for name, values in effects.items():
        counted = [effect for effect in values if effect.idle >= IDLE_MIN]
        if not counted:
            print(f"  {name:12} void: the machine was busier than {1 - IDLE_MIN:.0%} in every run")
            continue
        ones = [effect.one for effect in counted if effect.one is not None]
        middle = Effect(
            statistics.median(effect.others for effect in counted),
            statistics.median(ones) if ones else None,
            statistics.median(effect.hub_copies for effect in counted),
            statistics.median(effect.idle for effect in counted),
        )
        print(f"  {name:12} {_effect(middle)}   {len(counted)} of {len(values)} runs")


def _void(void: bool) -> str:
    return "  void" if void else ""


if __name__ == "__main__":
    sys.exit(main())
