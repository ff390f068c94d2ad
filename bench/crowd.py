"""Many real daemons on one machine: what they cost when idle, and a small model pulled by all while some die.

    make crowd BENCH="--nodes 64 --mib 32 --rate-mib 0.3 2 --kills 3"

The daemons start a few at a time. Measured with nobody pulling: memory that a daemon has to itself, CPU, and what is said on
loopback per member, heads of HTTP and TCP included. Then all pull a model for each rate of the Hub's link; when the first half of
them has a share of it, some are killed by SIGKILL, drawn from a seed. All others must complete with the right bytes. Connections are sampled once a
second from the kernel's tables: those of the cluster's API, and of the swarms.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.cpu import cpu_seconds_of, idle_share, machine
from tests.daemon.daemon import FINISHED, DaemonProcess
from tests.daemon.repos import MIB, Repos, assert_same_files
from tests.hub import HubProcess
from tests.swarm.fleet import Fleet, hub_copies

STARTED_AT_ONCE = 4
"""A start costs a second of CPU, most of it importing."""
KILL_AT = 0.3
LIMIT_S = 600.0
SAMPLE_S = 1.0
COPIES_MAX = 1.02
ESTABLISHED = "01"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=64)
    parser.add_argument("--mib", type=int, default=160)
    parser.add_argument(
        "--rate-mib", type=float, nargs="+", default=[0.35], help="of the Hub's link, a second"
    )
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--idle-s", type=float, default=10.0)
    options = parser.parse_args(words)
    print(machine())
    with HubProcess() as hub, tempfile.TemporaryDirectory(prefix="distd-crowd-") as scratch:
        crowd = Fleet(Path(scratch), hub, 0, settings={"node.log_level": "info"})
        try:
            grown(crowd, options.nodes)
            calm(crowd, options.idle_s)
            repos = Repos(hub, Path(scratch))
            return max([pulled(crowd, repos, options, rate) for rate in options.rate_mib])
        finally:
            crowd.end()


def grown(crowd: Fleet, nodes: int) -> None:
    began = time.monotonic()
    while (left := nodes - len(crowd.nodes)) > 0:
        crowd.add(min(STARTED_AT_ONCE, left))
    print(
        f"{nodes} daemons know each other after {time.monotonic() - began:.0f} s of starting them", flush=True
    )


def calm(crowd: Fleet, seconds: float) -> None:
    """Nobody pulls: what members cost by being there."""
    time.sleep(seconds)  # what starting set off is over
    cpu_s, said = cpu_of(crowd.running), loopback_bytes()
    with idle_share() as idle:
        began = time.monotonic()
        time.sleep(seconds)
        took_s = time.monotonic() - began
    cpu, said = (cpu_of(crowd.running) - cpu_s) / took_s, loopback_bytes() - said
    members = len(crowd.running)
    own = [own_bytes(node.pid) for node in crowd.running]
    print(
        f"idle: {statistics.median(own) / 1e6:.0f} MB of its own a daemon (median), {sum(own) / 1e9:.2f} GB all; "
        f"{cpu / members:.2%} of a core a daemon; {said / members / took_s:.0f} B/s a member on loopback; "
        f"machine idle {idle():.0%}",
        flush=True,
    )


def pulled(crowd: Fleet, repos: Repos, options: argparse.Namespace, rate_mib: float) -> int:
    repo = repos.make(weight_mib=options.mib)
    crowd.hub.set(rate_bytes_per_s=rate_mib * MIB)
    crowd.hub.reset_counters()
    dying = random.Random(options.seed).sample(crowd.running, options.kills)
    cluster_ports = set(crowd._ports)
    most: dict[str, Counter[int]] = {"swarm": Counter(), "cluster": Counter()}
    cpu_before = {node: node.cpu_s() for node in crowd.running}
    ended_s: dict[DaemonProcess, float] = {}
    with idle_share() as idle:
        began = time.monotonic()
        pulls = crowd.submit(repo, crowd.running)
        killed_at = 0.0
        while time.monotonic() - began < LIMIT_S and len(ended_s) < len(crowd.running):
            time.sleep(SAMPLE_S)
            for number, kinds in connections(crowd, cluster_ports).items():
                for kind, count in kinds.items():
                    most[kind][number] = max(most[kind][number], count)
            waiting = [node for node in crowd.running if node not in ended_s]
            with ThreadPoolExecutor(8) as pool:
                views = dict(
                    zip(waiting, pool.map(lambda node: node.view(pulls[node]), waiting), strict=True)
                )
            now = time.monotonic() - began
            ended_s |= {node: now for node, view in views.items() if view["state"] in FINISHED}
            shares = [view["bytes_done"] / (view["bytes_total"] or 1) for view in views.values()]
            if dying and not killed_at and shares and statistics.median(shares) >= KILL_AT:
                for node in dying:
                    node.kill9()
                    ended_s.pop(node, None)
                killed_at = now
                print(f"killed {len(dying)} after {now:.0f} s", flush=True)
        took_s = time.monotonic() - began
    living = crowd.running
    complete = [node for node in living if is_right(node, pulls[node], repo.directory)]
    copies = hub_copies(repo)
    cpu_s = sum(node.cpu_s() - cpu_before[node] for node in living)
    size = repo.size_bytes
    print(
        f"{len(complete)} of {len(living)} complete and right, the last after {took_s:.0f} s "
        f"(the link alone: {size / MIB / rate_mib:.0f} s); {copies:.4f} Hub copies of {size / MIB:.0f} MiB\n"
        f"connections of a node, most: swarm {told(most['swarm'])}, cluster's API {told(most['cluster'])}\n"
        f"{cpu_s / (len(living) * size / 1e9):.1f} CPU s/GB delivered; largest peak "
        f"{max(node.rss_bytes(peak=True) for node in living) / 1e6:.0f} MB; machine idle {idle():.0%}"
    )
    return 0 if len(complete) == len(living) and copies <= COPIES_MAX else 1


def is_right(node: DaemonProcess, pull: str, source: Path) -> bool:
    view = node.view(pull)
    if view["state"] != "complete":
        print(f"{node.directory.name}: {view['state']} {view['error']}")
        return False
    assert_same_files(Path(view["snapshot_path"]), source)
    return True


def told(counts: Counter[int]) -> str:
    values = sorted(counts.values()) or [0]
    return f"{values[-1]} (median node {values[len(values) // 2]})"


def connections(crowd: Fleet, cluster_ports: set[int]) -> dict[int, dict[str, int]]:
    """Established connections between daemons by number of the node: to the Hub and of people are left out."""
    ends = established()
    # Both ends are here, so a connection has a socket at each: what one daemon says to the Hub has one.
    served = {int(node.url.rpartition(":")[2]) for node in crowd.running}
    mine: dict[int, set[str]] = {
        number: sockets_of(node.pid) for number, node in enumerate(crowd.nodes) if node in crowd.running
    }
    owned = {ends[inode] for inodes in mine.values() for inode in inodes if inode in ends}
    found = {}
    for number, inodes in mine.items():
        kinds = Counter[str]()
        for local, remote in (ends[inode] for inode in inodes if inode in ends):
            if {local, remote} & served or (remote, local) not in owned:
                continue
            kinds["cluster" if {local, remote} & cluster_ports else "swarm"] += 1
        found[number] = dict(kinds)
    return found


def established() -> dict[str, tuple[int, int]]:
    """Local and remote port of each established IPv4 connection, by the socket's inode."""
    found = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == ESTABLISHED:
            local, remote = (int(end.rpartition(":")[2], 16) for end in fields[1:3])
            found[fields[9]] = (local, remote)
    return found


def sockets_of(pid: int) -> set[str]:
    links = set()
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            link = os.readlink(entry.path)
        except FileNotFoundError:
            continue  # closed meanwhile
        if link.startswith("socket:["):
            links.add(link[len("socket:[") : -1])
    return links


def cpu_of(nodes: Iterable[DaemonProcess]) -> float:
    return sum(cpu_seconds_of(node.pid) for node in nodes)


def own_bytes(pid: int) -> int:
    """Memory that is this process' alone: shared pages of the interpreter and libraries count once for all daemons."""
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(row.split()[1]) for row in rows if row.startswith("Private_")) * 1024


def loopback_bytes() -> int:
    """Sent over loopback since the machine started; everything that others do there is counted too."""
    (row,) = [row for row in Path("/proc/net/dev").read_text().splitlines() if row.strip().startswith("lo:")]
    return int(row.split(":")[1].split()[8])


if __name__ == "__main__":
    raise SystemExit(main())
