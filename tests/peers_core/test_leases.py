from __future__ import annotations

import pytest

from peers.invariants import InvariantViolated
from peers.leases import (
    LEASE_PIECES_MAX,
    LEASE_S,
    LEASES_PER_MEMBER_MAX,
    OVERDUE_S,
    PROGRESS_EXPECTED_REPORTS,
    PROGRESS_EXPECTED_S,
    PROGRESS_EXPECTED_S_MAX,
    QUIET_S,
    RATE_MEMORY_S,
    SHORT_S,
    LeaseTable,
    lease_pieces,
)
from peers.messages import LeaseKey, Progress
from peers.piece_set import Span

MIB = 1 << 20


@pytest.fixture
def table() -> LeaseTable:
    return LeaseTable("lead", 7, MIB)


def test_a_lease_lasts_a_second_or_two_at_the_askers_rate() -> None:
    assert lease_pieces(100 * MIB, MIB, free_pieces=4000, fetchers=2) == 100 * LEASE_S


def test_leases_shrink_towards_the_end() -> None:
    assert lease_pieces(100 * MIB, MIB, free_pieces=40, fetchers=2) == 10
    assert lease_pieces(100 * MIB, MIB, free_pieces=1, fetchers=9) == 1


def test_an_unknown_rate_gets_a_moderate_lease_and_no_rate_an_unbounded_one() -> None:
    assert lease_pieces(0, MIB, free_pieces=4000, fetchers=1) == 1
    assert lease_pieces(0, 16 * MIB, free_pieces=4000, fetchers=1) == 1
    assert lease_pieces(1e15, MIB, free_pieces=10**6, fetchers=1) == LEASE_PIECES_MAX


def test_a_piece_is_leased_once(table: LeaseTable) -> None:
    table.grant("a", Span(0, 4), 0.0)
    with pytest.raises(InvariantViolated):
        table.grant("b", Span(3, 5), 0.0)


def test_progress_renews_and_silence_lapses_from_the_first_missing_piece(table: LeaseTable) -> None:
    lease = table.grant("a", Span(0, 4), 0.0)
    table.note("a", Progress(lease.key, Span(2, 4), 2 * MIB), 4.0)
    assert table.lapse(PROGRESS_EXPECTED_S) == ()
    assert table.taken == 0b1100
    assert table.lapse(4.0 + PROGRESS_EXPECTED_S) == (lease,)
    assert table.taken == 0


def test_reports_without_new_bytes_do_not_renew(table: LeaseTable) -> None:
    lease = table.grant("a", Span(0, 4), 0.0)
    table.note("a", Progress(lease.key, Span(0, 4), 0), 4.0)
    assert table.lapse(PROGRESS_EXPECTED_S) == (lease,)


def test_a_lapsed_span_is_taken_back_only_if_it_moved(table: LeaseTable) -> None:
    lease = table.grant("a", Span(0, 4), 0.0)
    table.lapse(10.0)
    table.note("a", Progress(lease.key, Span(0, 4), 0), 11.0)
    assert table.of("a") == ()
    table.note("a", Progress(lease.key, Span(1, 4), MIB), 12.0)
    assert [held.span for held in table.of("a")] == [Span(1, 4)]


def test_a_lapsed_span_that_another_member_got_stays_gone(table: LeaseTable) -> None:
    lease = table.grant("a", Span(0, 4), 0.0)
    table.lapse(10.0)
    table.grant("b", Span(0, 2), 10.0)
    table.note("a", Progress(lease.key, Span(1, 4), MIB), 11.0)
    assert table.of("a") == ()


def test_a_span_granted_by_an_earlier_lead_is_adopted_under_a_new_name(table: LeaseTable) -> None:
    old = LeaseKey("former", 3, 9)
    table.note("a", Progress(old, Span(5, 8), 123), 1.0)
    (adopted,) = table.of("a")
    assert (adopted.span, adopted.key.lead, adopted.key.term) == (Span(5, 8), "lead", 7)
    assert table.records[0].adopted
    table.settle("a", 0b11100000, 2.0)
    assert table.of("a") == (), (
        "what ended before its member told the new lead anything more is not leased to it once more"
    )


def test_an_adopted_span_of_pieces_that_are_held_goes_on_to_compare_them(table: LeaseTable) -> None:
    table.note("a", Progress(LeaseKey("former", 3, 9), Span(5, 8), 123), 1.0, held=0b11111111)
    table.settle("a", 0b11111111, 2.0)
    assert [lease.span for lease in table.of("a")] == [Span(5, 8)]


def test_a_member_cannot_hoard_by_reporting_invented_spans(table: LeaseTable) -> None:
    for number in range(20):
        table.note("a", Progress(LeaseKey("x", 1, number), Span(number, number + 1), 1), 0.0)
    assert len(table.of("a")) == LEASES_PER_MEMBER_MAX


def test_what_a_member_holds_is_no_longer_leased(table: LeaseTable) -> None:
    table.grant("a", Span(0, 4), 0.0)
    table.settle("a", 0b0011, 1.0)
    assert [lease.span for lease in table.of("a")] == [Span(2, 4)]
    table.settle("a", 0b1111, 2.0)
    assert table.of("a") == ()
    assert table.rate_bytes_per_s(2.0) > 0


def test_the_rate_is_what_was_expected_until_enough_was_measured(table: LeaseTable) -> None:
    table.expected_bytes_per_s = 1000.0
    assert table.rate_bytes_per_s(50.0) == 1000.0, "nothing was granted yet"
    table.grant("a", Span(0, 1), 50.0)
    assert table.rate_bytes_per_s(50.0) == 1000.0
    assert table.rate_bytes_per_s(50.0 + 10 * RATE_MEMORY_S) < 1.0, "it fades when nothing comes"


def test_pieces_fetched_again_to_compare_do_not_end_by_being_held(table: LeaseTable) -> None:
    lease = table.grant("a", Span(0, 4), 0.0, again=True)
    table.settle("a", 0b1111, 1.0)
    assert table.of("a") == (lease,)
    table.release(lease.key, "a")
    assert table.of("a") == ()


def test_nobody_releases_the_lease_of_another(table: LeaseTable) -> None:
    lease = table.grant("a", Span(0, 4), 0.0)
    table.release(lease.key, "b")
    assert table.of("a") == (lease,)


def test_a_creeping_lease_is_taken_for_somebody_idle_unless_it_is_nearly_done(table: LeaseTable) -> None:
    creeping = table.grant("a", Span(0, 4), 0.0)
    nearly = table.grant("b", Span(4, 8), 0.0)
    table.note("b", Progress(nearly.key, Span(7, 8), 4 * MIB - 1000), 9.0)
    assert table.take_overdue("c", MIB, OVERDUE_S - 1) is None
    assert table.take_overdue("a", MIB, OVERDUE_S + 1) is None, "not from oneself, and b is nearly done"
    assert table.take_overdue("c", MIB, OVERDUE_S + 1) == creeping
    assert table.take_overdue("c", MIB, OVERDUE_S + 1) is None


def test_a_creeping_lease_has_the_link_to_itself_before_it_is_taken(table: LeaseTable) -> None:
    creeping = table.grant("a", Span(0, 4), 0.0)
    table.grant("b", Span(4, 5), 0.0)
    table.settle("b", 1 << 4, OVERDUE_S + 1)
    assert table.take_overdue("b", MIB, OVERDUE_S + 1.5) is None
    assert table.take_overdue("b", MIB, OVERDUE_S + 1 + QUIET_S) == creeping


def test_a_slow_hub_is_no_reason_to_take_a_lease_from_somebody_as_fast_as_oneself(table: LeaseTable) -> None:
    lease = table.grant("a", Span(0, 4), 0.0)
    table.note("a", Progress(lease.key, Span(0, 4), MIB), OVERDUE_S + 1)
    as_fast = MIB / (OVERDUE_S + 1)
    assert table.take_overdue("c", as_fast, OVERDUE_S + 1) is None
    assert table.take_overdue("c", 8 * as_fast, OVERDUE_S + 1) == lease


def test_a_pause_of_the_hub_moves_deadlines(table: LeaseTable) -> None:
    table.grant("a", Span(0, 4), 0.0)
    table.extend_all(100.0)
    assert table.lapse(100.0) == ()
    assert table.deadline() == 100.0 + PROGRESS_EXPECTED_S


def test_the_dead_hold_nothing(table: LeaseTable) -> None:
    table.grant("a", Span(0, 4), 0.0)
    table.drop_member("a")
    assert (table.taken, table.holders) == (0, frozenset())


def test_a_lapse_that_went_unnoticed_violates(table: LeaseTable) -> None:
    table.grant("a", Span(0, 4), 0.0)
    table.check(PROGRESS_EXPECTED_S)
    with pytest.raises(InvariantViolated):
        table.check(PROGRESS_EXPECTED_S + 2)


def test_where_reports_come_seldom_progress_is_waited_for_longer_and_not_for_ever(table: LeaseTable) -> None:
    table.grant("a", Span(0, 1), 0.0)
    table.reported("b", 100.0)  # it fetches nothing: when it reports is no matter
    assert table.deadline() == PROGRESS_EXPECTED_S
    table.reported("a", 3.0)
    assert table.deadline() == 3.0 * PROGRESS_EXPECTED_REPORTS
    table.reported("a", 100.0)
    assert table.deadline() == PROGRESS_EXPECTED_S_MAX
    for _ in range(100):
        table.reported("a", 1.0)
    table.grant("a", Span(1, 2), 0.0)
    assert table.deadline() == PROGRESS_EXPECTED_S


def test_only_a_lease_that_ends_in_a_moment_makes_room_for_the_next(table: LeaseTable) -> None:
    slow = table.grant("a", Span(0, 1), 0.0)
    fast = table.grant("b", Span(1, 2), 0.0)
    assert table.busy(0.5) == 2
    table.note("a", Progress(slow.key, Span(0, 1), MIB // 20), 1.0)
    table.note("b", Progress(fast.key, Span(1, 2), MIB // 2), 1.0)
    assert (table.busy(1.0), table.busy(1.0, "a"), table.busy(1.0, "b")) == (1, 1, 0)
    assert table.busy(21.0, "a") == 0, "by its pace it is through by now"
    several = table.grant("c", Span(2, 4), 1.0)
    table.note("c", Progress(several.key, Span(2, 4), MIB // 2), 2.0)
    assert table.busy(2.0, "c") == 1


def test_a_lease_that_is_over_before_a_report_on_it_makes_room_from_the_start(table: LeaseTable) -> None:
    table.grant("a", Span(0, 1), 0.0, expected_s=SHORT_S)
    table.grant("b", Span(1, 2), 0.0, expected_s=2 * SHORT_S)
    table.grant("c", Span(2, 4), 0.0, expected_s=SHORT_S)
    table.grant("d", Span(4, 5), 0.0, expected_s=SHORT_S, again=True)
    assert [table.busy(0.0, member) for member in "abcd"] == [0, 1, 1, 1], "nor one to compare"
