"""How long to wait before trying again."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from distd.core.backoff import BACKOFF_FIRST_S, BACKOFF_MAX_S, backoff_s


@given(st.integers(1, 10_000), st.integers())
def test_a_wait_lies_in_the_upper_half_of_its_doubling_ceiling(failures: int, seed: int) -> None:
    ceiling = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(failures - 1, 16))
    assert ceiling / 2 <= backoff_s(failures, Random(seed)) <= ceiling


def test_the_first_wait_is_under_half_a_second_and_the_longest_under_fifteen() -> None:
    rng = Random(1)
    assert all(backoff_s(1, rng) <= 0.5 for _ in range(100))
    assert all(7.5 <= backoff_s(50, rng) <= 15.0 for _ in range(100))


def test_nodes_that_failed_together_do_not_return_together() -> None:
    assert len({backoff_s(5, Random(seed)) for seed in range(100)}) == 100


def test_the_same_seed_gives_the_same_waits() -> None:
    assert [backoff_s(n, Random(7)) for n in range(1, 9)] == [backoff_s(n, Random(7)) for n in range(1, 9)]
