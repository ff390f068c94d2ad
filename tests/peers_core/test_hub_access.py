from __future__ import annotations

from peers.hub_access import PAUSE_S_MAX, RETRY_S_MAX, HubAccess
from peers.member_events import SpanFailure


def test_without_hub_fetch_nothing_is_asked() -> None:
    assert not HubAccess(may_fetch=False).open(0.0)


def test_a_refusal_of_the_repo_lasts_until_access_changes() -> None:
    access = HubAccess(may_fetch=True)
    access.failed(SpanFailure.ACCESS_DENIED, 0.0, 0.0)
    assert (access.may_fetch, access.open(1e9)) == (False, False)
    access.set(may_fetch=True)
    assert access.open(0.0)


def test_failures_back_off_by_doubling_up_to_a_limit_and_success_resets() -> None:
    access = HubAccess(may_fetch=True)
    waits = []
    for _ in range(7):
        access.failed(SpanFailure.HUB_UNREACHABLE, 0.0, 0.0)
        waits.append(access.retry_s(0.0))
    assert waits == [1, 2, 4, 8, 16, RETRY_S_MAX, RETRY_S_MAX]
    access.succeeded()
    access.failed(SpanFailure.HUB_UNREACHABLE, 0.0, 100.0)
    assert access.retry_s(100.0) == 1


def test_a_pause_closes_access_and_is_bounded() -> None:
    access = HubAccess(may_fetch=True)
    access.failed(SpanFailure.RATE_LIMITED, 10.0, 0.0)
    assert (access.open(9.9), access.open(10.0), access.pause_s(4.0)) == (False, True, 6.0)
    access.pause(1e9, 0.0)
    assert access.pause_s(0.0) == PAUSE_S_MAX


def test_a_share_is_told_when_it_changes() -> None:
    access = HubAccess(may_fetch=True)
    assert [access.take_share(rate) for rate in (0.0, 5.0, 5.0, 0.0)] == [False, True, False, True]
