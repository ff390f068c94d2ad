"""`make reader`: what a process that reads files at full speed loses while this server pulls at a limited rate.

The reader goes through one file over and over, as a model server that loads weights does, and counts. Its throughput is taken in
turns, from the page cache or (`--direct`) from the disk: alone, beside a pull of `distd` at `limits.hub_down`, beside `curl --limit-rate` of the same bytes to the same
file system. Ratios are of one run. The test Hub runs on the same machine in either case.
"""

from __future__ import annotations

import argparse
import mmap
import multiprocessing
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from tests.daemon.daemon import DaemonProcess
from tests.hub import HubProcess, ModelSpec, generate

REPO = "acme/bench"
RATE_BYTES_PER_S = 25_000_000
BLOCK_BYTES = 1 << 20
SETTLE_S = 1.5
"""From a contender's start to the first count: connecting, planning and preallocating are over."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make reader", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="that each look takes")
    parser.add_argument("--read-mib", type=int, default=512, help="size of the file that is read")
    parser.add_argument("--direct", action="store_true", help="read from the disk, past the page cache")
    parser.add_argument(
        "--dir", default=None, help="where to write [default: the system's temporary directory]"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="distd-reader-", dir=arguments.dir) as made:
        work = Path(made)
        pulled_mib = int(
            RATE_BYTES_PER_S * (arguments.seconds + SETTLE_S + 3) * arguments.rounds / BLOCK_BYTES
        )
        generate(ModelSpec(seed=1, weight_bytes=pulled_mib * BLOCK_BYTES), work / "model")
        generate(ModelSpec(seed=2, weight_bytes=arguments.read_mib * BLOCK_BYTES), work / "read")
        read = work / "read" / "model.safetensors"
        with HubProcess({REPO: work / "model"}) as hub, reading(read, arguments.direct) as count:
            rates = measured(hub, work, arguments.rounds, arguments.seconds, count)
    alone = statistics.median(rates["alone"])
    print(f"reader alone: {alone / 1e9:.2f} GB/s (median of {len(rates['alone'])})")
    for name in ("distd", "curl"):
        beside = statistics.median(rates[name])
        print(
            f"beside {name} at {RATE_BYTES_PER_S / 1e6:g} MB/s: {beside / 1e9:.2f} GB/s, {beside / alone - 1:+.1%}"
        )
    return 0


def measured(
    hub: HubProcess, work: Path, rounds: int, seconds: float, count: Callable[[], int]
) -> dict[str, list[float]]:
    def look() -> float:
        began, before = time.monotonic(), count()
        time.sleep(seconds)
        return (count() - before) / (time.monotonic() - began)

    rates: dict[str, list[float]] = {"alone": [], "distd": [], "curl": []}
    settings = {"limits.hub_down": RATE_BYTES_PER_S, "node.log_level": "info"}
    with DaemonProcess(work / "node", hub.url, settings) as daemon:
        pull = daemon.submit(REPO)["id"]
        for _ in range(rounds):
            time.sleep(SETTLE_S)
            before = daemon.view(pull)["bytes_done"]
            rates["distd"].append(look())
            done = daemon.view(pull)
            assert done["state"] == "downloading", "the pull ended before the reader was counted"
            print(f"  the pull moved {(done['bytes_done'] - before) / seconds / 1e6:.1f} MB/s")
            daemon.post(f"/v1/pulls/{pull}/pause")
            time.sleep(SETTLE_S)
            rates["alone"].append(look())
            with curl(hub, work / "curl"):
                time.sleep(SETTLE_S)
                rates["curl"].append(look())
            rates["alone"].append(look())
            daemon.post(f"/v1/pulls/{pull}/resume")
        daemon.delete(f"/v1/pulls/{pull}")
    return rates


@contextmanager
def curl(hub: HubProcess, target: Path) -> Iterator[None]:
    url = f"{hub.url}/{REPO}/resolve/main/model.safetensors"
    command = ["curl", "-sL", "--limit-rate", str(RATE_BYTES_PER_S), "-o", str(target), url]
    process = subprocess.Popen(command)
    try:
        yield
        assert process.poll() is None, "curl ended before the reader was counted"
    finally:
        process.kill()
        process.wait()
        target.unlink(missing_ok=True)


@contextmanager
def reading(path: Path, direct: bool) -> Iterator[Callable[[], int]]:
    """A process that reads the file again and again; yields what tells how many bytes so far."""
    counter: Synchronized[int] = multiprocessing.Value("q", 0)  # type: ignore[assignment]  # typed by its code
    reader = multiprocessing.Process(target=_read, args=(path, counter, direct), daemon=True)
    reader.start()
    try:
        yield lambda: counter.value
    finally:
        reader.kill()
        reader.join()


def _read(path: Path, counter: Synchronized[int], direct: bool) -> None:
    buffer = mmap.mmap(-1, BLOCK_BYTES)  # whole pages, as O_DIRECT demands
    fd = os.open(path, os.O_RDONLY | (os.O_DIRECT if direct else 0))
    while True:
        offset = 0
        while got := os.preadv(fd, [buffer], offset):
            offset += got
            counter.value += got


if __name__ == "__main__":
    raise SystemExit(main())
