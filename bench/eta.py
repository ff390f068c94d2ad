"""Estimates of time left of real daemons against what happened: `make eta` (BENCH="steady halves" for some).

Each scenario is a Hub with a limited link and one to four daemons on this machine. A pull is looked at five times a second,
as `distctl` would; what it estimated, and what bytes left over the mean rate and tqdm's smoothing make of the same bytes,
is held against when it was published. Traces go to a file with --traces.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from functools import partial
from multiprocessing import Process
from pathlib import Path
from typing import Any

from bench.eta_score import Score, Seen, Trace, score, table
from tests.daemon.daemon import DaemonProcess
from tests.hub import HubProcess, ModelSpec, generate
from tests.swarm.fleet import Fleet

MB = 1_000_000
RATE = 16 * MB
"""Slow enough for a shared machine of two cores to be no limit itself, and long enough for half a minute after a change."""
SIZE_BYTES = 640 * MB
LOOK_S = 0.2
BEFORE_WINDOW_S = 20.0
"""A pull begins so long before the minute at which a window begins or ends: half of it comes before."""
PULL_MAX_S = 600.0
BEFORE_ERROR_MAX = 0.20
ARRIVED = 0.95
BUSY_LOOK_S = 1.0
"""Five answers a second take a third of what a busy host leaves to the daemon, sometimes from the very processor on which it hashes."""
ONE_BYTES = 8 * SIZE_BYTES
"""One file: those that are whole are hashed to their end before the pull is paused."""
NICE = 12
"""A sixteenth of a processor beside a busy program that is not nice."""

Change = Callable[[], object]


def watch(
    name: str,
    node: DaemonProcess,
    pull_id: str,
    *,
    change: Change | None = None,
    at_share: float = 0.4,
    announced: bool = False,
    look_s: float = LOOK_S,
) -> Trace:
    """Looks at a pull until its end; calls `change` at a share of its bytes."""
    began = time.monotonic()
    first_at: float | None = None
    changed_at: float | None = None
    pending = change
    seen: list[Seen] = []
    limits: Counter[str] = Counter()
    while time.monotonic() - began < PULL_MAX_S:
        view = node.view(pull_id)
        now = time.monotonic()
        if view["state"] == "complete":
            told = ", ".join(f"{limit} {count}" for limit, count in limits.most_common())
            print(f"{name}: {now - (first_at or began):.1f} s, said to be limited by: {told}")
            published_at = now - max(
                0.0, time.time() - datetime.fromisoformat(view["finished_at"]).timestamp()
            )
            return Trace(name, tuple(seen), first_at or began, published_at, changed_at)
        if view["state"] in ("failed", "cancelled"):
            raise SystemExit(f"{name}: the pull {view['state']}: {view['error']}")
        total, done = view["bytes_total"], view["bytes_done"]
        if total:
            if first_at is None and done:
                first_at = now
            seen.append(Seen(now, done, total, view["eta_s"], view["eta_low_s"], view["eta_high_s"]))
            if done >= total / 10:
                limits[view["limited_by"] or "unknown"] += 1
            if pending is not None and done >= at_share * total:
                pending()
                pending, changed_at = None, None if announced else now
        time.sleep(look_s)
    raise SystemExit(f"{name}: not done within {PULL_MAX_S:.0f} s")


@contextmanager
def busy_beside(pid: int) -> Iterator[None]:
    """Programs that take every processor for themselves, before the process's threads."""
    loops = [Process(target=_busy, daemon=True) for _ in range(os.cpu_count() or 1)]
    for loop in loops:
        loop.start()
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.setpriority(os.PRIO_PROCESS, int(thread.name), NICE)
    group = Path(f"/proc/{pid}/autogroup")
    if group.exists():  # the kernel weighs sessions first: a thread's niceness counts within its own alone
        group.write_text(str(NICE))
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.join()


def _busy() -> None:
    while True:
        pass


def clock(at: float) -> str:
    return time.strftime("%H:%M", time.gmtime(at))


def many_files(seed: int, files: int) -> ModelSpec:
    return ModelSpec(seed=seed, weight_bytes=40 * MB, shards=1, small_files=files, small_file_bytes=60_000)


class Bench:
    """The repos, made once, and the scenarios by name."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.repos = {
            "acme/big": self._made("big", ModelSpec(seed=1, weight_bytes=SIZE_BYTES, shards=4)),
            "acme/other": self._made("other", ModelSpec(seed=2, weight_bytes=SIZE_BYTES // 2, shards=2)),
            "acme/small": self._made("small", many_files(seed=3, files=1500)),
            "acme/small-too": self._made("small-too", many_files(seed=4, files=800)),
        }
        self._runs = 0
        self.missed = 0

    def _made(self, name: str, spec: ModelSpec) -> Path:
        generate(spec, self.directory / name)
        return self.directory / name

    def hub(self, **options: Any) -> HubProcess:
        return HubProcess(self.repos, **({"rate_bytes_per_s": RATE} | options))

    def node(
        self,
        hub: HubProcess,
        *,
        environment: dict[str, str] | None = None,
        **settings: object,
    ) -> DaemonProcess:
        self._runs += 1
        directory = self.directory / f"node{self._runs}"
        return DaemonProcess(directory, hub.url, settings, environment=environment)

    def fleet(self, hub: HubProcess, members: int) -> Fleet:
        self._runs += 1
        return Fleet(self.directory / f"fleet{self._runs}", hub, members)

    def steady(self) -> list[Trace]:
        with self.hub() as hub, self.node(hub) as node:
            return [watch("steady", node, node.submit("acme/big")["id"])]

    def halves(self) -> list[Trace]:
        with self.hub() as hub, self.node(hub) as node:
            pull = node.submit("acme/big")["id"]
            return [
                watch("link halves at 40 %", node, pull, change=lambda: hub.set(rate_bytes_per_s=RATE // 2))
            ]

    def sags(self) -> list[Trace]:
        with self.hub() as hub, self.node(hub) as node:
            pull = node.submit("acme/big")["id"]
            sag = partial(hub.set, rate_bytes_per_s=RATE * 7 // 10)
            return [watch("link -30 % at 40 %", node, pull, change=sag)]

    def second(self) -> list[Trace]:
        """The first pull as if nothing were, and the second behind it: known to the daemon, so no change for it."""
        with self.hub() as hub, self.node(hub) as node:
            first = node.submit("acme/big")["id"]
            started: list[str] = []
            one = watch(
                "second pull: first",
                node,
                first,
                change=lambda: started.append(node.submit("acme/other")["id"]),
                announced=True,
            )
            return [one, watch("second pull: second", node, started[0])]

    def joins(self) -> list[Trace]:
        with self.hub() as hub, self.fleet(hub, 2) as fleet:
            first = fleet.nodes[0].submit("acme/big")["id"]
            late: list[str] = []
            one = watch(
                "others join late: first",
                fleet.nodes[0],
                first,
                change=lambda: late.append(fleet.nodes[1].submit("acme/big")["id"]),
                at_share=0.3,
                announced=True,  # the link stays what it is, so there is no change to be late for
            )
            return [one]

    def late(self) -> list[Trace]:
        with self.hub() as hub, self.fleet(hub, 2) as fleet:
            ahead = fleet.nodes[0].submit("acme/big")["id"]
            while (
                not (view := fleet.nodes[0].view(ahead))["bytes_total"]
                or view["bytes_done"] < 0.3 * SIZE_BYTES
            ):
                time.sleep(LOOK_S)
            return [watch("others join late: late", fleet.nodes[1], fleet.nodes[1].submit("acme/big")["id"])]

    def members(self) -> list[Trace]:
        """Four at once: the first and the last are looked at."""
        with self.hub() as hub, self.fleet(hub, 4) as fleet:
            pulls = [node.submit("acme/big")["id"] for node in fleet.nodes]
            with ThreadPoolExecutor() as pool:
                first = pool.submit(watch, "four members: first", fleet.nodes[0], pulls[0])
                last = pool.submit(watch, "four members: last", fleet.nodes[3], pulls[3])
                return [first.result(), last.result()]

    def slows(self) -> list[Trace]:
        """A window of the configuration that begins in the middle, known from the start."""
        return [self._across_minute("window slows it down", 0, RATE // 2)]

    def opens(self) -> list[Trace]:
        """A limit that ends in the middle; what the link gives without was seen before."""
        return [self._across_minute("window ends", RATE // 2, 0)]

    def _across_minute(self, name: str, before: int, after: int) -> Trace:
        config = self.directory / "windows.toml"
        config.write_text("")
        with self.hub() as hub, self.node(hub, environment={"DISTD_CONFIG": str(config)}) as node:
            if not after:
                node.wait(node.submit("acme/other")["id"], timeout_s=PULL_MAX_S)
            begins = (time.time() + BEFORE_WINDOW_S) // 60 * 60 + 60
            config.write_text(
                f"[limits]\nhub_down = {before}\n[[limits.window]]\nhub_down = {after}\n"
                f'from = "{clock(begins)}"\nto = "{clock(begins + 3600)}"\n'
            )
            os.kill(node.pid, signal.SIGHUP)
            time.sleep(max(0.0, begins - BEFORE_WINDOW_S - time.time()))
            return watch(name, node, node.submit("acme/big")["id"], announced=True)

    def limit(self) -> list[Trace]:
        with self.hub() as hub, self.node(hub, **{"limits.hub_down": "12 MB/s"}) as node:
            return [watch("limit of 12 MB/s", node, node.submit("acme/big")["id"])]

    def window(self) -> list[Trace]:
        """Set while it runs: nobody announced it, but the daemon knows its limits from then on."""
        with self.hub() as hub, self.node(hub) as node:
            pull = node.submit("acme/big")["id"]
            begin = partial(node.ask, "PUT", "/v1/limits", {"hub_down": RATE // 2})
            return [watch("limit begins at 40 %", node, pull, change=begin)]

    def small(self) -> list[Trace]:
        with self.hub(latency_s=0.1) as hub, self.node(hub) as node:
            return [watch("many small files", node, node.submit("acme/small")["id"])]

    def hashes(self) -> list[Trace]:
        """Nearly everything has arrived when a pull is resumed on a node whose processors others use: it is hashed
        from the beginning, and hashing is what is left."""
        self.repos["acme/one"] = self._made("one", ModelSpec(seed=5, weight_bytes=ONE_BYTES, shards=1))
        with self.hub(rate_bytes_per_s=100 * MB) as hub, self.node(hub) as node:
            pull = node.submit("acme/one")["id"]
            node.wait(pull, lambda view: view["bytes_done"] >= ARRIVED * ONE_BYTES)
            node.post(f"/v1/pulls/{pull}/pause")
            node.wait(pull, lambda view: view["state"] == "paused")
            with busy_beside(node.pid):
                changed_at = (
                    time.monotonic()
                )  # nobody announces the busy programs, as with a link that changes
                node.post(f"/v1/pulls/{pull}/resume")
                return [replace(watch("hashing", node, pull, look_s=BUSY_LOOK_S), changed_at=changed_at)]

    def before(self) -> list[Trace]:
        """What `plan` says of a pull after one from the same Hub; printed, not a trace."""
        with self.hub() as hub, self.node(hub) as node:
            unknown = node.get("/v1/plan?repo=acme/big")
            if unknown["eta_s"] is not None:
                raise SystemExit("before a pull: a time is told that nobody can know")
            print(f"before a pull, before any: unknown: {unknown['unknown_reason']}")
            self._before("one source", [node], "acme/other", "acme/big")
        with self.hub(latency_s=0.1) as hub, self.node(hub) as node:
            self._before("small files", [node], "acme/small-too", "acme/small")
        with self.hub() as hub, self.fleet(hub, 3) as fleet:
            self._before("three members", fleet.nodes, "acme/other", "acme/big")
        return []

    def _before(self, name: str, nodes: list[DaemonProcess], first: str, then: str) -> None:
        for node, pull in [(node, node.submit(first)["id"]) for node in nodes]:
            node.wait(pull, timeout_s=PULL_MAX_S)
        plan = nodes[0].get(f"/v1/plan?repo={then}")
        began = time.monotonic()
        pulls = [(node, node.submit(then)["id"]) for node in nodes]
        nodes[0].wait(pulls[0][1], timeout_s=PULL_MAX_S)
        took = time.monotonic() - began
        for node, pull in pulls[1:]:
            node.wait(pull, timeout_s=PULL_MAX_S)
        error = abs(plan["eta_s"] - took) / took
        inside = plan["eta_low_s"] <= took <= plan["eta_high_s"]
        self.missed += error > BEFORE_ERROR_MAX
        print(
            f"before a pull, {name}: {plan['eta_s']:.1f} s [{plan['eta_low_s']:.1f}-{plan['eta_high_s']:.1f}], by"
            f" {plan['limited_by']}; took {took:.1f} s: off by {error:.0%}, {'in' if inside else 'out of'} its range  "
            f"{'pass' if error <= BEFORE_ERROR_MAX else 'MISS'}",
            flush=True,
        )


SCENARIOS = [
    "steady",
    "halves",
    "sags",
    "second",
    "joins",
    "late",
    "members",
    "limit",
    "window",
    "slows",
    "opens",
    "small",
    "hashes",
    "before",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("scenarios", nargs="*", choices=[[], *SCENARIOS], help="default: all")
    parser.add_argument("--traces", type=Path, help="write the traces here, as JSON")
    options = parser.parse_args()
    scores: list[Score] = []
    traces: list[Trace] = []
    with tempfile.TemporaryDirectory(prefix="distd-eta-") as directory:
        bench = Bench(Path(directory))
        for name in options.scenarios or SCENARIOS:
            found: list[Trace] = getattr(bench, name)()
            traces += found
            scores += [score(trace) for trace in found]
            if found:
                print(table(scores[-len(found) :]), flush=True)
    if options.traces:
        options.traces.write_text(json.dumps([asdict(trace) for trace in traces]))
    print(f"\n{table(scores)}")
    sys.exit(0 if all(all(each.goals().values()) for each in scores) and not bench.missed else 1)


if __name__ == "__main__":
    main()
