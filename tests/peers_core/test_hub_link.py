from __future__ import annotations

import pytest

from peers.hub_link import ANSWER_AWAITED_S, BEHIND_S_MAX, INTAKE_MEASURED_S, SPANS_MAX, HubLink
from peers.slow_company import IDLE_S


@pytest.fixture
def link() -> HubLink:
    """Two blobs, the second wanted after the first."""
    link = HubLink()
    link.join("first", (0,), 0.0)
    link.join("second", (1,), 0.0)
    return link


def test_the_first_blob_has_the_link_to_itself_while_pieces_of_it_are_to_be_had(link: HubLink) -> None:
    assert (link.room("first", 0.0), link.room("second", 0.0)) == (SPANS_MAX, 0)
    link.note("first", active=2, busy=2, wants=True, now=1.0)
    assert (link.room("first", 1.0), link.room("second", 1.0)) == (SPANS_MAX - 2, 0)


def test_a_later_blob_gets_what_the_first_leaves(link: HubLink) -> None:
    link.note("first", active=2, busy=2, wants=True, now=1.0)
    assert link.note("first", active=2, busy=1, wants=False, now=2.0), "others may use it"
    assert link.room("second", 2.0) == SPANS_MAX - 1


def test_a_span_at_its_last_piece_leaves_room_for_the_next(link: HubLink) -> None:
    link.note("first", active=1, busy=1, wants=True, now=1.0)
    assert link.note("first", active=1, busy=0, wants=True, now=2.0)
    assert link.room("first", 2.0) == SPANS_MAX


def test_order_decides_and_not_who_came_first(link: HubLink) -> None:
    link.join("urgent", (-1,), 5.0)
    assert link.room("urgent", 5.0) == SPANS_MAX
    assert link.room("first", 5.0) == 0


def test_a_blob_whose_lead_is_silent_does_not_hold_up_the_others(link: HubLink) -> None:
    assert link.room("second", ANSWER_AWAITED_S) == SPANS_MAX
    link.heard("first", ANSWER_AWAITED_S)
    assert link.room("second", ANSWER_AWAITED_S) == 0


def test_another_blob_of_the_same_pull_is_better_than_taking_over_a_slow_one(link: HubLink) -> None:
    assert link.others_want("first", 0.0)
    assert not link.others_want("first", ANSWER_AWAITED_S), "nothing is known about it"
    link.note("second", active=1, busy=1, wants=False, now=1.0)
    assert not link.others_want("first", 1.0)
    link.join("third", (0,), 1.0)
    assert link.others_want("first", 1.0)
    link.join("of another pull", (5, 1, 0), 1.0)
    assert not link.others_want("of another pull", 1.0)


def test_an_ended_blob_uses_nothing(link: HubLink) -> None:
    link.note("first", active=3, busy=3, wants=True, now=1.0)
    assert link.leave("first")
    assert not link.leave("first")
    assert (link.room("first", 1.0), link.room("second", 1.0)) == (0, SPANS_MAX)


def test_the_rate_is_that_of_all_blobs_and_stays_while_nothing_is_fetched(link: HubLink) -> None:
    assert link.rate_bytes_per_s == 0
    link.note("first", active=1, busy=1, wants=True, now=10.0)
    for second in range(1, 20):
        link.arrived(1000, 10.0 + second)
    assert link.rate_bytes_per_s == pytest.approx(1000)
    link.note("first", active=0, busy=0, wants=False, now=29.0)
    link.note("second", active=1, busy=1, wants=True, now=500.0)
    link.arrived(1000, 501.0)
    assert link.rate_bytes_per_s == pytest.approx(1000)


def test_a_member_is_behind_by_what_it_lacks_at_the_rate_at_which_it_gets_it(link: HubLink) -> None:
    assert link.behind_s(0.0) == 0.0
    link.lacks("first", 20_000, 0.0)
    assert link.behind_s(INTAKE_MEASURED_S - 0.1) == 0.0, "the first pieces are on their way"
    assert link.behind_s(INTAKE_MEASURED_S) == BEHIND_S_MAX, "nothing has come"
    link.took_in(1000, INTAKE_MEASURED_S)
    assert link.behind_s(INTAKE_MEASURED_S) == pytest.approx(20, rel=0.2)
    for second in range(2, 30):
        link.took_in(1000, float(second))
    assert link.behind_s(29.0) == pytest.approx(20, rel=0.2)
    link.lacks("second", 20_000, 29.0)
    assert link.behind_s(29.0) == pytest.approx(40, rel=0.2)
    link.leave("first")
    assert link.behind_s(29.0) == pytest.approx(20, rel=0.2)


def after_half(link: HubLink, own_bytes: int, news_bytes: int, seconds: range) -> None:
    """Every second so much comes here, and so much is new to the swarm, of whose blob half was there before."""
    for second in seconds:
        link.knows("first", 500_000 + news_bytes * (second - seconds.start), float(second))
        link.took_in(own_bytes, float(second))
        link.lacks("first", 500_000 + (news_bytes - own_bytes) * (second - seconds.start), float(second))


def test_who_came_late_and_keeps_up_with_what_is_new_is_not_behind(link: HubLink) -> None:
    after_half(link, 10_000, 10_000, range(1, 20))
    assert link.behind_s(19.0) == 0.0
    slow = HubLink()
    slow.join("first", (), 0.0)
    after_half(slow, 1_000, 10_000, range(1, 20))
    assert slow.behind_s(19.0) > 300


def test_who_is_slow_is_not_quick_where_nothing_is_new_any_more(link: HubLink) -> None:
    after_half(link, 1_000, 10_000, range(1, 20))
    link.lacks("first", 500_000, 20.0)
    for second in range(20, 40):
        link.took_in(1_000, float(second))
    assert link.behind_s(39.0) > 300


def test_what_this_member_fetches_itself_counts_as_taken_in(link: HubLink) -> None:
    for second in range(1, 20):
        link.knows("first", 10_000 * second, float(second))
        link.took_in(2_000, float(second))
        link.arrived(4_000, float(second))
        link.lacks("first", 500_000, float(second))
    assert link.behind_s(19.0) == 0.0


def test_a_member_whose_way_to_the_hub_is_much_wider_than_that_to_members_is_not_behind(
    link: HubLink,
) -> None:
    for second in range(30):
        link.took_in(1000, float(second))
    link.lacks("first", 20_000, 0.0)
    assert link.behind_s(29.0) == pytest.approx(20, rel=0.2)
    link.arrived(100_000, 1.0)
    assert link.behind_s(29.0) == 0.0
    assert link.outpaces_members(29.0) is None, "there may be pieces that nobody has"
    for blob in ("first", "second"):
        link.note(blob, active=0, busy=0, wants=False, now=29.0)
    assert link.outpaces_members(29.0 + IDLE_S) is not None


def test_a_pull_that_lacks_what_members_have_holds_less_urgent_ones_back() -> None:
    link = HubLink()
    link.join("bulk", (0, 1, 0), 0.0)
    link.join("also", (0, 2, 0), 0.0)
    link.join("urgent", (-10, 3, 0), 0.0)
    link.lacks("bulk", 90_000_000, 0.0)
    assert link.held_back(0.0) == frozenset(), "nobody holds its like back"
    for second in range(30):
        link.took_in(10_000_000, float(second))
    link.lacks("urgent", 1_000_000, 0.0)
    assert link.held_back(29.0) == frozenset(), "that little is on its way"
    link.lacks("urgent", 40_000_000, 0.0)
    assert link.held_back(29.0) == {"bulk", "also"}
    assert link.behind_s(29.0) == pytest.approx(4, rel=0.2), "what is held back does not make a member slow"
    link.leave("urgent")
    assert link.held_back(29.0) == frozenset()
