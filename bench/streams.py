"""What event streams cost a daemon: idle ones, and ones that follow a pull.

    make streams BENCH="--streams 200 --seconds 20"

A real daemon on loopback, so many clients of `GET /v1/events` that read what comes, and the daemon's CPU time over the
measurement. Idle: nothing is pulled, keep-alives alone. Following: one pull at a limited rate changes every second.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.cpu import cpu_seconds_of, idle_share, machine
from tests.daemon.daemon import DaemonProcess
from tests.daemon.repos import MIB, Repos
from tests.hub import HubProcess

GOAL = 0.05
"""Of a core, for 200 idle streams."""
PULL_RATE_BYTES_PER_S = MIB


async def client(port: int, opened: asyncio.Semaphore, events: list[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    status = await reader.readline()
    if b" 200 " not in status:
        raise SystemExit(f"the daemon answered {status!r}")
    while line := await reader.readline():
        if line.startswith(b"event: "):
            events[0] += 1
        if line.startswith(b"event: reset"):
            opened.release()


async def share_of_core(daemon: DaemonProcess, streams: int, seconds: float) -> tuple[float, int]:
    """The daemon's CPU time over time, and how many events came in it."""
    port = int(daemon.url.rpartition(":")[2])
    opened, events = asyncio.Semaphore(0), [0]
    clients = [asyncio.create_task(client(port, opened, events)) for _ in range(streams)]
    for _ in clients:
        await asyncio.wait_for(opened.acquire(), 30)
    await asyncio.sleep(2)
    before_s, events_before, began = cpu_seconds_of(daemon.pid), events[0], time.monotonic()
    await asyncio.sleep(seconds)
    share = (cpu_seconds_of(daemon.pid) - before_s) / (time.monotonic() - began)
    for each in clients:
        each.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    return share, events[0] - events_before


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args(words)
    print(machine())
    with (
        HubProcess() as hub,
        tempfile.TemporaryDirectory(prefix="distd-streams-") as scratch,
        idle_share() as idle,
    ):
        with DaemonProcess(Path(scratch) / "none", hub.url) as daemon:
            none, _ = asyncio.run(share_of_core(daemon, 0, options.seconds / 2))
        with DaemonProcess(Path(scratch) / "idle", hub.url) as daemon:
            quiet, _ = asyncio.run(share_of_core(daemon, options.streams, options.seconds))
            directory = Path(scratch) / "repos"
            directory.mkdir()
            repo = Repos(hub, directory).make(weight_mib=2 * options.seconds)
            hub.set(rate_bytes_per_s=PULL_RATE_BYTES_PER_S)
            pull = daemon.submit(repo.id)["id"]
            alone, _ = asyncio.run(share_of_core(daemon, 0, options.seconds / 2))
            busy, events = asyncio.run(share_of_core(daemon, options.streams, options.seconds / 2))
            daemon.delete(f"/v1/pulls/{pull}")
    print(f"no stream:                 {none:6.2%} of a core")
    print(f"{options.streams} idle streams:          {quiet:6.2%} (goal {GOAL:.0%})")
    print(f"a pull at 1 MiB/s:         {alone:6.2%}")
    print(f"{options.streams} streams that follow it: {busy:6.2%}, {events} events")
    print(f"machine idle {idle():.0%}")
    return 0 if quiet < GOAL else 1


if __name__ == "__main__":
    raise SystemExit(main())
