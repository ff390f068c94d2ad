"""The fetch desk under thousands of seeded random days, with every rule checked after every event.

A failure names its seed; `pytest -k 'seed-17'` reruns exactly that day.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from distd.core import desk_events as ev
from distd.core.desk import FetchDesk, _Blob, _Lane
from distd.errors import HashMismatch, HubUnreachable
from tests.core.desk_world import PIECE_BYTES, Blob, Chances, World

SEEDS = [pytest.param(seed, id=f"seed-{seed}") for seed in range(40)]
STEPS_MAX = 40_000


def make_world(
    seed: int,
    chances: Chances,
    *,
    give_up_after_s: float,
    kind: type[FetchDesk] = FetchDesk,
    resumed: bool = False,
    odd_hubs: bool = False,
) -> World:
    rng = Random(seed)
    connections = rng.choice([1, 2, 3, 8])
    desk = kind(connections=connections, give_up_after_s=give_up_after_s, rng=Random(seed))
    world = World(desk, connections=connections, rng=rng, chances=chances)
    for number in range(rng.randint(1, 30)):
        size_bytes = rng.choice([0, 1, 1, PIECE_BYTES, rng.randint(1, 60) * PIECE_BYTES + 7])
        order = (-rng.choice([0, 0, 0, 5]), rng.randint(1, 3), number)
        blob = Blob(f"b{number:02}", size_bytes, order)
        if resumed:
            blob.stored = {piece for piece in range(blob.pieces) if rng.random() < 0.4}
        if odd_hubs:
            blob.ignores_ranges = rng.random() < 0.3
            blob.always_wrong = blob.size_bytes > 0 and rng.random() < 0.1
        world.want(blob)
        for _ in range(rng.choice([0, 0, 5])):
            if world.unfinished:
                world.step()
    return world


def run_to_the_end(world: World) -> None:
    """A day of faults, then none: every blob has to end."""
    world.run(1500)
    world.chances = Chances()
    world.run(STEPS_MAX)
    assert not world.unfinished, f"{world.desk!r}\n" + "\n".join(world.log[-40:])
    assert not world.fetches
    assert world.desk.next_deadline() is None
    assert not world.desk._blobs


@pytest.mark.parametrize("seed", SEEDS)
def test_without_faults_every_piece_is_fetched_once(seed: int) -> None:
    world = make_world(seed, Chances(), give_up_after_s=60.0)
    run_to_the_end(world)
    assert sorted(world.accepted) == sorted(world.blobs)
    for blob in world.blobs.values():
        assert sorted(blob.deliveries) == list(range(blob.pieces))


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_stored_is_not_fetched_again_after_a_restart(seed: int) -> None:
    world = make_world(seed, Chances(passing=0.02), give_up_after_s=1e9, resumed=True)
    held = {etag: set(blob.stored) - set(blob.deliveries) for etag, blob in world.blobs.items()}
    run_to_the_end(world)
    assert sorted(world.accepted) == sorted(world.blobs)
    for etag, blob in world.blobs.items():
        assert not held[etag] & set(blob.deliveries)
        assert len(blob.deliveries) == len(set(blob.deliveries))


@pytest.mark.parametrize("seed", SEEDS)
def test_with_patience_every_blob_of_an_honest_hub_is_accepted_whatever_passes(seed: int) -> None:
    chances = Chances(passing=0.1, rate_limited=0.02, wrong_bytes=0.02, lost=0.02)
    world = make_world(seed, chances, give_up_after_s=1e9, resumed=True)
    run_to_the_end(world)
    assert sorted(world.accepted) == sorted(world.blobs)
    assert all(blob.stored == set(range(blob.pieces)) and not blob.wrong for blob in world.blobs.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_every_blob_ends_under_every_fault_at_once(seed: int) -> None:
    chances = Chances(
        passing=0.2, rate_limited=0.03, odd=0.01, final=0.002, wrong_bytes=0.02, lost=0.02, dropped=0.002
    )
    world = make_world(seed, chances, give_up_after_s=20.0, resumed=True, odd_hubs=True)
    run_to_the_end(world)
    assert sorted([*world.accepted, *world.failed, *world.dropped]) == sorted(world.blobs)
    assert not any(world.blobs[etag].wrong for etag in world.accepted)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_hub_that_ignores_ranges_is_read_as_one_stream_and_one_that_is_wrong_is_found_out(
    seed: int,
) -> None:
    world = make_world(seed, Chances(passing=0.003), give_up_after_s=1e9, odd_hubs=True)
    run_to_the_end(world)
    wrong = {etag for etag, blob in world.blobs.items() if blob.always_wrong}
    assert set(world.failed) == wrong
    assert all(isinstance(error, HashMismatch) for error in world.failed.values())
    assert set(world.accepted) == set(world.blobs) - wrong


def test_all_connections_are_used() -> None:
    most: dict[int, int] = {}
    for seed in range(20):
        world = make_world(seed, Chances(), give_up_after_s=60.0)
        run_to_the_end(world)
        most[world.connections] = max(most.get(world.connections, 0), world.fetches_most)
    assert most == {1: 1, 2: 2, 3: 3, 8: 8}


def test_a_hub_that_stays_away_fails_every_blob() -> None:
    world = make_world(3, Chances(passing=1.0), give_up_after_s=30.0)
    started = world.now
    world.run(STEPS_MAX)
    sizes = {etag: blob.size_bytes for etag, blob in world.blobs.items()}
    assert set(world.failed) == {etag for etag, size_bytes in sizes.items() if size_bytes}
    assert all(isinstance(error, HubUnreachable) for error in world.failed.values())
    assert world.now - started >= 30.0


# Desks with a fault planted in them: the simulation has to find each.


class ForgetsPieces(FetchDesk):
    def _end_fetch(self, fetch_id: int):  # type: ignore[no-untyped-def]  # as in the parent
        fetch = self._fetches.pop(fetch_id, None)
        if fetch is not None:
            self._blobs[fetch.etag].in_flight.discard(fetch_id)
        return fetch


class FetchesTwice(FetchDesk):
    def _start_span(self, blob: _Blob) -> ev.StartFetch:
        missing = list(blob.missing)
        action = super()._start_span(blob)
        blob.missing[:] = missing
        return action


class IgnoresThePause(FetchDesk):
    def _assign(self, now: float) -> list[ev.Action]:
        self._hub_paused_until = 0.0
        return super()._assign(now)


class OpensOneTooMany(FetchDesk):
    def _assign_in(self, lane: _Lane, now: float) -> list[ev.Action]:
        return super()._assign_in(replace(lane, connections=lane.connections + 1), now)


class ForgetsTheOrder(FetchDesk):
    def _want(self, event: ev.BlobWanted) -> None:
        super()._want(event)
        self._lanes[0].queue.reverse()


class SleepsForEver(FetchDesk):
    def next_deadline(self) -> float | None:
        return None


@pytest.mark.parametrize(
    "kind", [ForgetsPieces, FetchesTwice, IgnoresThePause, OpensOneTooMany, ForgetsTheOrder, SleepsForEver]
)
def test_the_simulation_finds_a_planted_fault(kind: type[FetchDesk]) -> None:
    found = 0
    for seed in range(10):
        try:
            world = make_world(
                seed, Chances(passing=0.2, rate_limited=0.05), give_up_after_s=1e9, kind=kind, resumed=True
            )
            run_to_the_end(world)
        except AssertionError:
            found += 1
    assert found > 0
