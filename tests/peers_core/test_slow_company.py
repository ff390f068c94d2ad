from __future__ import annotations

import pytest

from peers.slow_company import IDLE_S, MEASURED_S, WINDOW_S, SlowCompany

MB = 1_000_000


@pytest.fixture
def company() -> SlowCompany:
    """Members send a megabyte a second, in pieces of one."""
    company = SlowCompany()
    for second in range(30):
        company.took_in(MB, float(second))
    return company


def slower(company: SlowCompany, lacks_mb: float, hub_mb_per_s: float, now: float = 29.0) -> bool:
    return company.slower(int(lacks_mb * MB), MB // 10, now, hub_mb_per_s * MB, now) is not None


def test_the_hub_is_quicker_when_waiting_takes_twice_as_long_and_some_seconds_more(
    company: SlowCompany,
) -> None:
    outpaced = company.slower(30 * MB, MB // 10, 29.0, 10 * MB, 29.0)
    assert outpaced is not None
    assert (outpaced.wait_s, outpaced.fetch_s) == (pytest.approx(30, rel=0.05), pytest.approx(3))


@pytest.mark.parametrize(("lacks_mb", "hub_mb_per_s"), [(3, 100), (30, 2), (30, 0)])
def test_little_is_waited_for_and_so_is_what_the_hub_would_not_bring_much_sooner(
    company: SlowCompany, lacks_mb: float, hub_mb_per_s: float
) -> None:
    assert not slower(company, lacks_mb, hub_mb_per_s)


def test_once_begun_it_goes_on_until_little_is_left(company: SlowCompany) -> None:
    assert slower(company, 10, 10)
    assert slower(company, 1, 10)
    assert not slower(company, 0.4, 10)
    assert not slower(company, 3, 10), "and begins anew only where it is worth it"


def test_nothing_is_concluded_before_a_swarm_had_time_to_begin() -> None:
    company = SlowCompany()
    assert company.slower(900 * MB, MB, MEASURED_S - 0.1, 50 * MB, 5.0) is None
    assert company.slower(900 * MB, MB, MEASURED_S, 50 * MB, 5.0) is not None


def test_a_piece_that_may_be_whole_in_a_moment_counts() -> None:
    company = SlowCompany()
    assert company.slower(16 * MB, 16 * MB, 60.0, 10 * MB, 60.0) is None, "it can be one that is on its way"
    assert company.slower(160 * MB, 16 * MB, 60.0, 10 * MB, 60.0) is not None


def test_what_came_before_the_window_is_forgotten_and_takes_no_memory(company: SlowCompany) -> None:
    for tenth in range(1000):
        company.took_in(MB, 30.0 + tenth / 1000)
    assert len(company._came) <= 2 * WINDOW_S / 0.25
    assert not slower(company, 30, 100, now=31.0), "a thousand came within a second"
    assert slower(company, 30, 100, now=31.0 + WINDOW_S)


def test_first_copies_go_first() -> None:
    company = SlowCompany()
    assert not company.is_idle(100.0), "nothing is known yet"
    company.first_copies(left=False, now=100.0)
    company.first_copies(left=False, now=100.4)
    assert (company.is_idle(100.0 + IDLE_S - 0.1), company.is_idle(100.0 + IDLE_S)) == (False, True)
    company.first_copies(left=True, now=101.0)
    assert not company.is_idle(200.0)
