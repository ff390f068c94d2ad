"""What one libtorrent session moves, and what several in a process move together.

    make sessions BENCH="--mib 512 --blobs 4 --rounds 3"

A sending and a receiving process on loopback, as two hosts would be, files on /dev/shm. Each has as many engines as sessions are
measured; blobs are spread over them. Counted is the time from the first request to the last piece, and the CPU of each process.
Medians; numbers of sessions take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing as mp
import random
import statistics
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from bench.cpu import idle_share, machine
from bench.encryption import GB, metainfo_of
from peers.engine import Engine
from peers.metainfo import Kind, Metainfo
from peers.settings import EngineOptions
from peers.swarm import Endpoint, PieceArrived, SwarmEvent

SESSIONS = (1, 2)
OPTIONS = EngineOptions("127.0.0.1")


@dataclass(frozen=True)
class Task:
    """Blob *i* of ``metainfos`` lies at ``paths[i]`` and goes over session *i* modulo ``sessions``."""

    metainfos: tuple[Metainfo, ...]
    paths: tuple[str, ...]
    sessions: int
    kind: Kind


@dataclass(frozen=True)
class Moved:
    wall_s: float
    sender_cpu_s: float
    receiver_cpu_s: float
    idle: float


async def send(task: Task, other: Connection) -> None:
    engines = [await Engine.start(OPTIONS, lambda event: None) for _ in range(task.sessions)]
    for number, (metainfo, path) in enumerate(zip(task.metainfos, task.paths, strict=True)):
        engine = engines[number % task.sessions]
        await engine.open(metainfo, path, [True] * metainfo.piece_count)
    other.send([engine.endpoint(task.kind) for engine in engines])
    before_s = time.process_time()
    await asyncio.to_thread(other.recv)
    other.send(time.process_time() - before_s)
    for engine in engines:
        await engine.shutdown(timeout_s=5)


async def receive(task: Task, other: Connection, endpoints: list[Endpoint]) -> tuple[float, float]:
    left, whole = sum(metainfo.piece_count for metainfo in task.metainfos), asyncio.Event()

    def count(event: SwarmEvent) -> None:
        nonlocal left
        if isinstance(event, PieceArrived):
            left -= 1
            if not left:
                whole.set()

    engines = [await Engine.start(OPTIONS, count) for _ in range(task.sessions)]
    wall, cpu = time.monotonic(), time.process_time()
    for number, (metainfo, path) in enumerate(zip(task.metainfos, task.paths, strict=True)):
        at = number % task.sessions
        await engines[at].open(metainfo, path, [False] * metainfo.piece_count, [endpoints[at]])
    await whole.wait()
    took = time.monotonic() - wall, time.process_time() - cpu
    for engine in engines:
        await engine.shutdown(timeout_s=5)
    return took


def sender(task: Task, other: Connection) -> None:
    asyncio.run(send(task, other))


def measured(task: Task, received: tuple[str, ...]) -> Moved:
    ours, theirs = mp.Pipe()
    process = mp.get_context("spawn").Process(target=sender, args=(task, theirs))
    process.start()
    try:
        endpoints = ours.recv()
        own = Task(task.metainfos, received, task.sessions, task.kind)
        with idle_share() as idle:
            wall_s, cpu_s = asyncio.run(receive(own, ours, endpoints))
            share = idle()
        ours.send(None)
        return Moved(wall_s, ours.recv(), cpu_s, share)
    finally:
        process.join()


def run(mib: int, blobs: int, rounds: int) -> None:
    some = random.Random(0)
    content = b"".join(some.randbytes(1 << 20) for _ in range(mib // blobs))
    runs: dict[tuple[Kind, int], list[Moved]] = {}
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        for turn in range(rounds * len(SESSIONS)):
            sessions = SESSIONS[turn % len(SESSIONS)]
            for kind in Kind:
                metainfos = tuple(metainfo_of(content, kind, name=f"bench-{i}") for i in range(blobs))
                paths = []
                for end, start in (("from", content), ("to", bytes(len(content)))):
                    (Path(folder) / end).mkdir(exist_ok=True)
                    paths.append(tuple(str(Path(folder) / end / each.blob) for each in metainfos))
                    for path in paths[-1]:
                        Path(path).write_bytes(start)
                done = measured(Task(metainfos, paths[0], sessions, kind), paths[1])
                assert all(Path(path).read_bytes() == content for path in paths[1])
                runs.setdefault((kind, sessions), []).append(done)
    moved = len(content) * blobs
    print(f"{mib} MiB in {blobs} blobs, {rounds} rounds; {machine()}")
    print(f"{'':8}{'sessions':>9}{'MB/s':>7}{'range':>12}{'sender CPU':>12}{'receiver CPU':>14}{'idle':>6}")
    for (kind, sessions), values in sorted(runs.items(), key=lambda item: (item[0][0].value, item[0][1])):
        rates = [moved / each.wall_s / 1e6 for each in values]
        cpu = (
            statistics.median(each.sender_cpu_s for each in values) * GB / moved,
            statistics.median(each.receiver_cpu_s for each in values) * GB / moved,
        )
        print(
            f"{kind.value:8}{sessions:9}{statistics.median(rates):7.0f}{f'{min(rates):.0f}-{max(rates):.0f}':>12}"
            f"{cpu[0]:10.2f}/GB{cpu[1]:12.2f}/GB{statistics.median(each.idle for each in values):6.0%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--blobs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    run(arguments.mib, arguments.blobs, arguments.rounds)


if __name__ == "__main__":
    main()
