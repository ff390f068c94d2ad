"""When a pull will be published: the slowest part decides, what is unknown stays unknown."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distd.core.estimate import (
    FILES_MANY,
    RANGE_MAX,
    Cap,
    Estimate,
    Load,
    Part,
    Said,
    Source,
    Speed,
    Speeds,
    before_pull,
    error_ratio,
    estimate,
    run_down,
)

ALONE = Load(local_bytes=1000, hub_bytes=1000, unhashed_bytes=1000, backlog_bytes=0)
SPEEDS = Speeds(local=Speed(100, 0.1), hub=Speed(100, 0.1), hashing=Speed(1e6, 0.1), finish_s=1.0)


def found(load: Load, speeds: Speeds) -> Estimate:
    answer = estimate(load, speeds)
    assert answer is not None
    return answer


def test_a_lone_node_waits_for_the_hub_and_then_publishes() -> None:
    answer = found(ALONE, SPEEDS)
    assert answer.eta_s == pytest.approx(11.0)
    assert (answer.low_s, answer.high_s) == (pytest.approx(10.0), pytest.approx(12.0))
    assert answer.limited_by == "hub"


def test_a_newcomer_catches_up_and_then_waits_for_the_hub_with_the_others() -> None:
    load = replace(ALONE, local_bytes=1000, hub_bytes=700)
    answer = found(load, replace(SPEEDS, local=Speed(500, 0.1), hub=Speed(50, 0.1)))
    assert (answer.eta_s, answer.limited_by) == (pytest.approx(15.0), "hub")


def test_what_members_hold_is_limited_by_what_they_send() -> None:
    load = replace(ALONE, hub_bytes=0)
    answer = found(load, replace(SPEEDS, hub=None, from_peers=1.0))
    assert (answer.eta_s, answer.limited_by) == (pytest.approx(11.0), "peer")
    assert found(load, replace(SPEEDS, hub=None, from_peers=0.5)).limited_by == "intake"


def test_hashing_decides_where_it_is_slower() -> None:
    speeds = replace(SPEEDS, hashing=Speed(20, 0.1))
    load = replace(ALONE, unhashed_bytes=1400, backlog_bytes=400)
    assert found(load, speeds) == found(replace(load, local_bytes=0, hub_bytes=0), speeds)
    assert found(load, speeds).limited_by == "hashing"
    assert found(load, replace(speeds, disk_bound=True)).limited_by == "disk"


def test_the_published_moment_is_estimated_so_what_arrived_out_of_order_is_hashed_after_the_last_byte() -> (
    None
):
    load = Load(local_bytes=1000, hub_bytes=1000, unhashed_bytes=1600, backlog_bytes=600)
    answer = found(load, replace(SPEEDS, hashing=Speed(200, 0.1)))
    assert answer.eta_s == pytest.approx(10 + 3 + 1)


def test_what_is_not_known_is_not_guessed() -> None:
    assert estimate(ALONE, replace(SPEEDS, local=None, hub=None)) is None
    assert estimate(ALONE, replace(SPEEDS, local=Speed(0, 0.1), hub=Speed(0, 0.1))) is None
    assert estimate(replace(ALONE, hub_bytes=700), replace(SPEEDS, local=Speed(500, 0.1), hub=None)) is None
    assert estimate(Load(0, 0, 10, 10), replace(SPEEDS, hashing=None)) is None


def test_nothing_left_is_only_the_publishing() -> None:
    assert found(Load(0, 0, 0, 0), SPEEDS).eta_s == pytest.approx(1.0)


def test_a_limit_that_binds_is_named_and_what_is_behind_it_not_guessed() -> None:
    answer = found(ALONE, replace(SPEEDS, caps=(Cap(0, 105.0), Cap(8, None))))
    assert (answer.eta_s, answer.limited_by) == (pytest.approx(11.0), "limit")
    assert found(ALONE, replace(SPEEDS, caps=(Cap(0, 1000.0),))).limited_by == "hub"


def test_a_window_that_will_slow_it_down_is_counted_with() -> None:
    answer = found(ALONE, replace(SPEEDS, caps=(Cap(0, None), Cap(4, 20.0))))
    assert answer.eta_s == pytest.approx(4 + 600 / 20 + 1)
    assert answer.limited_by == "limit"


def test_a_window_that_opens_lets_the_rest_through() -> None:
    answer = found(ALONE, replace(SPEEDS, caps=(Cap(0, 10.0), Cap(20, None))))
    assert answer.eta_s == pytest.approx(20 + 800 / 100 + 1)


def test_many_small_files_are_counted_and_not_weighed() -> None:
    load = Load(
        local_bytes=1000, hub_bytes=1000, unhashed_bytes=1000, backlog_bytes=0, files=600, file_bytes=300
    )
    speeds = replace(SPEEDS, files=Speed(30, 0.1))
    assert (found(load, speeds).eta_s, found(load, speeds).limited_by) == (pytest.approx(21.0), "files")
    assert found(replace(load, files=90), speeds).limited_by == "hub"
    alone = replace(load, local_bytes=300, hub_bytes=300)
    assert found(alone, replace(speeds, local=None, hub=None)).eta_s == pytest.approx(21.0)


def test_how_fast_many_small_files_come_is_not_guessed_and_of_a_few_it_does_not_matter() -> None:
    load = replace(ALONE, files=FILES_MANY, file_bytes=300)
    assert estimate(load, SPEEDS) is None
    assert found(replace(load, files=FILES_MANY - 1), SPEEDS) == found(ALONE, SPEEDS)


def test_past_the_end_of_a_limit_the_link_gives_what_it_gave_without() -> None:
    speeds = replace(SPEEDS, hub=Speed(10, 0.1), local=Speed(10, 0.1), caps=(Cap(0, 10.0), Cap(20, None)))
    assert found(ALONE, speeds).eta_s == pytest.approx(100 + 1)
    assert found(ALONE, replace(speeds, link=100.0)).eta_s == pytest.approx(20 + 800 / 100 + 1)
    slower = replace(speeds, hub=Speed(5, 0.1), local=Speed(5, 0.1), link=100.0)
    assert found(ALONE, slower).eta_s == pytest.approx(200 + 1)  # it was not the limit that held it


def test_before_a_pull_both_ways_are_used_side_by_side_and_an_unmeasured_one_is_unknown() -> None:
    hub, peers = Source(Speed(100, 0.25), None), Source(Speed(500, 0.25), None)
    nothing, unknown = Part(), Source(None, None)
    answer = before_pull(Part(1000), Part(1000), hub, peers, SPEEDS, 0.5)
    assert answer is not None
    assert (answer.eta_s, answer.limited_by) == (pytest.approx(11.5), "hub")
    assert before_pull(Part(1000), nothing, unknown, peers, SPEEDS, 0.5) is None
    assert before_pull(nothing, Part(1000), unknown, unknown, SPEEDS, 0.5) is None
    assert before_pull(nothing, nothing, unknown, unknown, SPEEDS, 0.0) is not None


def test_before_a_pull_small_files_are_counted_by_what_their_source_gave() -> None:
    many = Part(600, 600, 600)
    answer = before_pull(
        many + Part(1000), Part(), Source(Speed(100, 0.2), Speed(20, 0.2)), Source(None, None), SPEEDS, 0.0
    )
    assert answer is not None
    assert (answer.eta_s, answer.limited_by) == (pytest.approx(31.0), "files")
    only_files, only_large = Source(None, Speed(20, 0.2)), Source(Speed(100, 0.2), None)
    assert before_pull(many, Part(), only_files, only_large, SPEEDS, 0.0) is not None
    assert before_pull(many + Part(1), Part(), only_files, only_large, SPEEDS, 0.0) is None
    assert before_pull(many, Part(), only_large, only_files, SPEEDS, 0.0) is None
    assert before_pull(Part(), many, only_files, only_large, SPEEDS, 0.0) is None


def test_time_runs_down_while_nothing_new_is_seen_and_stops_at_zero() -> None:
    assert run_down(Estimate(10, 8, 12, "hub"), 5) == Estimate(5, 4, 6, "hub")
    assert run_down(Estimate(10, 8, 12, "hub"), 50) == Estimate(0, 0, 0, "hub")


def test_an_estimate_is_scored_by_its_share_of_the_truth() -> None:
    said = Said(at=0.0, done_share=0.5, eta_s=12.0, low_s=11.0, high_s=13.0)
    assert error_ratio(said, 10.0) == pytest.approx(0.2)
    assert error_ratio(replace(said, done_share=0.05), 10.0) is None
    assert error_ratio(said, 0.5) is None


Speeding = st.one_of(st.none(), st.builds(Speed, st.floats(0, 1e12), st.floats(0, 2)))
Bytes = st.integers(0, 10**15)
Caps = st.lists(st.tuples(st.floats(0, 1e6), st.one_of(st.none(), st.floats(0, 1e9))), max_size=5)


@given(
    st.builds(Load, Bytes, Bytes, Bytes, Bytes, st.integers(0, 10**6), Bytes),
    Speeding,
    Speeding,
    Speeding,
    Speeding,
    Caps,
    st.floats(0, 100),
)
def test_an_estimate_is_never_negative_and_within_its_range(
    load: Load,
    local: Speed | None,
    hub: Speed | None,
    hashing: Speed | None,
    files: Speed | None,
    caps: list[tuple[float, float | None]],
    finish_s: float,
) -> None:
    ordered = tuple(Cap(*cap) for cap in sorted(caps, key=lambda cap: cap[0]))
    answer = estimate(load, Speeds(local, hub, hashing, files, finish_s=finish_s, caps=ordered))
    if answer is not None:
        assert 0 <= answer.low_s <= answer.eta_s <= answer.high_s
        assert answer.high_s - answer.eta_s <= RANGE_MAX * answer.eta_s * (1 + 1e-9) + 1e-9
