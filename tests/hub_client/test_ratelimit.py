"""Waits from headers, as pure functions."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distd.hub.ratelimit import WAIT_S_MAX, parse_rate_limit, parse_retry_after, wait_s

NOW_UNIX = 1_800_000_000.0


def test_retry_after_is_seconds_or_a_date() -> None:
    assert parse_retry_after(" 120 ", NOW_UNIX) == 120
    assert parse_retry_after(formatdate(NOW_UNIX + 7, usegmt=True), NOW_UNIX) == 7
    assert parse_retry_after(formatdate(NOW_UNIX - 7, usegmt=True), NOW_UNIX) == 0


@pytest.mark.parametrize("value", ["", "soon", "-1", "1.5", "1e3", "٣", "99999999999999999999"])
def test_a_retry_after_that_is_neither_says_nothing(value: str) -> None:
    assert parse_retry_after(value, NOW_UNIX) is None


def test_a_rate_limit_counts_only_when_nothing_remains() -> None:
    assert parse_rate_limit('"api";r=0;t=55') == 55
    assert parse_rate_limit('"api"; t = 55; r = 0') == 55
    assert parse_rate_limit('"api";r=1;t=55') is None
    assert parse_rate_limit('"api";r=10;t=55, "resolvers";r=0;t=9') == 9


def test_a_used_up_quota_without_reset_waits_for_its_window() -> None:
    assert parse_rate_limit('"api";r=0', '"fixed window";"api";q=500;w=300') == 300
    assert parse_rate_limit('"api";r=0') is None


def test_the_longest_of_the_named_waits_holds_and_is_bounded() -> None:
    assert wait_s({"Retry-After": "5", "RateLimit": '"api";r=0;t=55'}, NOW_UNIX) == 55
    assert wait_s({"Retry-After": "99", "RateLimit": '"api";r=0;t=55'}, NOW_UNIX) == 99
    assert wait_s({"Retry-After": "999999999"}, NOW_UNIX) == WAIT_S_MAX
    assert wait_s({}, NOW_UNIX) is None


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=200))
def test_no_header_text_makes_a_wait_out_of_bounds(retry_after: str, limit: str, policy: str) -> None:
    told = wait_s({"Retry-After": retry_after, "RateLimit": limit, "RateLimit-Policy": policy}, NOW_UNIX)
    assert told is None or 0 <= told <= WAIT_S_MAX


@given(st.integers(0, 3600), st.integers(1, 10_000))
def test_every_well_formed_limit_is_understood(reset_s: int, quota: int) -> None:
    assert (
        parse_rate_limit(f'"resolvers";r=0;t={reset_s}', f'"fixed window";"resolvers";q={quota};w=300')
        == reset_s
    )
