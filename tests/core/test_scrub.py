from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from distd.core.scrub import (
    MARGIN,
    RATE_MAX_BYTES_PER_S,
    RATE_MIN_BYTES_PER_S,
    Due,
    next_due,
    rate_bytes_per_s,
)

DAY_S = 86_400.0


def test_the_file_that_waits_longest_is_next_and_none_before_its_time() -> None:
    checked = {"a": 50.0, "b": 10.0, "c": 30.0}
    assert next_due(checked, 100.0, 110.0) == Due("b", 110.0)
    assert next_due(checked, 100.0, 109.0) == Due(None, 110.0)
    assert next_due({}, 100.0, 5.0) == Due(None, 105.0)


def test_a_clock_that_was_set_back_delays_by_an_interval_at_most() -> None:
    assert next_due({"a": 5000.0}, 100.0, 10.0).at == 110.0


@given(st.dictionaries(st.text("abc", max_size=3), st.floats(0, DAY_S), max_size=6), st.floats(60, 2 * DAY_S))
def test_over_two_intervals_every_file_is_checked_and_none_twice_within_one(
    checked: dict[str, float], interval_s: float
) -> None:
    began = now = DAY_S
    looked: dict[str, list[float]] = {etag: [at] for etag, at in checked.items()}
    while checked and now < began + 2 * interval_s:
        due = next_due(checked, interval_s, now)
        if due.etag is None:
            now = due.at
            continue
        checked[due.etag] = now
        looked[due.etag].append(now)
    for times in looked.values():
        assert len(times) >= 2
        assert all(later - earlier >= interval_s * 0.999 for earlier, later in pairwise(times))


@given(st.integers(0, 10**15), st.floats(60, 100 * DAY_S))
def test_the_rate_is_bounded_and_twice_what_the_interval_demands(
    stored_bytes: int, interval_s: float
) -> None:
    rate = rate_bytes_per_s(stored_bytes, interval_s)
    assert RATE_MIN_BYTES_PER_S <= rate <= RATE_MAX_BYTES_PER_S
    assert rate in (RATE_MIN_BYTES_PER_S, RATE_MAX_BYTES_PER_S, MARGIN * stored_bytes / interval_s)
