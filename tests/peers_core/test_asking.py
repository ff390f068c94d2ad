from __future__ import annotations

import pytest

from peers.asking import (
    ANSWER_LOST_S,
    GRACE_S,
    GRACE_S_MAX,
    NEWS_TOLD_AFTER_S,
    NOTHING_TO_DO_S,
    RETRY_AFTER_S,
    Asking,
)
from peers.following import Following
from peers.hub_link import HubLink
from peers.ledger import Ledger
from peers.messages import LeadRefusal, LeadRequest
from tests.peers_core.builders import PIECES, answer, claim, report


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(PIECES)


@pytest.fixture
def asking(ledger: Ledger) -> Asking:
    return Asking(Following("blob", "me", frozenset({"me"})), "me", ledger)


def ask(asking: Asking, now: float, may_wait: bool = True) -> LeadRequest:
    told = report("me", claims=asking.claims_to_tell())
    return asking.request(told, HubLink(), 1, may_wait, now)[1]


def reply(asking: Asking, now: float, **facts: object) -> bool:
    taken = asking.answered(answer(sequence=asking.sequence, **{"lead": "me", **facts}), now)
    if taken:
        asking.merged()
    return taken


def test_the_first_request_goes_out_at_once_and_does_not_wait(asking: Asking) -> None:
    assert asking.due_at(0.0) <= 0.0
    assert ask(asking, 0.0).wait_s == 0.0


def test_after_a_synced_answer_the_next_request_waits_for_news(asking: Asking) -> None:
    ask(asking, 0.0)
    assert reply(asking, 0.1, version=3, term=5)
    assert asking.due_at(0.1) <= 0.1
    request = ask(asking, 0.1)
    assert (request.wait_s, request.version, request.version_term, request.last_term) == (1.0, 3, 5, 5)


def test_an_answer_to_a_replaced_request_is_ignored(asking: Asking) -> None:
    ask(asking, 0.0)
    ask(asking, 0.1)
    assert not asking.answered(answer(sequence=1), 0.2)
    assert asking.answered(answer(sequence=2), 0.2)
    assert not asking.answered(answer(sequence=2), 0.3), "nor is a repeated one taken twice"


def test_news_replaces_a_waiting_request_soon_but_not_at_once(asking: Asking, ledger: Ledger) -> None:
    ask(asking, 0.0)
    reply(asking, 0.0)
    ask(asking, 1.0)
    assert asking.due_at(1.0) == 1.0 + 1.0 + GRACE_S + ANSWER_LOST_S
    ledger.merge([claim(0, "me")])
    asking.learned([claim(0, "me")])
    assert asking.due_at(1.0) == 1.0 + NEWS_TOLD_AFTER_S


def test_a_member_with_nothing_to_do_says_so_nearly_at_once_and_only_once(asking: Asking) -> None:
    ask(asking, 0.0)
    reply(asking, 0.0)
    ask(asking, 1.0)
    asking.news = asking.nothing_to_do = True
    assert asking.due_at(1.0) == 1.0 + NOTHING_TO_DO_S
    ask(asking, 1.1)
    asking.news = True
    assert asking.due_at(1.1) == 1.1 + NEWS_TOLD_AFTER_S


def test_claims_are_told_until_an_answer_confirms_them(asking: Asking, ledger: Ledger) -> None:
    ledger.merge([claim(0, "me")])
    asking.learned([claim(0, "me")])
    assert ask(asking, 0.0).report.claims == (claim(0, "me"),)
    asking.failed(asking.sequence, 1.0)
    assert ask(asking, 2.0).report.claims == (claim(0, "me"),)
    reply(asking, 2.1)
    assert asking.claims_to_tell() == ()


def test_a_new_lead_is_told_own_claims_at_once_and_others_once_it_told_its_own(
    asking: Asking, ledger: Ledger
) -> None:
    ask(asking, 0.0)
    reply(asking, 0.0, lead="old")
    ledger.merge([claim(0, "me"), claim(1, "x"), claim(2, "y")])
    ask(asking, 1.0)
    reply(asking, 1.0, lead="new", synced=False, claims=(claim(1, "x"),))
    assert asking.claims_to_tell() == (claim(0, "me"),)
    ask(asking, 1.1)
    reply(asking, 1.1, lead="new", synced=True)
    assert asking.claims_to_tell() == (claim(2, "y"),)


def test_nothing_is_told_to_a_lead_that_knows_the_same(asking: Asking, ledger: Ledger) -> None:
    ledger.merge([claim(1, "x")])
    ask(asking, 0.0)
    reply(asking, 0.0, claims_fingerprint=ledger.claims_fingerprint)
    assert asking.claims_to_tell() == ()
    assert asking.all_told(0.0)


def test_versions_of_one_lead_mean_nothing_to_another(asking: Asking) -> None:
    ask(asking, 0.0)
    reply(asking, 0.0, lead="old", version=9)
    assert ask(asking, 1.0).version == 0, "the next target is another member"


def test_failures_and_refusals_are_retried_after_a_moment(asking: Asking) -> None:
    ask(asking, 0.0)
    asking.failed(asking.sequence, 1.0)
    assert asking.due_at(1.0) == 1.0 + RETRY_AFTER_S
    ask(asking, 2.0)
    asking.refused(LeadRefusal(asking.sequence, "x", "y"), 3.0)
    assert asking.due_at(3.0) == 3.0 + RETRY_AFTER_S
    asking.failed(99, 4.0)
    assert asking.due_at(4.0) == 3.0 + RETRY_AFTER_S


def test_a_published_member_has_told_all_only_to_the_lead_it_follows_now(asking: Asking) -> None:
    ask(asking, 0.0, may_wait=False)
    reply(asking, 0.0, lead="me")
    assert asking.all_told(0.0)
    asking.following.refused("me", "other", 0.0)
    assert not asking.all_told(0.0)


def test_a_lead_that_answers_late_is_told_news_less_often_and_waited_for_until_it_is_quick_again(
    asking: Asking,
) -> None:
    assert asking.grace_s == GRACE_S
    ask(asking, 0.0)
    reply(asking, 3.0)
    ask(asking, 3.0)
    asking.news = True
    assert (asking.due_at(3.0), asking.grace_s) == (3.0 + 3.0 / 2, 3 * 3.0)
    now = 3.0
    for _ in range(20):
        ask(asking, now)
        reply(asking, now)
        now += 1.0
    ask(asking, now)
    asking.news = True
    assert (asking.due_at(now), asking.grace_s) == (now + NEWS_TOLD_AFTER_S, GRACE_S)


def test_an_answer_that_did_not_come_is_waited_for_longer_the_next_time_and_not_for_ever(
    asking: Asking,
) -> None:
    ask(asking, 0.0)
    reply(asking, 2.0)
    for expected_s in (6.0, GRACE_S_MAX):
        assert asking.grace_s == expected_s
        ask(asking, 2.0)
        asking.failed(asking.sequence, 2.0)
        asking.following.answered()  # else the lead is passed over
    ask(asking, 5.0)
    reply(asking, 5.0)
    assert asking.grace_s < 6.0


def test_news_do_not_replace_each_request_before_a_slow_lead_can_answer_it(asking: Asking) -> None:
    now, waited = 0.0, []
    for _ in range(40):
        ask(asking, now)
        asking.news = True
        waited.append(asking.due_at(now) - now)
        now = asking.due_at(now)
    assert waited[0] == pytest.approx(NEWS_TOLD_AFTER_S)
    assert max(waited) > 4.0
