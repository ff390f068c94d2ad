"""Back-pressure by itself: order, bounds, cancellation."""

from __future__ import annotations

import asyncio

import pytest

from peers.handover import HandOver


def waiting(hand_over: HandOver[str], owner: str, index: int, size_bytes: int) -> asyncio.Task[None]:
    return asyncio.create_task(hand_over.take(owner, index, size_bytes))


async def settled() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_callers_wait_in_order_and_a_small_one_does_not_overtake() -> None:
    hand_over: HandOver[str] = HandOver(10)
    await hand_over.take("a", 0, 8)
    large, small = waiting(hand_over, "a", 1, 9), waiting(hand_over, "b", 0, 1)
    await settled()
    assert (large.done(), small.done()) == (False, False)

    assert hand_over.written("a", 0)
    await settled()

    assert (large.done(), small.done()) == (True, True)
    assert hand_over.outstanding_bytes == 10


async def test_a_piece_larger_than_the_bound_is_let_in_alone() -> None:
    hand_over: HandOver[str] = HandOver(10)
    await hand_over.take("a", 0, 100)
    second = waiting(hand_over, "a", 1, 1)
    await settled()
    assert not second.done()

    hand_over.written("a", 0)
    await second

    assert hand_over.outstanding_bytes == 1


async def test_cancelling_a_wait_passes_the_turn_on() -> None:
    hand_over: HandOver[str] = HandOver(10)
    await hand_over.take("a", 0, 10)
    first, second = waiting(hand_over, "a", 1, 10), waiting(hand_over, "a", 2, 10)
    await settled()

    first.cancel()
    await settled()
    hand_over.written("a", 0)
    await second

    assert not hand_over.holds("a", 1)
    assert hand_over.outstanding_bytes == 10


async def test_cancelling_in_the_moment_of_the_grant_counts_nothing() -> None:
    hand_over: HandOver[str] = HandOver(10)
    await hand_over.take("a", 0, 10)
    first, second = waiting(hand_over, "a", 1, 10), waiting(hand_over, "a", 2, 10)
    await settled()

    hand_over.written("a", 0)
    first.cancel()
    await second

    assert not hand_over.holds("a", 1)
    assert hand_over.outstanding_bytes == 10


async def test_forgetting_an_owner_frees_its_bytes_and_fails_its_waiting_callers() -> None:
    hand_over: HandOver[str] = HandOver(10)
    await hand_over.take("a", 0, 10)
    own, other = waiting(hand_over, "a", 1, 10), waiting(hand_over, "b", 0, 10)
    await settled()

    hand_over.forget("a", LookupError("gone"))

    with pytest.raises(LookupError):
        await own
    await other
    assert hand_over.outstanding_bytes == 10
    assert hand_over.holds("b", 0)


async def test_a_piece_that_was_not_handed_over_is_not_written() -> None:
    hand_over: HandOver[str] = HandOver(10)

    assert not hand_over.written("a", 0)
