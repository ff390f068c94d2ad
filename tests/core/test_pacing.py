"""The token bucket over simulated time, and the division of one limit over two ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distd.core.pacing import (
    BURST_S,
    LINK_PER_CONTENT,
    PART_BYTES_MIN,
    PAUSE_S,
    TOKEN_SHARE,
    TokenBucket,
    divided,
)


def passed(bucket: TokenBucket, begin: float, end: float, part_bytes: int = 1 << 20) -> int:
    """Bytes that a source which never waits gets through in that time."""
    now, total = begin, 0
    while (now := now + bucket.wait_s(now)) < end:
        size = bucket.part_bytes(part_bytes)
        bucket.pay(size, now)
        total += size
    return total


@pytest.mark.parametrize("rate", [64 * 1024, 12_500_000, 25_000_000, 10**9])
def test_over_ten_seconds_the_rate_holds_within_a_burst_and_a_part(rate: int) -> None:
    bucket = TokenBucket()
    bucket.set_rate(rate, 100.0)
    total = passed(bucket, 100.0, 110.0)
    over = total * LINK_PER_CONTENT - 10 * rate
    assert 0 <= over <= (rate * BURST_S + max(PART_BYTES_MIN, 1 << 20)) * LINK_PER_CONTENT


@given(
    st.lists(
        st.tuples(st.floats(0.001, 2.0), st.sampled_from([10**5, 10**6, 10**7])), min_size=1, max_size=10
    )
)
def test_however_the_rate_changes_the_sum_holds(steps: list[tuple[float, int]]) -> None:
    bucket, now, allowed, total = TokenBucket(), 50.0, 0.0, 0
    for length_s, rate in steps:
        bucket.set_rate(rate, now)
        total += passed(bucket, now, now + length_s)
        now += length_s
        allowed += length_s * rate
    assert total <= allowed + 10**7 * BURST_S + 10**6


def test_a_pause_saves_up_no_more_than_a_burst() -> None:
    bucket = TokenBucket()
    bucket.set_rate(10**6, 0.0)
    bucket.wait_s(1000.0)
    assert passed(bucket, 1000.0, 1000.0 + 1e-9, part_bytes=20_000) <= 10**6 * BURST_S + 20_000


def test_a_raised_limit_is_felt_by_what_waits() -> None:
    bucket = TokenBucket()
    bucket.set_rate(10**5, 0.0)
    bucket.pay(10**6, 0.0)
    assert bucket.wait_s(0.0) == pytest.approx(10.0 * LINK_PER_CONTENT)
    bucket.set_rate(10**8, 1.0)
    assert bucket.wait_s(1.0) == pytest.approx(0.01 * LINK_PER_CONTENT - 0.001)
    bucket.set_rate(0, 1.0)
    assert bucket.wait_s(1.0) == 0
    assert bucket.part_bytes(1 << 20) == 1 << 20


def test_what_a_connection_holds_is_paid_for_first_and_given_back_at_its_end() -> None:
    bucket = TokenBucket()
    bucket.set_rate(10**6, 0.0)
    bucket.hold(500_000, 0.0)  # what its buffers take in
    assert bucket.wait_s(0.0) == pytest.approx(0.5 * LINK_PER_CONTENT)
    bucket.release(500_000, 0.0)
    assert bucket.wait_s(0.0) == 0


def test_connections_that_follow_each_other_cost_nothing_of_the_rate() -> None:
    bucket, now, total = TokenBucket(), 0.0, 0
    bucket.set_rate(10**6, 0.0)
    while now < 10.0:
        for _ in range(4):
            bucket.hold(200_000, now)
        part_bytes = passed(bucket, now, now + 1.0)
        total, now = total + part_bytes, now + 1.0
        for _ in range(4):  # all at once, and much more than a burst
            bucket.release(200_000, now)
    held_bytes = 4 * 200_000
    assert total * LINK_PER_CONTENT == pytest.approx(10 * 10**6 - held_bytes * LINK_PER_CONTENT, rel=0.02)


def test_what_was_held_without_a_limit_is_not_given_back_under_one() -> None:
    bucket = TokenBucket()
    held_bytes = bucket.hold(500_000, 0.0)
    bucket.set_rate(10**6, 0.0)
    bucket.hold(20_000, 0.0)  # of another connection, which goes on
    bucket.release(held_bytes, 0.0)
    assert bucket.wait_s(0.0) > 0
    bucket.release(20_000, 0.0)
    assert passed(bucket, 0.0, 1e-9, part_bytes=20_000) <= 20_000


def test_a_pause_earns_no_burst_for_the_first_transfer_after_it() -> None:
    bucket = TokenBucket()
    bucket.set_rate(10**6, 0.0)
    bucket.begin(10.0)
    bucket.pay(50_000, 10.0)
    assert bucket.wait_s(10.0) == pytest.approx(0.05 * LINK_PER_CONTENT)


def test_the_pause_between_two_spans_is_made_good() -> None:
    bucket = TokenBucket()
    bucket.set_rate(10**6, 0.0)
    bucket.pay(10_000, 10.0)
    bucket.begin(10.0 + PAUSE_S / 2)
    assert passed(bucket, 10.5, 10.5 + 1e-9, part_bytes=20_000) >= 10**6 * BURST_S
    bucket.begin(20.0)
    assert passed(bucket, 20.0, 20.0 + 1e-9, part_bytes=20_000) <= 20_000, "a longer one is not"


def test_a_bucket_without_a_limit_owes_nothing_later() -> None:
    bucket = TokenBucket()
    bucket.pay(10**9, 1.0)
    bucket.set_rate(10**6, 2.0)
    assert bucket.wait_s(2.0) == 0


@given(st.integers(1, 10**9), st.booleans(), st.booleans())
def test_a_divided_limit_is_never_exceeded_by_more_than_a_token_and_never_lifted(
    limit: int, engine: bool, small: bool
) -> None:
    shares = divided(limit, engine, small)
    assert min(shares) >= 1
    assert sum(shares) <= limit + (1 if engine and small else max(1, limit // TOKEN_SHARE))


def test_who_works_gets_the_limit() -> None:
    assert divided(1000, True, False) == (1000, 10)
    assert divided(1000, False, True) == (10, 1000)
    assert divided(1000, True, True) == (750, 250)
    assert divided(0, True, True) == (0, 0)
