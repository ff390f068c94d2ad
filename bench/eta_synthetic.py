"""Pulls that never were: rate processes from a seed, run through the estimator as a daemon would run it.

The link has noise that lasts (an autoregressive process) and parts that make it lumpy; hashing and publishing take their time
after the bytes. Quick enough for tests; `bench/eta.py` runs the real thing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from bench.eta_score import Seen, Trace
from distd.core.estimate import BACKLOG_S, Load, Speed, Speeds, estimate
from distd.core.pace import Pace, speed_of

STEP_S = 0.1
LOOK_STEPS = 5
PART_BYTES = 4 << 20
"""Bytes show up in parts of this size: what is in flight is not counted."""

RateAt = Callable[[float, float], float]
"""Bytes per second, by seconds since the beginning and share of the bytes."""


@dataclass(frozen=True, slots=True)
class Process:
    """`hub_at` is what the cluster gets from the Hub, `local_at` what this node takes in of what the cluster has."""

    name: str
    total_bytes: int
    hub_at: RateAt
    changes_at_share: float | None = None
    ahead_bytes: int = 0
    local_at: RateAt | None = None
    cluster_has_bytes: int = 0
    hash_rate: float = 1e12
    finish_s: float = 0.2
    files: int = 0
    """Tiny ones besides `total_bytes`, of `file_bytes` each; so many a second as `files_at` says, beside the large ones."""
    file_bytes: int = 60_000
    files_at: RateAt = lambda t, s: 1.0
    noise: float = 0.06


def run(process: Process, seed: int) -> Trace:
    rng = Random(seed)
    local_pace, hub_pace, hash_pace, file_pace = Pace(), Pace(), Pace(), Pace()
    now, noise = 0.0, 0.0
    hub = float(process.cluster_has_bytes)
    local = hashed = files = 0.0
    total = process.total_bytes + process.ahead_bytes
    files_bytes = process.files * process.file_bytes
    seen: list[Seen] = []
    changed_at: float | None = None
    step = 0
    while hashed < total or files < process.files:
        share = max(0.0, local - process.ahead_bytes) / max(1, process.total_bytes)
        if process.changes_at_share is not None and changed_at is None and share >= process.changes_at_share:
            changed_at = now
        noise += STEP_S / 1.5 * -noise + process.noise * (2 * STEP_S / 1.5) ** 0.5 * rng.gauss(0, 1)
        factor = max(0.05, 1 + noise)
        files_before, asked = int(files), process.files_at(now, share) * factor * STEP_S
        files = min(process.files, files + asked)
        tiny = (int(files) - files_before) * process.file_bytes
        hub = min(total, hub + max(0.0, process.hub_at(now, share) * factor * STEP_S - tiny))
        intake = process.local_at(now, share) * factor * STEP_S if process.local_at else total
        local = min(hub, local + intake)
        hashed = min(local, hashed + process.hash_rate * STEP_S)
        now += STEP_S
        step += 1
        file_bytes = int(files) * process.file_bytes
        shown = local if local >= total else local // PART_BYTES * PART_BYTES
        if step % LOOK_STEPS == 0:
            if shown < total:
                local_pace.observe(shown + file_bytes, now)
                hub_pace.observe(hub + file_bytes, now)
            hash_pace.observe(hashed, now)
            file_pace.observe(int(files), now)
        alone = process.local_at is None
        load = Load(
            local_bytes=int(total - shown) + files_bytes - file_bytes,
            hub_bytes=int(total - (shown if alone else hub)) + files_bytes - file_bytes,
            unhashed_bytes=int(total - hashed),
            backlog_bytes=max(0, int(shown - hashed)),
            files=process.files - int(files),
            file_bytes=files_bytes - file_bytes,
        )
        backs_up = load.backlog_bytes > BACKLOG_S * process.hash_rate
        speeds = Speeds(
            local=speed_of(local_pace),
            hub=speed_of(local_pace) if alone else speed_of(hub_pace),
            hashing=speed_of(hash_pace) if backs_up else Speed(process.hash_rate, 0.1),
            files=speed_of(file_pace),
            finish_s=process.finish_s,
        )
        found = estimate(load, speeds)
        told = (found.eta_s, found.low_s, found.high_s) if found else (None, None, None)
        done = max(0, int(shown) - process.ahead_bytes) + file_bytes
        seen.append(Seen(now, done, process.total_bytes + files_bytes, *told))
    return Trace(process.name, tuple(seen), 0.0, now + process.finish_s, changed_at)


MB = 1_000_000

PROCESSES = (
    Process("steady", 5000 * MB, lambda t, s: 50 * MB),
    Process("steady-noisy", 5000 * MB, lambda t, s: 50 * MB, noise=0.12),
    Process("halves-at-40", 5000 * MB, lambda t, s: 50 * MB if s < 0.4 else 25 * MB, changes_at_share=0.4),
    Process("doubles-at-40", 6000 * MB, lambda t, s: 30 * MB if s < 0.4 else 60 * MB, changes_at_share=0.4),
    Process(
        "joins-late",
        3000 * MB,
        lambda t, s: 30 * MB,
        local_at=lambda t, s: 110 * MB,
        cluster_has_bytes=1000 * MB,
    ),
    Process("hashing-bound", 6000 * MB, lambda t, s: 200 * MB, hash_rate=90 * MB),
    Process("many-small-files", 300 * MB, lambda t, s: 25 * MB, files=6000, files_at=lambda t, s: 80),
    Process("small-files-only", 0, lambda t, s: 50 * MB, files=6000, files_at=lambda t, s: 120),
    Process("small-files-beside", 4000 * MB, lambda t, s: 50 * MB, files=2000, files_at=lambda t, s: 120),
    Process("second-pull", 3000 * MB, lambda t, s: 50 * MB, ahead_bytes=1500 * MB),
)
