"""The cluster's limit shared out: members that learn of each other late, come, go and die never take more in sum."""

from __future__ import annotations

from random import Random

import pytest

from distd.core.hub_share import LINGER_S, Company, HubShare

ALL = frozenset({"a", "b", "c", "d"})
LIMIT = 1000


def company(me: str, busy: set[str], limit: int = LIMIT) -> Company:
    return Company(me, limit, ALL, frozenset(busy))


def test_without_a_limit_there_is_none_and_nobody_is_told() -> None:
    share = HubShare("a")
    share.company_changed(company("a", set(), limit=0), 0.0)
    share.fetching(True, 1.0)
    assert (share.rate(9.0), share.is_busy(9.0)) == (0, False)


def test_a_beginner_takes_only_what_it_may_if_all_fetch_and_more_when_it_knows() -> None:
    share = HubShare("a")
    share.company_changed(company("a", set()), 0.0)
    assert share.rate(0.0) == 250
    share.fetching(True, 10.0)
    assert (share.rate(10.0), share.is_busy(10.0)) == (250, True)
    share.company_changed(company("a", {"a", "b"}), 11.0)
    assert share.rate(12.9) == 250
    assert share.rate(13.1) == 500


def test_a_pause_between_two_leases_changes_nothing() -> None:
    share = HubShare("a")
    share.company_changed(company("a", {"a"}), 0.0)
    share.fetching(True, 0.0)
    assert share.rate(10.0) == LIMIT
    share.fetching(False, 10.0)
    share.fetching(True, 10.0 + LINGER_S - 0.1)
    assert share.rate(10.0 + LINGER_S) == LIMIT
    share.fetching(False, 20.0)
    assert not share.is_busy(20.0 + LINGER_S)
    assert share.rate(20.0 + LINGER_S) == 250


def test_the_smallest_part_that_any_lead_names_counts_while_its_blob_is_filled() -> None:
    share = HubShare("a")
    share.company_changed(company("a", {"a", "b"}), 0.0)
    share.fetching(True, 0.0)
    share.lead_said("one", 333.4)
    share.lead_said("two", 600.0)
    assert share.rate(10.0) == 333
    share.filling(frozenset({"two"}))
    assert share.rate(10.0) == 500
    share.lead_said("two", 0.0)
    assert share.rate(10.0) == 500


def test_when_a_limit_is_set_all_begin_anew() -> None:
    share = HubShare("a")
    share.company_changed(company("a", {"a"}, limit=0), 0.0)
    share.fetching(True, 0.0)
    assert share.rate(100.0) == 0
    share.company_changed(company("a", set()), 100.0)
    assert share.rate(100.0) == 250


@pytest.mark.parametrize("seed", range(20))
def test_with_news_that_takes_up_to_a_round_the_sum_holds_but_for_beginners(seed: int) -> None:
    rng = Random(seed)
    shares = {name: HubShare(name) for name in ALL}
    told: dict[str, set[str]] = {name: set() for name in ALL}
    late: list[tuple[float, str, str, bool]] = []
    fetching = dict.fromkeys(ALL, False)
    was_busy = dict.fromkeys(ALL, False)
    most = 0.0
    for tick in range(1200):
        now = tick / 10
        for at, who, about, busy in [each for each in late if each[0] <= now]:
            (told[who].add if busy else told[who].discard)(about)
            late.remove((at, who, about, busy))
        for name, share in shares.items():
            if rng.random() < 0.02:
                fetching[name] = not fetching[name]
            share.fetching(fetching[name], now)
            share.company_changed(company(name, told[name]), now)
            if share.is_busy(now) is not was_busy[name]:
                was_busy[name] = not was_busy[name]
                late += [(now + rng.random(), other, name, was_busy[name]) for other in ALL]
        taking = sum(share.rate(now) for name, share in shares.items() if fetching[name])
        most = max(most, taking)
    # Three members that begin within a round, while a fourth still believes itself alone, take a quarter each.
    assert most <= LIMIT * 1.75
    assert most >= LIMIT * 0.9
