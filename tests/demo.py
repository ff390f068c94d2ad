"""`make demo`: the main job once, for real, with what it did counted at the end.

A local Hub with a synthetic model (or the real one with `--repo org/name`), three daemons that find each
other, one `distctl pull --nodes all`, and each daemon's cache loaded by huggingface_hub and safetensors with
HF_HUB_OFFLINE=1. All ports are the system's choice. Everything is written below `.demo/` in the checkout
and can be deleted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import urlopen

from tests.hub import HubProcess, ModelSpec, generate

PROGRAMS = Path(sys.executable).parent
NODES = ("node-1", "node-2", "node-3")
SYNTHETIC_REPO = "acme/llama-tiny"
SYNTHETIC_BYTES = 256 * 2**20
LOCAL_HUB_BYTES_PER_S = 60e6
"""About half a gigabit for all three together, so that there is progress to see and three daemons on two
cores are not the limit."""
READY_TIMEOUT_S = 30.0
SERVES = re.compile(r"serves (http://127\.0\.0\.1:\d+)")

LOADER = """
import sys
from pathlib import Path
from huggingface_hub import snapshot_download
from safetensors import safe_open

path = Path(snapshot_download(sys.argv[1]))
tensors = size = 0
for shard in sorted(path.glob("*.safetensors")):
    with safe_open(shard, framework="numpy") as opened:
        for name in opened.keys():
            tensors += 1
            size += opened.get_tensor(name).nbytes if size < 10**9 else 0
files = sum(p.is_file() for p in path.rglob("*"))
print(f"{files} files, {tensors} tensors, {size / 1e6:.0f} MB read" if tensors else f"{files} files")
"""

T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """Where the demo pulls from. `hub` None: the real one."""

    repo: str
    endpoint: str
    hub: HubProcess | None


@dataclass(frozen=True)
class Node:
    name: str
    url: str
    cache: Path

    def get(self, path: str) -> Any:
        with urlopen(self.url + path, timeout=10) as response:
            return json.load(response)

    @property
    def cluster_address(self) -> str:
        """Where it really listens for other daemons: the system chose the port."""
        return next(str(p["addresses"]["cluster"]) for p in self.get("/v1/peers")["items"] if p["is_self"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repo", help="org/name on the real Hub")
    arguments = parser.parse_args()
    work = Path(".demo").absolute()
    # A proxy in the environment is for the real Hub, not for what runs on this host.
    os.environ["no_proxy"] = ",".join(filter(None, [os.environ.get("no_proxy"), "127.0.0.1"]))
    with contextlib.ExitStack() as stack:
        if arguments.repo:
            # What an earlier run brought stays: it may have been large.
            endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
            source = Source(arguments.repo, endpoint, None)
        else:
            shutil.rmtree(work, ignore_errors=True)
            source = stack.enter_context(_local_hub(work))
        nodes = _cluster(stack, work, source.endpoint)
        return _pull_and_load(source, nodes)


@contextlib.contextmanager
def _local_hub(work: Path) -> Iterator[Source]:
    rate = LOCAL_HUB_BYTES_PER_S / 1e6
    say(f"making a synthetic model of 256 MiB in 4 shards, and a local Hub that sends {rate:.0f} MB/s in all")
    generate(ModelSpec(seed=1, weight_bytes=SYNTHETIC_BYTES, shards=4), work / "model")
    with HubProcess({SYNTHETIC_REPO: work / "model"}, rate_bytes_per_s=LOCAL_HUB_BYTES_PER_S) as hub:
        yield Source(SYNTHETIC_REPO, hub.url, hub)


def _cluster(stack: contextlib.ExitStack, work: Path, endpoint: str) -> list[Node]:
    """Daemons that see each other; they are stopped at the end."""
    say(f"starting {len(NODES)} daemons (their logs: {work}/node-*/distd.log)")
    first = stack.enter_context(_daemon(work, NODES[0], endpoint, ()))
    others = [
        stack.enter_context(_daemon(work, name, endpoint, (first.cluster_address,))) for name in NODES[1:]
    ]
    nodes = [first, *others]
    for node in nodes:
        _until(lambda node=node: _sees_all(node), f"{node.name} to see the others")  # type: ignore[misc]  # bound now
    subprocess.run([str(PROGRAMS / "distctl"), "--url", first.url, "peers"], check=True)
    return nodes


def _sees_all(node: Node) -> bool:
    return bool(node.get("/v1/status")["cluster"]["reachable"] == len(NODES))


@contextlib.contextmanager
def _daemon(work: Path, name: str, endpoint: str, join: tuple[str, ...]) -> Iterator[Node]:
    directory = work / name
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "distd.log"
    settings = {
        "node.name": name,
        "node.state_dir": str(directory),
        "node.log_format": "text",
        "hub.endpoint": endpoint,
        "api.listen": "127.0.0.1:0",
        "cluster.name": "demo",
        "cluster.listen": "127.0.0.1:0",
        "cluster.join": ",".join(join),
        "swarm.listen": "127.0.0.1:0",
    }
    command = [str(PROGRAMS / "distd")]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    # Nothing that this user configured for a distd of their own; the token and the proxy stay.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DISTD_")}
    environment["DISTD_CONFIG"] = os.devnull
    with log.open("w") as stream, subprocess.Popen(command, stderr=stream, env=environment) as daemon:
        try:

            def served() -> str | None:
                if daemon.poll() is not None:
                    raise SystemExit(f"{name} did not start; its log says:\n{log.read_text()}")
                found = SERVES.search(log.read_text())
                return found[1] if found else None

            yield Node(name, _until(served, f"{name} to start"), directory / "hub")
        finally:
            daemon.terminate()


def _until(look: Callable[[], T | None], what: str) -> T:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not (found := look()):
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {READY_TIMEOUT_S:.0f} s in vain for {what}")
        time.sleep(0.05)
    return found


def _pull_and_load(source: Source, nodes: list[Node]) -> int:
    distctl = [str(PROGRAMS / "distctl"), "--url", nodes[0].url]
    say(f"distctl pull {source.repo} --nodes all")
    started = time.monotonic()
    pulled = subprocess.run([*distctl, "pull", source.repo, "--nodes", "all"], check=False)
    wall_s = time.monotonic() - started
    if pulled.returncode:
        return pulled.returncode
    say("loading each node's cache with HF_HUB_OFFLINE=1, as a model server would")
    loads = [_loaded(source.repo, node) for node in nodes]
    pulls = nodes[0].get("/v1/pulls?limit=1000")["items"]
    pull = next(pull for pull in pulls if pull["nodes"])
    _report(source, pull, [_seconds(node, pull) for node in nodes], wall_s, loads)
    once = source.hub is None or source.hub.counters()["body_bytes"] == pull["nodes"][0]["bytes_total"]
    return 0 if once and all(loads) else 1


def _seconds(node: Node, pull: dict[str, Any]) -> float:
    """From the start of the node's own pull to its end."""
    (part,) = (part for part in pull["nodes"] if part["name"] == node.name)
    own = node.get(f"/v1/pulls/{part['pull_id']}")
    started, finished = (datetime.fromisoformat(own[key]) for key in ("started_at", "finished_at"))
    return max(0.001, (finished - started).total_seconds())


def _loaded(repo: str, node: Node) -> str:
    """What was loaded; empty when that failed, with the reason on stderr."""
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(node.cache)}
    ran = subprocess.run(
        [sys.executable, "-c", LOADER, repo], env=offline, stdout=subprocess.PIPE, text=True, check=False
    )
    return ran.stdout.strip() if ran.returncode == 0 else ""


def _report(
    source: Source, pull: dict[str, Any], seconds: list[float], wall_s: float, loads: list[str]
) -> None:
    """The closing table: a line for each node, and the whole."""
    size = pull["nodes"][0]["bytes_total"]
    say(f"{source.repo}: {size / 1e6:.1f} MB on {len(loads)} nodes")
    print(f"{'NODE':<8} {'FROM HUB':>10} {'FROM PEERS':>11} {'TIME':>7} {'RATE':>11}  LOADED OFFLINE")
    for node, took_s, loaded in zip(pull["nodes"], seconds, loads, strict=True):
        fetched = node["bytes_from_hub"] + node["bytes_from_peers"]
        print(
            f"{node['name']:<8} {node['bytes_from_hub'] / 1e6:>7.1f} MB {node['bytes_from_peers'] / 1e6:>8.1f} MB"
            f" {took_s:>5.1f} s {fetched / took_s / 1e6:>6.1f} MB/s  {loaded or 'FAILED'}"
        )
    hub_bytes = sum(node["bytes_from_hub"] for node in pull["nodes"])
    sent = source.hub.counters()["body_bytes"] if source.hub else hub_bytes
    peers = sum(node["bytes_from_peers"] for node in pull["nodes"])
    print(f"{'all':<8} {hub_bytes / 1e6:>7.1f} MB {peers / 1e6:>8.1f} MB")
    counted = "the Hub sent" if source.hub else "from the Hub"
    print(f"\n{counted} {sent / 1e6:.1f} MB: {sent / size:.2f} copies for {len(loads)} nodes")
    if source.hub:
        ideal_s = size / LOCAL_HUB_BYTES_PER_S
        print(
            f"{wall_s:.1f} s until every node had published it; the Hub's link alone takes {ideal_s:.1f} s:"
            f" {wall_s / ideal_s:.2f} x the ideal ({len(loads)} clients without distd: at least"
            f" {ideal_s * len(loads):.1f} s)"
        )
    else:
        print(f"{wall_s:.1f} s until every node had published it")


def say(text: str) -> None:
    print(f"\n==> {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
