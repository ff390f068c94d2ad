"""What a fleet can use to get a model onto every node, each as one function of a site to an outcome."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.cpu import idle_share
from bench.fleet_daemons import Submit, running
from bench.fleet_site import REPO, Command, Ended, Incomplete, Outcome, Site, ended, until
from bench.torrent import Tracker

BIN = Path(sys.executable).parent
DIRECTORY = "files"
"""What the torrent is called, and so the directory that aria2 fills."""

DONE_HOOK = '#!/bin/sh\n: > "$DONE"\n'

BITTORRENT = (
    *("--enable-dht=false", "--enable-dht6=false", "--enable-peer-exchange=false", "--disable-ipv6=true"),
    *("--bt-max-peers=0", "--bt-request-peer-speed-limit=2000M", "--bt-seed-unverified=true"),
    *("--file-allocation=falloc", "--seed-ratio=0.0", "--summary-interval=0", "--console-log-level=warn"),
)
"""No strangers, no limits, and the first node does not hash again what it has just hashed for the torrent."""


def ideal(site: Site) -> tuple[float, float]:
    """Seconds one `curl` takes from the Hub to a node's disk, over the upstream and one NIC; idle share."""
    work = site.fresh()
    words = [word for path in site.files for word in ("-o", f"{work}/{path}", site.url(path))]
    with idle_share() as idle:
        started = time.time()
        (run,) = ended([Command(site.nodes[0], ["curl", "-sSfL", "--create-dirs", *words], work / "home")])
        idle_meanwhile = idle()
    site.check(work)
    return run.at - started, idle_meanwhile


def distd(site: Site, submit: Submit = "each") -> Outcome:
    """A daemon on every node, running before; from the request to the last node's publication."""
    with running(site, site.fresh()) as fleet, idle_share() as idle:
        everybody = range(len(site.nodes))
        fleet.submit(everybody, submit)
        views = fleet.wait(everybody)
        return fleet.outcome(views, idle())


def hf_download(site: Site) -> Outcome:
    """`hf download` on every node at the same time. It checks lengths, not hashes."""
    work = site.fresh()
    environment = {
        "HF_ENDPOINT": site.hub.url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    download = [str(BIN / "hf"), "download", REPO]
    with idle_share() as idle:
        started = time.time()
        runs = ended(
            [
                Command(node, download, work / node.name, environment | {"HF_HOME": f"{work / node.name}/hf"})
                for node in site.nodes
            ]
        )
        idle_meanwhile = idle()
    for node in site.nodes:
        for snapshot in (work / node.name / "hf" / "hub").glob("models--*/snapshots/*"):
            site.check(snapshot)
            break
        else:
            raise Incomplete(f"{node.name} has no snapshot")
    return _outcome(site, max(run.at for run in runs) - started, runs, idle_meanwhile)


def fetch_then_bittorrent(site: Site) -> Outcome:
    """aria2c on one node, a torrent made of what it got, and aria2c on every node to spread it.

    One connection per file: a link with a cap is full with that, and splitting files fetches some bytes twice.
    aria2 checks pieces against the torrent, nobody anything against the Hub; files lie in a plain
    directory. The tracker and the way of the torrent file to the nodes cost nothing, which favours it.
    """
    work = site.fresh()
    first = site.nodes[0]
    torrent = work / "torrent"
    listing = work / "listing"
    listing.write_text("".join(f"{site.url(path)}\n out={path}\n" for path in site.files))
    hook = work / "done"
    hook.write_text(DONE_HOOK)
    hook.chmod(0o755)
    tracker = first.call(lambda: Tracker(first.address))
    clients: list[Command] = []
    try:
        with idle_share() as idle:
            started = time.time()
            seed = work / first.name / DIRECTORY
            fetch = ["aria2c", "-j8", "-q", "--file-allocation=falloc", "-d", str(seed)]
            make = [sys.executable, "-m", "bench.torrent", str(seed), str(torrent), tracker.url]
            before = ended([Command(first, [*fetch, "-i", str(listing)], work / first.name)])
            before += ended([Command(first, make, work / first.name)])
            done = [work / f"{node.name}.done" for node in site.nodes]
            spread = ["aria2c", *BITTORRENT, f"--on-bt-download-complete={hook}", str(torrent)]
            for node, mark in zip(site.nodes, done, strict=True):
                home = work / node.name
                clients.append(Command(node, [*spread, "-d", str(home)], home, {"DONE": str(mark)}))
            until(lambda: all(mark.exists() for mark in done[1:]), clients)
            idle_meanwhile = idle()
    finally:
        for client in clients:
            client.kill()
        first.call(tracker.close)
    runs = [*before, *(client.result() for client in clients)]
    for node in site.nodes:
        site.check(work / node.name / DIRECTORY)
    return _outcome(site, max(mark.stat().st_mtime for mark in done[1:]) - started, runs, idle_meanwhile)


def _outcome(site: Site, wall_s: float, runs: list[Ended], idle: float) -> Outcome:
    return Outcome(
        wall_s,
        site.hub_bytes(),
        sum(run.cpu_s for run in runs),
        max(run.peak_rss_mb for run in runs),
        idle,
    )


CONTENDERS: dict[str, Callable[[Site], Outcome]] = {
    "distd": distd,
    "hf": hf_download,
    "bittorrent": fetch_then_bittorrent,
}
TITLES = {
    "distd": "distd on every node",
    "hf": "hf download on every node",
    "bittorrent": "one fetch, then BitTorrent",
}
PROGRAMS = {"distd": (), "hf": (), "bittorrent": ("aria2c",)}


def missing(contender: str) -> list[str]:
    """The programs it needs that are not installed."""
    return [program for program in PROGRAMS[contender] if shutil.which(program) is None]
