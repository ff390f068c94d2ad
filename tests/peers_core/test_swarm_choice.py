from __future__ import annotations

import pytest

from peers import member_actions as act
from peers.ledger import Ledger
from peers.messages import SwarmMember, SwarmPhase
from peers.piece_table import PieceTable
from peers.swarm_choice import (
    HOLDERS_AWAITED_S,
    HOT_SERVE_S_MAX,
    HOT_SPOILED_STALL_S,
    HOT_STALL_S,
    LEFT_ALONE_S,
    REENTER_S,
    SPOILED_MIN,
    STUCK_S,
    WAKE_EVERY_S,
    Stage,
    SwarmChoice,
)
from tests.peers_core.builders import PIECES, answer, claim, digests

ALL = (1 << PIECES) - 1
FILLING = (SwarmMember("b", SwarmPhase.HOT, False),)
"""Somebody else in the hot swarm."""


@pytest.fixture
def swarm() -> SwarmChoice:
    return SwarmChoice("me", 0.0, published=False)


@pytest.fixture
def table() -> PieceTable:
    return PieceTable(PIECES)


def complete_ledger() -> Ledger:
    return Ledger(PIECES, [claim(piece, "a") for piece in range(PIECES)])


def hold(table: PieceTable, ledger: Ledger, *pieces: int) -> None:
    for piece in pieces:
        table.written(piece)
        table.digested(piece, table.generation(piece), digests(piece).xxh3)
        table.in_swarm |= 1 << piece
    table.settle(ALL, ledger)


def test_a_blob_still_arriving_is_taken_from_the_hot_swarm(swarm: SwarmChoice, table: PieceTable) -> None:
    assert swarm.decide(table, Ledger(PIECES), None, False, 0.0) == []
    assert swarm.decide(table, Ledger(PIECES), answer(), False, 0.0) == [act.OpenHot(0)]


def test_a_late_joiner_uses_only_the_sealed_swarm(swarm: SwarmChoice, table: PieceTable) -> None:
    assert swarm.decide(table, complete_ledger(), answer(), False, 0.0) == [act.OpenSealed(0)]


def test_the_ledger_of_holders_is_waited_for_and_the_holders_are_woken(
    swarm: SwarmChoice, table: PieceTable
) -> None:
    holders = answer(swarm=(SwarmMember("b", SwarmPhase.NONE, True),))
    assert swarm.decide(table, Ledger(PIECES), holders, False, 0.0) == [act.WakeHolders(("b",))]
    assert swarm.stage is Stage.STARTING
    opened = swarm.decide(table, Ledger(PIECES), holders, False, HOLDERS_AWAITED_S)
    assert opened == [act.OpenHot(0)]


def test_who_is_alone_in_the_hot_swarm_wakes_holders_at_once(swarm: SwarmChoice, table: PieceTable) -> None:
    in_hot(swarm, table)
    asleep = SwarmMember("b", SwarmPhase.NONE, True)
    assert act.WakeHolders(("b",)) in swarm.decide(table, Ledger(PIECES), answer(swarm=(asleep,)), False, 0.1)


def test_holders_sleep_on_while_the_hot_swarm_fills(swarm: SwarmChoice, table: PieceTable) -> None:
    in_hot(swarm, table)
    company = answer(swarm=(SwarmMember("b", SwarmPhase.NONE, True), SwarmMember("c", SwarmPhase.HOT, False)))
    assert act.WakeHolders(("b",)) not in swarm.decide(table, Ledger(PIECES), company, False, 0.1)


def in_hot(swarm: SwarmChoice, table: PieceTable) -> None:
    swarm.decide(table, Ledger(PIECES), answer(), False, 0.0)


def test_a_stalled_hot_swarm_is_left_when_the_ledger_is_complete(
    swarm: SwarmChoice, table: PieceTable
) -> None:
    in_hot(swarm, table)
    ledger = complete_ledger()
    hold(table, ledger, 0, 1)
    company = answer(swarm=FILLING)
    assert swarm.decide(table, ledger, company, False, HOT_STALL_S - 0.1) == []
    assert swarm.decide(table, ledger, company, True, HOT_STALL_S) == [], "not while fetching"
    left = swarm.decide(table, ledger, company, False, HOT_STALL_S)
    assert left == [act.LeaveHot(), act.OpenSealed(0b11)]


def test_a_stalled_hot_swarm_is_left_sooner_when_pieces_in_it_are_wrong(
    swarm: SwarmChoice, table: PieceTable
) -> None:
    in_hot(swarm, table)
    ledger = complete_ledger()
    hold(table, ledger, 0, 1)
    table.in_swarm = 0b111
    company = answer(swarm=FILLING)
    assert swarm.decide(table, ledger, company, False, HOT_SPOILED_STALL_S - 0.1) == []
    left = swarm.decide(table, ledger, company, False, HOT_SPOILED_STALL_S)
    assert left == [act.LeaveHot(), act.OpenSealed(0b11)]


def test_a_hot_swarm_without_others_is_not_waited_for(swarm: SwarmChoice, table: PieceTable) -> None:
    in_hot(swarm, table)
    ledger = complete_ledger()
    hold(table, ledger, 0, 1)
    assert swarm.decide(table, ledger, answer(), False, 0.1) == [act.LeaveHot(), act.OpenSealed(0b11)]


def test_wrong_pieces_of_the_hot_swarm_are_not_waited_for(swarm: SwarmChoice, table: PieceTable) -> None:
    in_hot(swarm, table)
    ledger = complete_ledger()
    hold(table, ledger, *range(PIECES - 1))
    table.in_swarm = ALL
    assert swarm.decide(table, ledger, answer(), False, 0.1) == [
        act.LeaveHot(),
        act.OpenSealed(ALL >> 1),
    ]


def test_a_changed_digest_voids_the_sealed_metainfo(swarm: SwarmChoice, table: PieceTable) -> None:
    ledger = complete_ledger()
    swarm.decide(table, ledger, answer(), False, 0.0)
    ledger.merge([claim(0, "b", variant=1)])
    assert swarm.decide(table, ledger, answer(), False, 1.0) == [act.LeaveSealed()]
    assert swarm.decide(table, ledger, answer(), False, 1.0) == []
    ledger.merge([claim(0, "c", variant=1)])
    assert swarm.decide(table, ledger, answer(), False, 2.0) == [act.OpenSealed(0)]


def test_pieces_that_do_not_come_are_told_as_stuck(swarm: SwarmChoice, table: PieceTable) -> None:
    ledger = complete_ledger()
    swarm.decide(table, ledger, answer(), False, 0.0)
    assert swarm.stuck(table, 0, STUCK_S - 0.1) == 0
    assert swarm.stuck(table, 0b1, STUCK_S) == ALL & ~0b1
    swarm.gained(STUCK_S)
    assert swarm.stuck(table, 0, STUCK_S) == 0


def test_a_claim_that_contradicts_itself_is_fetched_at_once(swarm: SwarmChoice, table: PieceTable) -> None:
    swarm.decide(table, complete_ledger(), answer(), False, 0.0)
    swarm.rejected(0b100)
    assert swarm.stuck(table, 0, 0.0) == 0b100


def published_in_hot(swarm: SwarmChoice, table: PieceTable) -> Ledger:
    """Others still fill from this member, which has everything and has published."""
    in_hot(swarm, table)
    ledger = complete_ledger()
    hold(table, ledger, *range(PIECES))
    swarm.sealed(1.0)
    done = swarm.decide(table, ledger, answer(unfinished_hot=1), False, 1.0)
    assert (done, swarm.stage) == ([act.PublishBlob(serving=True)], Stage.PUBLISHING)
    swarm.published()
    return ledger


def test_a_member_that_is_done_publishes_at_once_and_serves_while_others_fill(
    swarm: SwarmChoice, table: PieceTable
) -> None:
    ledger = published_in_hot(swarm, table)
    assert swarm.decide(table, ledger, answer(unfinished_hot=1), False, 60.0) == []
    assert swarm.decide(table, ledger, answer(), False, 61.0) == [act.LeaveHot()]


def test_a_publisher_serves_the_hot_swarm_no_longer_than_somebody_is_connected(
    swarm: SwarmChoice, table: PieceTable
) -> None:
    ledger = published_in_hot(swarm, table)
    swarm.idled()
    assert swarm.decide(table, ledger, answer(unfinished_hot=1), False, 2.0) == [act.LeaveHot()]


def test_serving_the_hot_swarm_has_an_end(swarm: SwarmChoice, table: PieceTable) -> None:
    ledger = published_in_hot(swarm, table)
    ends = 1.0 + HOT_SERVE_S_MAX
    assert swarm.decide(table, ledger, answer(unfinished_hot=1), False, ends) == [act.LeaveHot()]


def test_whoever_wants_the_sealed_swarm_ends_the_hot_one(swarm: SwarmChoice, table: PieceTable) -> None:
    ledger = published_in_hot(swarm, table)
    swarm.wanted = True
    assert swarm.decide(table, ledger, answer(unfinished_hot=1), False, 2.0) == [act.LeaveHot()]
    assert swarm.decide(table, ledger, answer(unfinished_hot=1), False, 2.0) == [act.OpenSealed(ALL)]


def test_a_swarm_that_does_not_have_every_piece_is_left_before_publishing(
    swarm: SwarmChoice, table: PieceTable
) -> None:
    in_hot(swarm, table)
    ledger = complete_ledger()
    hold(table, ledger, *range(PIECES))
    table.in_swarm &= ~1
    swarm.sealed(1.0)
    done = swarm.decide(table, ledger, answer(unfinished_hot=1), False, 1.0)
    assert done == [act.LeaveHot(), act.PublishBlob()]


def test_nobody_stays_for_nobody(swarm: SwarmChoice, table: PieceTable) -> None:
    in_hot(swarm, table)
    swarm.sealed(1.0)
    done = swarm.decide(table, complete_ledger(), answer(), False, 1.0)
    assert done == [act.LeaveHot(), act.PublishBlob()]


def test_a_published_blob_is_served_while_it_is_wanted(table: PieceTable) -> None:
    swarm = SwarmChoice("me", 0.0, published=True)
    ledger = complete_ledger()
    assert swarm.decide(table, ledger, None, False, 0.0) == []
    swarm.wanted = True
    assert swarm.decide(table, ledger, None, False, 0.0) == [act.OpenSealed(ALL)]
    assert swarm.decide(table, ledger, None, False, 0.0) == []
    swarm.wanted = False
    assert swarm.decide(table, ledger, None, False, 0.0) == [act.LeaveSealed()]


def test_a_holder_without_ledger_recomputes_it_once(table: PieceTable) -> None:
    swarm = SwarmChoice("me", 0.0, published=True)
    swarm.wanted = True
    assert swarm.decide(table, Ledger(PIECES), None, False, 0.0) == [act.RecomputeLedger()]
    assert swarm.decide(table, Ledger(PIECES), None, False, 0.0) == []


def test_holders_are_woken_now_and_then_while_pieces_are_missing(
    swarm: SwarmChoice, table: PieceTable
) -> None:
    ledger = complete_ledger()
    holders = answer(swarm=(SwarmMember("b", SwarmPhase.NONE, True),))
    assert act.WakeHolders(("b",)) in swarm.decide(table, ledger, holders, False, 0.0)
    assert swarm.decide(table, ledger, holders, False, 1.0) == []
    assert swarm.decide(table, ledger, holders, False, WAKE_EVERY_S) == [act.WakeHolders(("b",))]


def test_connections_follow_the_members_of_the_same_swarm(swarm: SwarmChoice, table: PieceTable) -> None:
    in_hot(swarm, table)
    others = (SwarmMember("b", SwarmPhase.HOT, False), SwarmMember("c", SwarmPhase.SEALED, False))
    told = swarm.decide(table, Ledger(PIECES), answer(sequence=2, swarm=others), False, 0.0)
    assert told == [act.ConnectSwarm(("b",))]
    assert swarm.decide(table, Ledger(PIECES), answer(sequence=3, swarm=others), False, 0.0) == []


def test_an_ended_blob_leaves_its_swarm(swarm: SwarmChoice, table: PieceTable) -> None:
    in_hot(swarm, table)
    assert swarm.end(Stage.FAILED, table) == [act.LeaveHot()]
    assert swarm.end(Stage.FAILED, table) == []


def test_a_hot_swarm_with_many_wrong_pieces_is_entered_anew_and_warily(swarm: SwarmChoice) -> None:
    table, ledger = PieceTable(2 * SPOILED_MIN), Ledger(2 * SPOILED_MIN, [claim(0, "a")])
    swarm.decide(table, ledger, answer(), False, 0.0)
    assert swarm.unwanted(ledger) == 0
    table.in_swarm = (1 << SPOILED_MIN) - 1  # the engine believes to have them, and they were wrong
    assert swarm.decide(table, ledger, answer(swarm=FILLING), False, REENTER_S - 0.1) == []
    assert swarm.decide(table, ledger, answer(swarm=FILLING), False, REENTER_S)[:2] == [
        act.LeaveHot(),
        act.OpenHot(0),
    ]
    assert swarm.unwanted(ledger) == ((1 << 2 * SPOILED_MIN) - 1) & ~1, (
        "only what somebody claims is asked of peers"
    )


def test_a_sealed_swarm_that_brings_nothing_for_long_leaves_a_member_alone(
    swarm: SwarmChoice, table: PieceTable
) -> None:
    in_hot(swarm, table)
    assert not swarm.left_alone_by(table, answer(), LEFT_ALONE_S), (
        "not in the hot swarm while somebody fetches"
    )
    assert swarm.left_alone_by(table, answer(fetchers=0), LEFT_ALONE_S)
    ledger = complete_ledger()
    hold(table, ledger, 0, 1)
    swarm.decide(table, ledger, answer(), False, 0.1)
    assert not swarm.left_alone_by(table, answer(), LEFT_ALONE_S)
    assert swarm.left_alone_by(table, answer(), LEFT_ALONE_S + 0.1)
    swarm.gained(LEFT_ALONE_S)
    assert not swarm.left_alone_by(table, answer(), LEFT_ALONE_S + 0.1)
