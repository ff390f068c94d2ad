"""One node: wall time, CPU and memory of a pull, next to `hf download` and `aria2c -x8` + `openssl dgst`.

    .venv/bin/python -m bench.single [--mib 1024] [--shards 1] [--runs 5] [--dir DIR]

Contenders take turns within each round, so that a slow moment of the machine meets all of them. All
write to the same file system. Ours ends verified and published; `hf download` verifies nothing;
aria2c and openssl fetch and hash without a cache. Times are wall seconds from command to prompt.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.cpu import cpu_seconds_of, idle_share, machine
from tests.hub import HubProcess, ModelSpec, generate

BIN = Path(sys.executable).parent
REPO = "acme/bench"


@dataclass(frozen=True)
class Run:
    wall_s: float
    cpu_s: float
    peak_rss_mb: float | None = None


class Daemon:
    """A real daemon on its own state directory."""

    def __init__(self, state_dir: Path, endpoint: str) -> None:
        command = [
            str(BIN / "distd"),
            "--set",
            f"node.state_dir={state_dir}",
            "--set",
            f"hub.endpoint={endpoint}",
        ]
        command += ["--set", "api.listen=127.0.0.1:0", "--set", "cache.min_free_bytes=0"]
        started = time.monotonic()
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=clean_environment())
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        while "serves" not in line and line:
            line = self.process.stderr.readline()
        self.ready_s = time.monotonic() - started
        self.url = next(
            word for word in line.replace(",", " ").split() if word.startswith("http://127.0.0.1")
        )

    def peak_rss_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1000

    def rss_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1000

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def clean_environment() -> dict[str, str]:
    """The environment without what would change a contender's behaviour."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "DISTD_"))}


def run_command(command: list[str], environment: dict[str, str]) -> Run:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall_s = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Run(wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, None)


def ours(hub: HubProcess, work: Path) -> Run:
    """`distctl pull` on a running daemon with an empty store, to the prompt."""
    daemon = Daemon(work / "state", hub.url)
    try:
        time.sleep(2)  # as a service that runs: started up and settled
        cpu_before = cpu_seconds_of(daemon.process.pid)
        run = run_command(
            [str(BIN / "distctl"), "--url", daemon.url, "--quiet", "pull", REPO], clean_environment()
        )
        cpu_s = run.cpu_s + cpu_seconds_of(daemon.process.pid) - cpu_before
        return Run(run.wall_s, cpu_s, daemon.peak_rss_mb())
    finally:
        daemon.stop()


def hf_download(hub: HubProcess, work: Path) -> Run:
    environment = clean_environment() | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(work / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    return run_command([str(BIN / "hf"), "download", REPO], environment)


def aria2_openssl(hub: HubProcess, work: Path) -> Run:
    """Every LFS file by `aria2c -x8`, then hashed. The file list is free, which favours it."""
    tree = json.load(urllib.request.urlopen(f"{hub.url}/api/models/{REPO}/tree/main?recursive=true"))
    files = [entry["path"] for entry in tree if entry.get("lfs")]
    work.mkdir(parents=True, exist_ok=True)
    listing = work / "list"
    listing.write_text("".join(f"{hub.url}/{REPO}/resolve/main/{path}\n out={path}\n" for path in files))
    fetch = [
        "aria2c",
        "-q",
        "-x8",
        "-s8",
        "-k1M",
        "--file-allocation=falloc",
        "-d",
        str(work),
        "-i",
        str(listing),
    ]
    first = run_command(fetch, clean_environment())
    second = run_command(
        ["openssl", "dgst", "-sha256", *(str(work / path) for path in files)], clean_environment()
    )
    return Run(first.wall_s + second.wall_s, first.cpu_s + second.cpu_s)


CONTENDERS: dict[str, Callable[[HubProcess, Path], Run]] = {
    "distd": ours,
    "hf download": hf_download,
    "aria2c -x8 + openssl": aria2_openssl,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--dir", type=Path, default=None, help="where to write [default: a temporary directory]"
    )
    arguments = parser.parse_args()
    contenders = {
        name: run
        for name, run in CONTENDERS.items()
        if name != "aria2c -x8 + openssl" or shutil.which("aria2c")
    }
    if len(contenders) < len(CONTENDERS):
        print("aria2c is not installed: left out")
    with tempfile.TemporaryDirectory(dir=arguments.dir, prefix="distd-bench-") as scratch:
        model = Path(scratch) / "model"
        generate(ModelSpec(seed=7, weight_bytes=arguments.mib * 2**20, shards=arguments.shards), model)
        runs: dict[str, list[Run]] = {name: [] for name in contenders}
        with HubProcess({REPO: model}) as hub:
            for round_ in range(arguments.runs + 1):
                for name, contender in contenders.items():
                    work = Path(scratch) / "work"
                    shutil.rmtree(work, ignore_errors=True)
                    with idle_share() as idle:
                        run = contender(hub, work)
                    if round_:  # the first round warms the page cache of the Hub's files
                        runs[name].append(run)
                        print(
                            f"  {name:22} {run.wall_s:6.2f} s wall {run.cpu_s:6.2f} s CPU  idle {idle():.0%}",
                            flush=True,
                        )
            report(runs, arguments.mib)
            idle_daemon(hub, Path(scratch))


def report(runs: dict[str, list[Run]], mib: int) -> None:
    print(f"\n{machine()}; {mib} MiB, median of {len(runs['distd'])}")
    base = statistics.median(run.wall_s for run in runs["distd"])
    print(f"{'':22} {'wall s':>8} {'CPU s':>8} {'distd takes':>14}")
    for name, values in runs.items():
        wall_s = statistics.median(run.wall_s for run in values)
        cpu_s = statistics.median(run.cpu_s for run in values)
        print(f"{name:22} {wall_s:8.2f} {cpu_s:8.2f} {base / wall_s:12.2f} x")
    peaks = [run.peak_rss_mb for run in runs["distd"] if run.peak_rss_mb]
    print(f"distd peak memory {max(peaks):.0f} MB")


def idle_daemon(hub: HubProcess, scratch: Path) -> None:
    """What the daemon costs when nothing is pulled, and how long the programs take to start."""
    daemon = Daemon(scratch / "idle", hub.url)
    try:
        time.sleep(2)
        before = cpu_seconds_of(daemon.process.pid)
        time.sleep(10)
        used = (cpu_seconds_of(daemon.process.pid) - before) / 10
        print(f"idle: {used:.2%} of a core, {daemon.rss_mb():.0f} MB; ready after {daemon.ready_s:.2f} s")
    finally:
        daemon.stop()
    helps = [run_command([str(BIN / "distctl"), "--help"], clean_environment()).wall_s for _ in range(11)]
    print(f"distctl --help: {statistics.median(helps) * 1000:.0f} ms (median of {len(helps)})")


if __name__ == "__main__":
    main()
