"""Every seed ends well: all invariants hold after every event and everybody who can finish does.

``SIM_SEEDS`` sets how many seeds run (40 unless told; 200 take about half a minute).
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.sim.scenario import Outcome, SeedFailed, run_seed
from tests.sim.world import Shape, World

SEEDS = int(os.environ.get("SIM_SEEDS", "40"))
BLOCK = 10


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_seeds_end_with_every_invariant_held(first: int) -> None:
    for seed in range(first, min(first + BLOCK, SEEDS)):
        run_seed(seed)


@pytest.mark.parametrize("seed", [5000, 5004])
def test_larger_clusters_survive_faults(seed: int) -> None:
    run_seed(seed, members=24)


def test_a_seed_replays_identically() -> None:
    assert run_seed(9) == run_seed(9)


def test_different_seeds_run_differently() -> None:
    assert run_seed(9).trace != run_seed(10).trace


def test_another_process_with_other_hashes_replays_the_same_trace() -> None:
    def traces(hash_seed: str) -> str:
        run = subprocess.run(
            [sys.executable, "-m", "tests.sim", "--seed", "10", "--members", "5"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return run.stdout.split("Outcome(")[1]

    assert traces("1") == traces("2")


def test_a_failure_says_how_to_see_it_again() -> None:
    failure = SeedFailed(17, 5, AssertionError("what went wrong"))
    assert "seed=17: what went wrong" in str(failure)
    assert "python -m tests.sim --seed 17 --members 5" in str(failure)


@pytest.mark.parametrize(("members", "pieces"), [(1, 20), (2, 30), (8, 60)])
def test_without_faults_each_byte_leaves_the_hub_once(members: int, pieces: int) -> None:
    world = World(1, Shape(members=members, pieces=pieces))
    world.start()
    assert world.run(120.0)
    assert all(node.published for node in world.nodes.values())
    assert world.hub.sent_bytes == world.blob.size_bytes


def test_a_hundred_members_take_little_longer_than_the_link_needs_for_one_copy() -> None:
    world = World(2, Shape(members=100, pieces=80))
    world.start()
    assert world.run(120.0)
    assert all(node.published for node in world.nodes.values())
    assert world.hub.sent_bytes == world.blob.size_bytes
    assert world.now < 2 * world.blob.size_bytes / world.shape.hub_link_bytes_per_s


def test_outcomes_of_equal_runs_are_equal_values() -> None:
    outcome = run_seed(3)
    assert isinstance(outcome, Outcome)
    assert outcome.events > 0
