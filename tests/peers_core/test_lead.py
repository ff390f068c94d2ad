from __future__ import annotations

import pytest

from peers import rendezvous
from peers.fetch_turns import FETCHERS_ALWAYS
from peers.lead import JOINER_AWAITED_S, MOSTLY_SILENT_S, REPORTS_AWAITED_S, STARTING_S, Lead
from peers.lead_events import (
    Answer,
    LeadAction,
    LeadTicked,
    LiveMembersChanged,
    ProbeAnswered,
    ProbeMember,
    Refuse,
)
from peers.leases import PROGRESS_EXPECTED_S
from peers.ledger import BLAMED_PIECES_MIN, Ledger
from peers.messages import LeadAnswer, LeaseKey, Progress, SwarmPhase
from peers.piece_set import Span
from peers.silence import SILENT_REPORTS
from peers.standing import COMPANY_MIN
from peers.waves import CLAIMS_GAP_S, NEWS_GAP_S
from tests.peers_core.builders import MIB, PIECES, ask, claim, held, lead_of, report

FIRST, SECOND, THIRD = rendezvous.order("blob", ["a", "b", "c"])
EVERYTHING = range(PIECES)


def answers(actions: list[LeadAction]) -> list[LeadAnswer]:
    return [action.answer for action in actions if isinstance(action, Answer)]


def one_answer(actions: list[LeadAction]) -> LeadAnswer:
    (only,) = answers(actions)
    return only


def spans(answer: LeadAnswer) -> list[Span]:
    return [lease.span for lease in answer.leases]


@pytest.fixture
def alone() -> Lead:
    return lead_of(FIRST, me=FIRST)


def settled(*others: str, **more: float) -> Lead:
    """A lead that has heard everybody."""
    lead = lead_of(FIRST, *others, me=FIRST, **more)
    for member in others:
        lead.handle(ProbeAnswered(member, None), 0.0)
    lead.handle(ProbeAnswered(FIRST, None), 0.0)
    return lead


def test_a_lone_member_is_granted_at_once_by_itself(alone: Lead) -> None:
    answer = one_answer(ask(alone, report(FIRST), 0.0, room=2))
    assert (answer.ready, spans(answer), answer.unleased) == (True, [Span(0, 1), Span(1, 2)], True)


def test_a_new_lead_probes_everybody_and_grants_nothing_before_it_heard_them() -> None:
    lead = lead_of(FIRST, SECOND, THIRD, me=FIRST)
    actions = ask(lead, report(FIRST), 0.0, room=1)
    assert {a.member for a in actions if isinstance(a, ProbeMember)} == {SECOND, THIRD}
    assert (one_answer(actions).ready, one_answer(actions).leases) == (False, ())
    lead.handle(ProbeAnswered(SECOND, None), 0.1)
    assert not lead.ready
    lead.handle(ProbeAnswered(THIRD, report(THIRD, 0, 1)), 0.2)
    assert spans(one_answer(ask(lead, report(FIRST), 0.3, room=1))) == [Span(2, 3)]


def test_silent_members_are_waited_for_two_seconds() -> None:
    lead = lead_of(FIRST, SECOND, me=FIRST)
    ask(lead, report(FIRST), 0.0, room=1, wait_s=5.0)
    assert lead.deadline() <= REPORTS_AWAITED_S
    assert answers(lead.handle(LeadTicked(), REPORTS_AWAITED_S - 0.1)) == []
    assert spans(one_answer(lead.handle(LeadTicked(), REPORTS_AWAITED_S))) != []


def test_what_was_reported_before_the_wait_for_the_silent_is_asked_for_again() -> None:
    """Another lead may have granted something meanwhile."""
    lead = lead_of(FIRST, SECOND, THIRD, me=FIRST)
    ask(lead, report(FIRST), 0.0, room=1)
    lead.handle(ProbeAnswered(SECOND, report(SECOND)), 0.1)
    assert ProbeMember(SECOND) in lead.handle(LeadTicked(), REPORTS_AWAITED_S)
    assert not lead.ready
    fetching = Progress(LeaseKey(THIRD, 1, 1), Span(0, 2), 0)
    lead.handle(ProbeAnswered(SECOND, report(SECOND, fetching=(fetching,))), REPORTS_AWAITED_S + 0.1)
    assert spans(one_answer(ask(lead, report(FIRST), REPORTS_AWAITED_S + 0.2, room=1))) == [Span(2, 3)]
    lead.handle(LeadTicked(), REPORTS_AWAITED_S + JOINER_AWAITED_S)
    assert lead.ready, "who answers nothing is waited for once"


def test_a_member_at_work_that_falls_silent_is_asked_and_forgotten_when_it_has_nothing_any_more() -> None:
    lead = settled(SECOND, THIRD)
    ask(lead, report(SECOND, 0, phase=SwarmPhase.HOT), 1.0)
    ask(lead, report(THIRD, *EVERYTHING, published=True), 1.0)
    probed = [a for a in ask(lead, report(FIRST), SILENT_REPORTS + 1.5) if isinstance(a, ProbeMember)]
    assert probed == [ProbeMember(SECOND)]  # who has published has nothing to tell
    again = [a for a in ask(lead, report(FIRST), SILENT_REPORTS + 2.5) if isinstance(a, ProbeMember)]
    assert again == []
    lead.handle(ProbeAnswered(SECOND, None), SILENT_REPORTS + 2.6)
    assert (lead.standings[SECOND].held, lead.standings[SECOND].phase) == (0, SwarmPhase.NONE)


def test_a_silent_member_that_published_meanwhile_and_started_anew_counts_as_what_it_is_now() -> None:
    lead = settled(SECOND)
    ask(lead, report(SECOND, 0, phase=SwarmPhase.HOT), 1.0)
    at = SILENT_REPORTS + 1.5
    assert ProbeMember(SECOND) in ask(lead, report(FIRST), at)
    lead.handle(ProbeAnswered(SECOND, report(SECOND, *EVERYTHING, published=True)), at + 0.1)
    answer = one_answer(ask(lead, report(FIRST), at + 0.2))
    assert [(each.name, each.published, each.phase) for each in answer.swarm] == [
        (SECOND, True, SwarmPhase.NONE)
    ]


def test_a_request_that_names_another_lead_is_refused_and_told_whom_to_follow() -> None:
    lead = lead_of(FIRST, SECOND, me=SECOND)
    (refused,) = [a for a in ask(lead, report(THIRD), 0.0) if isinstance(a, Refuse)]
    assert (refused.refusal.by, refused.refusal.follows) == (SECOND, FIRST)


def test_who_cannot_reach_the_first_is_led_by_the_second() -> None:
    lead = lead_of(FIRST, SECOND, THIRD, me=SECOND)
    actions = ask(lead, report(THIRD), 0.0, unreachable=(FIRST,))
    assert [a for a in actions if isinstance(a, Refuse)] == []


def test_anybody_may_lead_itself() -> None:
    lead = lead_of(FIRST, SECOND, THIRD, me=THIRD)
    assert answers(ask(lead, report(THIRD), 0.0))


def test_a_held_back_request_is_refused_once_another_member_leads() -> None:
    lead = lead_of(SECOND, THIRD, me=SECOND)
    lead.handle(ProbeAnswered(THIRD, None), 0.0)
    ask(lead, report(THIRD, *EVERYTHING), 0.0, wait_s=9.0)
    actions = lead.handle(LiveMembersChanged(frozenset({FIRST, SECOND, THIRD})), 1.0)
    assert [a.refusal.follows for a in actions if isinstance(a, Refuse)] == [FIRST]


def test_leases_are_repeated_until_their_pieces_are_held(alone: Lead) -> None:
    first = one_answer(ask(alone, report(FIRST), 0.0, room=1, rate_bytes_per_s=8 * MIB))
    again = one_answer(ask(alone, report(FIRST), 0.5, room=0))
    assert first.leases == again.leases
    assert spans(one_answer(ask(alone, report(FIRST, 0), 1.0))) == [Span(1, 2)]
    assert one_answer(ask(alone, report(FIRST, 0, 1), 1.5)).leases == ()


def test_a_lapsed_span_is_granted_again_from_its_first_missing_piece() -> None:
    lead = settled(SECOND)
    one_answer(ask(lead, report(SECOND), 0.0, room=1))
    ask(lead, report(SECOND, 0, 1), 1.0)
    later = 1.0 + PROGRESS_EXPECTED_S
    answer = one_answer(ask(lead, report(FIRST), later, room=1, rate_bytes_per_s=100 * MIB))
    assert answer.leases[0].span.start == 2


def test_a_lead_that_was_held_up_itself_hears_what_waits_before_it_lets_leases_lapse() -> None:
    lead = settled(SECOND)
    ask(lead, report(FIRST), 0.0, wait_s=1.0)
    (lease,) = one_answer(ask(lead, report(SECOND), 0.0, room=1, wait_s=1.0)).leases
    lead.handle(LeadTicked(), 1.0 + PROGRESS_EXPECTED_S)  # it had to come after a second, to answer the first
    assert lead.leases.of(SECOND) == (lease,)
    told = Progress(lease.key, lease.span, 1)
    ask(lead, report(SECOND, fetching=(told,)), 1.1 + PROGRESS_EXPECTED_S, wait_s=1.0)
    lead.handle(LeadTicked(), 2.1 + PROGRESS_EXPECTED_S)
    for second in range(3, 30):
        lead.handle(LeadTicked(), second + PROGRESS_EXPECTED_S)
    assert lead.leases.of(SECOND) == ()


def test_a_piece_whose_holder_died_is_leased_again() -> None:
    lead = settled(SECOND)
    ask(lead, report(SECOND, *EVERYTHING), 0.0)
    assert one_answer(ask(lead, report(FIRST), 0.0, room=1)).leases == ()
    lead.handle(LiveMembersChanged(frozenset({FIRST})), 1.0)
    assert one_answer(ask(lead, report(FIRST), 1.0, room=1)).leases != ()


def test_a_returning_member_is_probed_before_anything_more_is_granted() -> None:
    lead = settled()
    back = LiveMembersChanged(frozenset({FIRST, SECOND}))
    assert [a for a in lead.handle(back, 1.0) if isinstance(a, ProbeMember)] == [ProbeMember(SECOND)]
    assert one_answer(ask(lead, report(FIRST), 1.1, room=1)).leases == ()
    assert one_answer(ask(lead, report(FIRST), 1.0 + JOINER_AWAITED_S, room=1)).leases != ()


def test_a_member_without_access_gets_no_lease_and_keeps_the_answer() -> None:
    lead = settled(SECOND)
    answer = one_answer(ask(lead, report(SECOND, may_fetch=False), 0.0, room=1))
    assert (answer.leases, answer.fetchers) == ((), 0)


def test_a_retry_after_binds_everybody_until_it_is_over() -> None:
    lead = settled(SECOND)
    ask(lead, report(SECOND, hub_pause_s=10.0), 0.0)
    paused = one_answer(ask(lead, report(FIRST), 1.0, room=1))
    assert (paused.leases, paused.hub_pause_s) == ((), 9.0)
    assert one_answer(ask(lead, report(FIRST), 10.0, room=1)).leases != ()


def test_the_limit_of_the_cluster_is_shared_over_those_who_fetch() -> None:
    lead = settled(SECOND, cap=30.0)
    assert one_answer(ask(lead, report(FIRST), 0.0, room=1)).hub_rate_bytes_per_s == 30.0
    assert one_answer(ask(lead, report(SECOND), 0.0, room=1)).hub_rate_bytes_per_s == 15.0
    lead.handle(LiveMembersChanged(frozenset({FIRST, SECOND, THIRD}), 30.0, frozenset({THIRD})), 0.1)
    assert one_answer(ask(lead, report(SECOND), 0.2)).hub_rate_bytes_per_s == 10.0


def test_news_wakes_a_held_back_request_in_waves() -> None:
    lead = settled(SECOND)
    ask(lead, report(SECOND), 0.0, version_term=1)
    assert answers(ask(lead, report(SECOND), 1.0, version_term=1, wait_s=5.0)) == []
    woken = ask(lead, report(FIRST, 0, claims=(claim(0, FIRST),)), 2.0)
    assert [a.member for a in woken if isinstance(a, Answer)] == [SECOND, FIRST]
    assert answers(ask(lead, report(SECOND), 2.0, version=1, version_term=1, wait_s=5.0)) == []
    more = ask(lead, report(FIRST, 0, claims=(claim(1, FIRST),)), 2.01)
    assert [a.member for a in more if isinstance(a, Answer)] == [FIRST]
    assert answers(lead.handle(LeadTicked(), 2.0 + NEWS_GAP_S)) == []
    assert lead.deadline() == 2.0 + CLAIMS_GAP_S
    assert [a.member for a in lead.handle(LeadTicked(), 2.0 + CLAIMS_GAP_S) if isinstance(a, Answer)] == [
        SECOND
    ]


def test_the_last_claims_of_a_blob_and_a_lease_to_be_had_do_not_wait_for_further_claims() -> None:
    lead = settled(SECOND, THIRD)
    for member in (SECOND, THIRD):
        ask(lead, report(member), 0.0)
    ask(lead, report(FIRST, claims=(claim(0, FIRST),)), 2.0)  # a wave with claims
    ask(lead, report(SECOND), 2.0, version=1, version_term=1, wait_s=5.0)
    ask(lead, report(FIRST, claims=tuple(claim(piece, FIRST) for piece in range(PIECES))), 2.01)
    told = lead.handle(LeadTicked(), 2.0 + NEWS_GAP_S)
    assert [a.member for a in told if isinstance(a, Answer)] == [SECOND]
    assert one_answer(told).synced


def test_who_waits_for_a_lease_hears_soon_that_none_is_left() -> None:
    lead = settled(SECOND, THIRD)
    ask(lead, report(FIRST, *range(1, PIECES), claims=(claim(1, FIRST),)), 2.0)
    assert one_answer(ask(lead, report(THIRD), 2.1)).unleased
    assert one_answer(ask(lead, report(SECOND), 2.1, room=1)).leases
    assert answers(ask(lead, report(THIRD), 2.1, version=1, version_term=1, room=1, wait_s=5.0)) == []
    ask(lead, report(FIRST, *range(1, PIECES), claims=(claim(2, FIRST),)), 2.11)
    told = one_answer(lead.handle(LeadTicked(), 2.11 + NEWS_GAP_S))
    assert (told.unleased, told.leases) == (False, ())
    again = ask(lead, report(THIRD), 2.3, version=told.version, version_term=1, room=1, wait_s=5.0)
    assert answers([*again, *lead.handle(LeadTicked(), 2.3 + NEWS_GAP_S)]) == []


def test_without_news_a_request_is_answered_when_it_waited_long_enough() -> None:
    lead = settled(SECOND)
    assert answers(ask(lead, report(SECOND, *EVERYTHING), 0.0, wait_s=3.0)) == []
    assert answers(lead.handle(LeadTicked(), NEWS_GAP_S)) == []
    assert lead.deadline() == 3.0
    assert one_answer(lead.handle(LeadTicked(), 3.0)).claims == ()


def test_ledgers_that_already_agree_are_not_sent() -> None:
    lead = settled(SECOND)
    ask(lead, report(SECOND, claims=(claim(0, SECOND), claim(1, SECOND))), 0.0)
    same = one_answer(ask(lead, report(SECOND), 0.1, claims_fingerprint=lead.ledger.claims_fingerprint))
    assert (same.claims, same.version, same.synced) == ((), 2, True)
    assert len(one_answer(ask(lead, report(SECOND), 0.2)).claims) == 2


def test_a_disputed_piece_is_fetched_by_a_third_member() -> None:
    lead = settled(SECOND, THIRD)
    ask(lead, report(FIRST, *EVERYTHING, claims=(claim(0, FIRST),)), 0.0)
    ask(lead, report(SECOND, *EVERYTHING, claims=(claim(0, SECOND, variant=1),)), 0.0)
    assert one_answer(ask(lead, report(THIRD, *range(1, PIECES)), 0.1, room=2)).leases[0].span == Span(0, 1)
    assert one_answer(ask(lead, report(FIRST, *EVERYTHING), 0.2, room=2)).leases == ()


def test_with_nobody_else_the_claimants_of_a_dispute_try_once_more() -> None:
    lead = settled(SECOND)
    ask(lead, report(FIRST, *EVERYTHING, claims=(claim(0, FIRST),)), 0.0)
    ask(lead, report(SECOND, *EVERYTHING, claims=(claim(0, SECOND, variant=1),)), 0.0)
    assert spans(one_answer(ask(lead, report(FIRST, *EVERYTHING), 0.2, room=1))) == [Span(0, 1)]


def test_the_blamed_fetch_nothing_while_others_can_and_their_word_counts_for_nothing() -> None:
    lead = settled(SECOND, THIRD)
    several = range(BLAMED_PIECES_MIN)
    ask(lead, report(FIRST, claims=tuple(claim(piece, FIRST) for piece in several)), 0.0)
    false = tuple(claim(piece, THIRD, variant=1) for piece in several)
    ask(lead, report(THIRD, *EVERYTHING, claims=false), 0.0)
    ask(lead, report(SECOND, claims=tuple(claim(piece, SECOND) for piece in several)), 0.0)
    assert set(lead.ledger.blamed()) == {THIRD}
    assert one_answer(ask(lead, report(THIRD, *EVERYTHING), 0.1, room=1)).leases == ()
    assert one_answer(ask(lead, report(FIRST), 0.1, room=1)).leases != ()


def test_what_a_member_is_stuck_on_it_fetches_itself() -> None:
    lead = settled(SECOND)
    ask(lead, report(FIRST, *EVERYTHING), 0.0)
    answer = one_answer(ask(lead, report(SECOND, *range(1, PIECES), stuck=b"\x01"), 0.1, room=1))
    assert spans(answer) == [Span(0, 1)]


def test_what_only_one_member_waits_for_takes_no_turns_and_as_many_spans_as_its_way_bears() -> None:
    names = [f"m{number}" for number in range(9)]
    me = rendezvous.order("blob", names)[0]
    lead = lead_of(*names, me=me)
    for member in names:
        lead.handle(ProbeAnswered(member, None), 0.0)
    ask(lead, report("m0", *EVERYTHING), 0.0)
    for member in names[2:]:
        ask(lead, report(member), 0.0, room=1, rate_bytes_per_s=20.0 * MIB)
    stuck = report("m1", stuck=held(*EVERYTHING))
    answer = one_answer(ask(lead, stuck, 5.0, room=8, rate_bytes_per_s=20.0 * MIB))
    assert len(answer.leases) == 6, "those of a third of a second"


def test_after_a_failed_seal_pieces_are_fetched_by_a_second_member_and_then_audited() -> None:
    lead = settled(SECOND)
    own = tuple(claim(piece, FIRST) for piece in EVERYTHING)
    known = Ledger(PIECES, own).claims_fingerprint
    ask(lead, report(FIRST, *EVERYTHING, claims=own, seal_failed=True), 0.0, claims_fingerprint=known)
    answer = one_answer(ask(lead, report(SECOND, *EVERYTHING), 0.1, room=2))
    assert (answer.audited, spans(answer)) == (False, [Span(0, 1)]), "one piece of the only fetcher at first"
    sample = report(SECOND, *EVERYTHING, claims=(claim(0, SECOND),), given_up=(answer.leases[0].key,))
    answer = one_answer(ask(lead, sample, 0.2, room=2))
    assert (answer.audited, len(answer.leases)) == (False, 2), "it was right: the rest, a little at a time"
    compared = tuple(claim(piece, SECOND) for piece in EVERYTHING)
    assert one_answer(ask(lead, report(SECOND, *EVERYTHING, claims=compared), 0.3)).audited


def test_only_as_many_members_fetch_as_the_link_bears() -> None:
    names = [f"m{number}" for number in range(20)]
    me = rendezvous.order("blob", names)[0]
    lead = lead_of(*names, me=me)
    for member in names:
        lead.handle(ProbeAnswered(member, None), 0.0)
    granted = [name for name in names if one_answer(ask(lead, report(name), 0.0, room=1)).leases]
    assert len(granted) == FETCHERS_ALWAYS


def test_a_lead_counts_who_still_fills_from_the_hot_swarm() -> None:
    lead = settled(SECOND)
    ask(lead, report(SECOND, 0, phase=SwarmPhase.HOT), 0.0)
    assert one_answer(ask(lead, report(FIRST, *EVERYTHING, phase=SwarmPhase.HOT), 0.1)).unfinished_hot == 1


def told_when(lead: Lead, member: str, newcomer: str) -> list[str]:
    """Whom the waiting member is told of when another one has entered the swarm."""
    assert answers(ask(lead, report(member, phase=SwarmPhase.HOT), 5.0, wait_s=30.0)) == []
    actions = [
        *ask(lead, report(newcomer, phase=SwarmPhase.HOT), 6.0),
        *lead.handle(LeadTicked(), 6.0 + NEWS_GAP_S),
    ]
    swarms = [
        action.answer.swarm for action in actions if isinstance(action, Answer) and action.member == member
    ]
    return [other.name for swarm in swarms for other in swarm]


def test_who_waits_hears_at_once_of_somebody_to_connect_to() -> None:
    lead = settled(SECOND, THIRD)
    ask(lead, report(THIRD, phase=SwarmPhase.SEALED), 0.0)
    ask(lead, report(SECOND, phase=SwarmPhase.HOT), 0.0)
    assert set(told_when(lead, SECOND, FIRST)) == {FIRST, THIRD}


def test_who_has_company_enough_hears_of_more_with_the_next_answer() -> None:
    me, *others = rendezvous.order("blob", [f"m{number}" for number in range(COMPANY_MIN + 3)])
    lead = lead_of(me, *others, me=me)
    for member in (*others, others[0]):  # the first once more: it knows them all then
        ask(lead, report(member, phase=SwarmPhase.HOT), 1.0)
    assert told_when(lead, others[0], me) == []


def test_a_leaver_is_forgotten_at_once() -> None:
    lead = settled(SECOND)
    ask(lead, report(SECOND), 0.0, room=1)
    ask(lead, report(SECOND, leaving=True), 0.1)
    assert (lead.leases.holders, SECOND in lead.standings) == (frozenset(), False)


def test_each_member_fetches_one_span_at_a_time_while_the_link_is_narrow() -> None:
    lead = settled(SECOND, THIRD)
    now = STARTING_S
    for member in (FIRST, SECOND, THIRD):
        ask(lead, report(member), now)
    answer = one_answer(ask(lead, report(FIRST), now, room=8, rate_bytes_per_s=MIB))
    assert (spans(answer), answer.unleased) == ([Span(0, 1)], True)
    arriving = (Progress(answer.leases[0].key, Span(0, 1), MIB // 2),)
    again = one_answer(ask(lead, report(FIRST, fetching=arriving), now, room=8, rate_bytes_per_s=MIB))
    assert spans(again) == [Span(0, 1), Span(1, 2)], "the next one while the last piece of the first arrives"


def test_members_that_wait_are_served_by_turns() -> None:
    names = [f"m{number}" for number in range(12)]
    me = rendezvous.order("blob", names)[0]
    lead = lead_of(*names, me=me)
    for member in names:
        lead.handle(ProbeAnswered(member, None), 0.0)
    for member in names:
        ask(lead, report(member), 0.0, room=1, wait_s=30.0)
    fetching = lead.leases.holders
    assert len(fetching) == FETCHERS_ALWAYS
    assert not any(name in fetching for name in lead._parked)


def test_a_slow_member_gets_nothing_that_the_others_would_wait_for() -> None:
    lead = settled(SECOND)
    now = STARTING_S
    ask(lead, report(SECOND), now, rate_bytes_per_s=0.1 * MIB)
    one_answer(ask(lead, report(FIRST), now, room=1, rate_bytes_per_s=10 * MIB))
    slow = one_answer(ask(lead, report(SECOND), now, room=1, rate_bytes_per_s=0.1 * MIB))
    assert (slow.leases, slow.unleased) == ((), True), "no other blob goes before this one"
    lead.handle(LiveMembersChanged(frozenset({SECOND, FIRST})), now)
    ask(lead, report(FIRST, leaving=True), now)
    alone = one_answer(ask(lead, report(SECOND), now, room=1, rate_bytes_per_s=0.1 * MIB))
    assert alone.leases != (), "with nobody faster it fetches"


def test_an_answer_says_when_nothing_is_left_to_give() -> None:
    lead = settled()
    assert one_answer(ask(lead, report(FIRST, *range(1, PIECES)), 1.0, room=1)).unleased is False


def test_a_new_lead_to_which_most_are_silent_waits_longer_and_not_for_ever() -> None:
    lead = lead_of(FIRST, SECOND, THIRD, me=FIRST)
    assert one_answer(ask(lead, report(FIRST), 0.0, room=1)).leases == ()
    later = REPORTS_AWAITED_S + 1.0
    assert one_answer(ask(lead, report(FIRST), later, room=1)).leases == ()
    lead.handle(ProbeAnswered(SECOND, report(SECOND, *range(4))), later)
    assert spans(one_answer(ask(lead, report(FIRST), later, room=1))) == [Span(4, 5)]

    lead = lead_of(FIRST, SECOND, THIRD, me=FIRST)
    ask(lead, report(FIRST), 0.0, room=1, wait_s=10.0)
    assert lead.deadline() == REPORTS_AWAITED_S + MOSTLY_SILENT_S
    assert spans(one_answer(lead.handle(LeadTicked(), lead.deadline()))) == [Span(0, 1)]


def test_those_who_were_led_by_another_meanwhile_are_asked_for_once_and_not_with_each_request() -> None:
    lead = settled(SECOND, THIRD)
    newer = lead.term + 1
    asked = [
        action
        for now in (5.0, 5.1, 20.0)
        for action in ask(lead, report(SECOND), now, last_term=newer)
        if isinstance(action, ProbeMember)
    ]
    assert asked == [ProbeMember(THIRD)]
