"""CPU per GB of each encryption mode, next to none: the swarm's two sessions and streams of the cluster's API.

    .venv/bin/python -m bench.encryption [--mib 256] [--rounds 4]

Two members in one process on loopback: what is counted is the CPU of both ends together, with the disk writes of the
receiver (/dev/shm) and without hashing beyond what the sealed session does. Modes take turns within each round; a round's
order is rotated. Medians.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import hashlib
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.cpu import machine
from peers import engine as engine_module
from peers.cluster import Cluster, ClusterSettings
from peers.engine import Engine
from peers.metainfo import Kind, Metainfo, hot_metainfo, sealed_metainfo
from peers.pieces import piece_count, piece_span
from peers.secret import parse
from peers.settings import EngineOptions, Settings, session_settings
from peers.swarm import PieceArrived, SwarmEvent
from tests.peers.authority import Authority

SECRET = b"a benchmark's secret"
CLUSTER_SECRET = parse("0f9c2ab1764de83350a1f2b4c6d8e7f9013579bdf02468ace", "bench")
GB = 1_000_000_000
PLAIN = "none"
MODES = (PLAIN, "handshake", "full", "tls")
PART = bytes(1 << 20)


def plain_settings(options: EngineOptions, kind: Kind) -> Settings:
    """What no configuration allows: peers greet and talk in clear."""
    enabled, disabled = 1, 2
    return session_settings(options, kind) | {"in_enc_policy": enabled, "out_enc_policy": disabled}


@dataclasses.dataclass
class Measured:
    cpu_s: float
    wall_s: float


async def measured(work: Callable[[], Awaitable[None]]) -> Measured:
    cpu, wall = time.process_time(), time.monotonic()
    await work()
    return Measured(time.process_time() - cpu, time.monotonic() - wall)


async def swarm(folder: Path, authority: Authority, mode: str, kind: Kind, content: bytes) -> Measured:
    tls = authority.identity("bench") if mode == "tls" else None
    options = EngineOptions("127.0.0.1", encryption="handshake" if mode == PLAIN else mode, tls=tls)
    engine_module.session_settings = plain_settings if mode == PLAIN else session_settings  # type: ignore[assignment]  # a mode that is not offered
    metainfo = metainfo_of(content, kind, tls.ca_pem if tls else b"")
    whole, arrived = asyncio.Event(), 0

    def count(event: SwarmEvent) -> None:
        nonlocal arrived
        if isinstance(event, PieceArrived):
            arrived += 1
            if arrived == metainfo.piece_count:
                whole.set()

    ends = [await Engine.start(options, sink) for sink in (lambda event: None, count)]
    paths = [folder / name / metainfo.blob for name in ("seed", "reader")]
    for path, written in zip(paths, (content, bytes(len(content))), strict=True):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(written)
    pieces = metainfo.piece_count
    await ends[0].open(metainfo, str(paths[0]), [True] * pieces)

    async def transfer() -> None:
        await ends[1].open(metainfo, str(paths[1]), [False] * pieces, [ends[0].endpoint(kind)])
        await whole.wait()

    result = await measured(transfer)
    for end in ends:
        await end.shutdown(timeout_s=5)
    assert paths[1].read_bytes() == content
    return result


def metainfo_of(content: bytes, kind: Kind, ca_pem: bytes = b"", name: str = "bench") -> Metainfo:
    if kind is Kind.HOT:
        return hot_metainfo(SECRET, name, len(content), tls_ca=ca_pem)
    spans = [piece_span(len(content), index) for index in range(piece_count(len(content)))]
    digests = [hashlib.sha1(content[start:end]).digest() for start, end in spans]
    return sealed_metainfo(SECRET, name, len(content), digests, tls_ca=ca_pem)


async def api(authority: Authority, tls: bool, size_bytes: int) -> Measured:
    """One stream; its frames are proven with a MAC either way."""
    settings = ClusterSettings("a", secret=CLUSTER_SECRET, tls=authority.identity("a") if tls else None)
    first = Cluster(settings)
    await first.start()
    own = authority.identity("b") if tls else None
    second = Cluster(dataclasses.replace(settings, name="b", join=(first.address,), tls=own))
    await second.start()

    async def parts(sender: str, query: object):  # type: ignore[no-untyped-def]  # as StreamHandler says
        for _ in range(size_bytes // len(PART)):
            yield PART

    async def take(part: bytes) -> None:
        pass

    first.register_stream("parts", parts)
    known = asyncio.Event()
    second.on_change(lambda: known.set() if "a" in second.live else None)
    if "a" not in second.live:
        await known.wait()

    async def transfer() -> None:
        await second.fetch("a", "parts", {}, take, size_bytes)

    result = await measured(transfer)
    await second.stop(leave=False)
    await first.stop(leave=False)
    return result


async def run(mib: int, rounds: int) -> None:
    some = random.Random(0)
    content = b"".join(some.randbytes(1 << 20) for _ in range(mib))
    runs: dict[tuple[str, str], list[Measured]] = {}
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        authority = Authority(Path(folder) / "ca")
        for number in range(rounds):
            for step in range(len(MODES)):
                mode = MODES[(number + step) % len(MODES)]
                for kind in Kind:
                    done = await swarm(Path(folder), authority, mode, kind, content)
                    runs.setdefault((kind.value, mode), []).append(done)
                if mode in (PLAIN, "tls"):
                    done = await api(authority, mode == "tls", len(content))
                    runs.setdefault(("api stream", mode), []).append(done)
    print(f"{mib} MiB, {rounds} rounds; {machine()}")
    print(f"{'':12}{'mode':12}{'CPU s/GB':>10}{'range':>16}{'MB/s':>8}")
    for (what, mode), done in sorted(runs.items(), key=lambda item: (item[0][0], MODES.index(item[0][1]))):
        cpu = [each.cpu_s * GB / len(content) for each in done]
        rate = statistics.median(len(content) / each.wall_s / 1e6 for each in done)
        print(f"{what:12}{mode:12}{statistics.median(cpu):10.2f}{min(cpu):9.2f}-{max(cpu):.2f}{rate:10.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    asyncio.run(run(arguments.mib, arguments.rounds))


if __name__ == "__main__":
    main()
