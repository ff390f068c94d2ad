"""The fetch desk as a script: events in, actions out."""

from __future__ import annotations

import pytest

from distd.core import desk_events as ev
from distd.core.desk import (
    ODD_ANSWERS_MAX,
    RATE_LIMIT_WAIT_MAX_S,
    REPAIR_ROUNDS_MAX,
    SPAN_BYTES,
    TINY_BYTES,
    TINY_PER_CONNECTION,
    Phase,
)
from distd.core.faults import FaultKind
from distd.errors import HashMismatch, StorageFailed
from tests.core.desk_script import MIB, NOTHING_STORED, Script
from tests.core.desk_world import fault


def kinds(actions: list[ev.Action]) -> list[str]:
    return [type(action).__name__ for action in actions]


def test_a_small_blob_is_opened_fetched_hashed_and_accepted() -> None:
    script = Script()
    assert script.tell(ev.BlobWanted("a", 5, (0, 1, 0))) == [ev.OpenBlob("a", 5)]
    assert script.tell(ev.BlobOpened("a", MIB, NOTHING_STORED)) == [ev.StartFetch(1, "a", 0, 5)]
    assert script.tell(ev.PieceStored(1, "a", 0, False)) == []
    assert script.tell(ev.FetchEnded(1)) == [ev.HashBlob("a", again=False)]
    assert script.tell(ev.BlobHashed("a", "a", True)) == [ev.AcceptBlob("a", "a")]
    assert script.desk.phase("a") is None


def test_an_empty_blob_is_hashed_without_a_fetch() -> None:
    script = Script()
    script.tell(ev.BlobWanted("a", 0, (0, 1, 0)))
    assert script.tell(ev.BlobOpened("a", MIB, NOTHING_STORED)) == [ev.HashBlob("a", again=False)]


def test_a_blob_whose_pieces_are_all_stored_is_hashed_at_once() -> None:
    assert Script().open("a", 3, stored=frozenset({0, 1, 2}))[-1] == ev.HashBlob("a", again=False)


def test_only_missing_pieces_are_fetched_in_spans_that_end_at_stored_ones() -> None:
    script = Script(connections=1)
    assert script.open("a", 6, stored=frozenset({2, 3}))[-1] == ev.StartFetch(1, "a", 0, 2 * MIB)
    assert script.fetch(1, "a", 0, 1) == [ev.StartFetch(2, "a", 4 * MIB, 5 * MIB)]


def test_spans_are_of_full_size_and_shrink_towards_the_end_of_a_blob() -> None:
    script = Script(connections=1)
    lengths, actions = [], script.open("a", 100)
    while isinstance(actions[-1], ev.StartFetch):
        span = actions[-1]
        lengths.append(span.end - span.start)
        actions = script.fetch(span.fetch_id, "a", *range(span.start // MIB, span.end // MIB))
    assert lengths[0] == SPAN_BYTES
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] == MIB


def test_a_piece_larger_than_a_span_is_one_span() -> None:
    script = Script(connections=1)
    script.tell(ev.BlobWanted("a", 5 * SPAN_BYTES, (0, 1, 0)))
    started = script.tell(ev.BlobOpened("a", 2 * SPAN_BYTES, NOTHING_STORED))
    assert started == [ev.StartFetch(1, "a", 0, 2 * SPAN_BYTES)]


def test_a_free_connection_goes_to_the_next_blob_in_order() -> None:
    script = Script(connections=2)
    script.open("a", 1)
    assert script.tell(ev.BlobWanted("c", MIB, (0, 2, 0)), ev.BlobWanted("b", MIB, (0, 1, 1))) == [
        ev.OpenBlob("c", MIB)
    ]
    assert script.fetch(1, "a", 0)[-1] == ev.OpenBlob("b", MIB)


def test_an_urgent_blob_does_not_wait_for_the_end_of_a_large_one() -> None:
    script = Script(connections=2)
    script.open("large", 1000)
    assert script.tell(ev.BlobWanted("urgent", MIB, (-5, 2, 0))) == []
    assert script.fetch(1, "large", *range(16)) == [ev.OpenBlob("urgent", MIB)]
    assert kinds(script.fetch(2, "large", *range(16, 32))) == [
        "StartFetch"
    ]  # one stays for what is being opened
    assert script.tell(ev.BlobOpened("urgent", MIB, NOTHING_STORED)) == [ev.StartFetch(4, "urgent", 0, MIB)]


def test_tiny_blobs_go_over_connections_of_their_own_beside_large_ones() -> None:
    script = Script(connections=1)
    wants = [ev.BlobWanted(f"s{place}", TINY_BYTES, (0, 1, place)) for place in range(9)]
    assert [action for want in wants for action in script.tell(want)] == [
        ev.OpenBlob(f"s{place}", TINY_BYTES) for place in range(TINY_PER_CONNECTION)
    ]
    assert script.open("large", 20, number=9)[0] == ev.OpenBlob("large", 20 * MIB)
    assert script.tell(ev.BlobOpened("s1", MIB, NOTHING_STORED)) == [ev.StartFetch(2, "s1", 0, TINY_BYTES)]
    assert script.fetch(2, "s1", 0) == [ev.HashBlob("s1", again=False), ev.OpenBlob("s3", TINY_BYTES)]


def test_the_hubs_rate_limit_holds_for_tiny_and_large_blobs() -> None:
    script = Script(connections=1)
    script.tell(ev.BlobWanted("s", 5, (0, 1, 0)))
    script.tell(ev.BlobOpened("s", MIB, NOTHING_STORED))
    script.fault(1, FaultKind.RATE_LIMITED, 7.0)
    assert script.tell(ev.BlobWanted("large", 20 * MIB, (0, 1, 1))) == []
    assert kinds(script.at(7.1).tell(ev.DeadlineReached())) == ["OpenBlob", "StartFetch"]


def test_wanting_a_blob_again_can_only_move_it_up() -> None:
    script = Script(connections=1)
    script.open("a", 1)
    script.tell(*(ev.BlobWanted(etag, MIB, (0, 1, place)) for place, etag in enumerate("bcd", 1)))
    script.tell(ev.BlobWanted("d", MIB, (-1, 9, 0)), ev.BlobWanted("b", MIB, (0, 9, 0)))
    opened: list[str] = []
    for fetch_id in (1, 2, 3, 4):
        script.tell(ev.PieceStored(fetch_id, opened[-1] if opened else "a", 0, False))
        for action in script.tell(ev.FetchEnded(fetch_id)):
            if isinstance(action, ev.OpenBlob):
                opened.append(action.etag)
                script.tell(ev.BlobOpened(action.etag, MIB, NOTHING_STORED))
        script.tell(ev.BlobHashed(opened[-2] if len(opened) > 1 else "a", "x", True))
    assert opened == ["d", "b", "c"]


def test_a_cut_connection_that_worked_goes_on_at_once_behind_what_it_brought() -> None:
    script = Script(connections=1)
    script.open("a", 32)
    script.tell(ev.PieceStored(1, "a", 0, False))
    actions = script.fault(1, FaultKind.CUT)
    assert actions[0] == ev.Tell("a", "hub_cut", "the Hub: cut")
    assert isinstance(actions[1], ev.StartFetch)
    assert actions[1].start == MIB
    assert script.desk.stalled_reason("a", 0.0) is None


def test_a_fetch_that_brought_nothing_waits_out_its_back_off() -> None:
    script = Script(connections=1)
    script.open("a", 1)
    assert kinds(script.fault(1, FaultKind.UNREACHABLE)) == ["Tell"]
    deadline = script.desk.next_deadline()
    assert deadline is not None
    assert 0.25 <= deadline <= 0.5
    assert script.desk.stalled_reason("a", 0.0) == "the Hub: unreachable; next attempt in 0 s"
    assert script.at(deadline - 0.01).tell(ev.DeadlineReached()) == []
    assert kinds(script.at(deadline).tell(ev.DeadlineReached())) == ["StartFetch"]


def test_fetches_that_fail_together_are_one_failure() -> None:
    script = Script(connections=8)
    script.open("a", 80)
    for fetch_id in range(1, 9):
        script.fault(fetch_id, FaultKind.SERVER_ERROR)
    deadline = script.desk.next_deadline()
    assert deadline is not None
    assert deadline <= 0.5  # the first failure's wait, not the eighth's


def test_a_blob_gives_up_after_its_time_without_a_piece_and_not_before() -> None:
    script = Script(connections=1, give_up_after_s=60.0)
    script.open("a", 1)
    fetch_id, faults = 1, 0
    while True:
        actions = script.fault(fetch_id, FaultKind.UNREACHABLE)
        faults += 1
        if isinstance(actions[-1], ev.FailBlob):
            break
        deadline = script.desk.next_deadline()
        assert deadline is not None
        assert script.now < deadline <= script.now + 15.0
        fetch_id = next(
            a.fetch_id for a in script.at(deadline).tell(ev.DeadlineReached()) if isinstance(a, ev.StartFetch)
        )
    assert actions[-1] == ev.FailBlob("a", fault(FaultKind.UNREACHABLE).error)
    assert 60.0 <= script.now < 75.0
    assert faults < 20


def test_a_piece_in_between_starts_the_time_to_give_up_anew() -> None:
    script = Script(connections=1, give_up_after_s=10.0)
    script.open("a", 4)
    script.fault(1, FaultKind.UNREACHABLE)
    script.at(9.0).tell(ev.DeadlineReached(), ev.PieceStored(2, "a", 0, False))
    script.fault(2, FaultKind.SERVER_ERROR)
    assert kinds(script.at(18.0).tell(ev.DeadlineReached())) == ["StartFetch"]
    assert "FailBlob" not in kinds(script.fault(3, FaultKind.SERVER_ERROR))


@pytest.mark.parametrize("kind", [FaultKind.DENIED, FaultKind.GONE])
def test_a_final_fault_fails_the_blob_at_once_and_stops_its_other_fetches(kind: FaultKind) -> None:
    script = Script(connections=3)
    script.open("a", 30)
    actions = script.fault(2, kind)
    assert actions == [
        ev.Tell("a", f"hub_{kind.value}", f"the Hub: {kind.value}"),
        ev.StopFetch(1),
        ev.StopFetch(3),
        ev.FailBlob("a", fault(kind).error),
    ]
    assert script.tell(ev.FetchEnded(1), ev.PieceStored(3, "a", 9, False)) == []


def test_a_rate_limit_holds_everything_until_it_opens() -> None:
    script = Script(connections=2)
    script.open("a", 20)
    script.tell(ev.BlobWanted("b", MIB, (0, 1, 1)))
    assert kinds(script.fault(1, FaultKind.RATE_LIMITED, 30.0)) == ["Tell"]
    assert kinds(script.fault(2, FaultKind.CUT)) == ["Tell"]
    assert script.desk.next_deadline() == 30.0
    for etag in ("a", "b"):
        assert script.desk.stalled_reason(etag, 10.0) == "the Hub's rate limit opens in 20 s"
    assert script.at(29.9).tell(ev.DeadlineReached()) == []
    assert kinds(script.at(30.0).tell(ev.DeadlineReached())) == ["StartFetch", "StartFetch"]


def test_blobs_that_were_never_opened_are_woken_when_the_rate_limit_opens() -> None:
    script = Script(connections=1)
    script.open("a", 1)
    script.tell(ev.BlobWanted("b", MIB, (0, 1, 1)))
    script.fault(1, FaultKind.RATE_LIMITED, 30.0)
    assert script.tell(ev.BlobDropped("a")) == []
    assert script.desk.next_deadline() == 30.0
    assert script.at(30.0).tell(ev.DeadlineReached()) == [ev.OpenBlob("b", MIB)]


def test_a_rate_limit_that_names_no_time_is_waited_out_longer_each_time() -> None:
    script = Script(connections=1)
    script.open("a", 1)
    waits = []
    for fetch_id in range(1, 9):
        script.fault(fetch_id, FaultKind.RATE_LIMITED)
        deadline = script.desk.next_deadline()
        assert deadline is not None
        waits.append(deadline - script.now)
        script.at(deadline).tell(ev.DeadlineReached())
    assert waits[0] <= 0.5
    assert waits[-1] >= 7.5


def test_a_rate_limit_longer_than_anybody_waits_fails_the_blob() -> None:
    script = Script(connections=1)
    script.open("a", 1)
    assert kinds(script.fault(1, FaultKind.RATE_LIMITED, RATE_LIMIT_WAIT_MAX_S + 1)) == ["Tell", "FailBlob"]


def test_a_server_that_ignores_ranges_gets_one_stream_from_the_beginning() -> None:
    script = Script(connections=3)
    script.open("a", 40, stored=frozenset({0, 1}))
    actions = script.fault(2, FaultKind.RANGE_IGNORED)
    assert actions[1:] == [ev.StopFetch(1), ev.StopFetch(3), ev.StartFetch(4, "a", 0, 40 * MIB)]


def test_a_cut_stream_begins_again_at_the_beginning_and_waits_when_it_gets_no_further() -> None:
    script = Script(connections=3, give_up_after_s=60.0)
    script.open("a", 40)
    script.fault(1, FaultKind.RANGE_IGNORED)
    script.tell(*(ev.PieceStored(4, "a", piece, False) for piece in range(5)))
    assert script.fault(4, FaultKind.CUT)[-1] == ev.StartFetch(5, "a", 0, 40 * MIB)
    script.tell(*(ev.PieceStored(5, "a", piece, False) for piece in range(5)))
    assert kinds(script.fault(5, FaultKind.CUT)) == ["Tell"]  # not a piece further than before
    script.at(70.0).tell(ev.DeadlineReached())
    assert kinds(script.fault(6, FaultKind.CUT)) == ["Tell", "FailBlob"]


def test_wrong_answers_are_forgiven_until_they_are_no_coincidence() -> None:
    script = Script(connections=8)
    actions = script.open("a", 80)
    for answer in range(1, ODD_ANSWERS_MAX + 1):
        fetch_ids = [action.fetch_id for action in actions if isinstance(action, ev.StartFetch)]
        told: list[ev.Action] = []
        for fetch_id in fetch_ids:  # a bad cache answers all that are running alike
            told += script.fault(fetch_id, FaultKind.WRONG_LENGTH)
        assert ("FailBlob" in kinds(told)) == (answer == ODD_ANSWERS_MAX)
        actions = script.at(script.now + 20.0).tell(ev.DeadlineReached())


def test_a_wrong_hash_fetches_every_piece_again_and_compares() -> None:
    script = Script(connections=1)
    script.open("a", 2)
    script.fetch(1, "a", 0)
    script.fetch(2, "a", 1)
    actions = script.tell(ev.BlobHashed("a", "bad", False))
    assert actions[0] == ev.Tell(
        "a",
        "hash_mismatch",
        "the content hashes to bad instead of a; every piece is fetched again and compared",
    )
    assert actions[1] == ev.StartFetch(3, "a", 0, MIB)
    script.fetch(3, "a", 0, changed=True)
    assert script.fetch(4, "a", 1) == [ev.HashBlob("a", again=True)]
    assert script.tell(ev.BlobHashed("a", "a", True)) == [ev.AcceptBlob("a", "a")]


def test_a_repair_that_brings_the_same_bytes_shows_that_the_hub_is_wrong() -> None:
    script = Script(connections=1)
    script.open("a", 1)
    script.fetch(1, "a", 0)
    script.tell(ev.BlobHashed("a", "bad", False))
    assert script.fetch(2, "a", 0) == [ev.FailBlob("a", HashMismatch("a", "a", "bad"))]


def test_repairs_end_after_their_rounds() -> None:
    script = Script(connections=1)
    script.open("a", 1)
    for fetch_id in range(1, REPAIR_ROUNDS_MAX + 2):
        assert script.fetch(fetch_id, "a", 0, changed=True)[-1] == ev.HashBlob("a", again=fetch_id > 1)
        actions = script.tell(ev.BlobHashed("a", f"bad{fetch_id}", False))
    assert actions == [ev.FailBlob("a", HashMismatch("a", "a", f"bad{REPAIR_ROUNDS_MAX + 1}"))]


def test_a_lost_piece_is_fetched_again_before_the_blob_is_accepted() -> None:
    script = Script(connections=1)
    script.open("a", 3, stored=frozenset({0, 1, 2}))
    assert script.tell(ev.PieceLost("a", 1)) == [
        ev.Tell("a", "piece_lost", "piece 1 did not survive the last stop; it is fetched again"),
        ev.StartFetch(1, "a", MIB, 2 * MIB),
    ]
    assert script.tell(ev.BlobHashed("a", "early", True)) == []
    assert script.fetch(1, "a", 1) == [ev.HashBlob("a", again=False)]


def test_a_lost_piece_that_is_already_on_its_way_is_not_fetched_twice() -> None:
    script = Script(connections=1)
    script.open("a", 40, stored=frozenset({7}))
    script.fault(1, FaultKind.RANGE_IGNORED)  # from now on everything comes again
    assert script.tell(ev.PieceLost("a", 7)) == []


def test_a_broken_store_fails_the_blob() -> None:
    script = Script()
    script.open("a", 1)
    error = StorageFailed("/data", "Input/output error")
    assert script.tell(ev.BlobBroke("a", error)) == [ev.StopFetch(1), ev.FailBlob("a", error)]


def test_a_dropped_blob_is_forgotten_in_every_phase() -> None:
    script = Script(connections=1)
    script.open("a", 1)
    script.tell(ev.BlobWanted("b", MIB, (0, 1, 1)))
    assert script.tell(ev.BlobDropped("b")) == []
    assert script.tell(ev.BlobDropped("a")) == [ev.StopFetch(1)]
    assert script.tell(ev.BlobDropped("a")) == []
    assert repr(script.desk) == "<FetchDesk idle; 0/1+0/3 connections>"


def test_words_about_blobs_that_nobody_knows_change_nothing() -> None:
    script = Script()
    late: list[ev.Event] = [
        ev.BlobOpened("x", MIB, NOTHING_STORED),
        ev.PieceStored(9, "x", 0, False),
        ev.PieceLost("x", 0),
        ev.FetchEnded(9),
        ev.FetchFaulted(9, fault(FaultKind.DENIED)),
        ev.BlobHashed("x", "x", True),
        ev.BlobBroke("x", StorageFailed("/data", "gone")),
        ev.BlobDropped("x"),
        ev.DeadlineReached(),
    ]
    assert script.tell(*late) == []


def test_a_deadline_that_passed_does_not_hide_one_that_is_to_come() -> None:
    script = Script(connections=2)
    script.open("a", 40)
    script.fault(1, FaultKind.RANGE_IGNORED)
    script.tell(ev.PieceStored(3, "a", 0, False), ev.PieceLost("a", 0))  # waits for the running stream
    script.open("b", 1, number=1)
    script.at(5.0).fault(4, FaultKind.UNREACHABLE)
    deadline = script.desk.next_deadline()
    assert deadline is not None
    assert 5.0 < deadline <= 5.5


def test_a_desk_shows_what_it_is_doing() -> None:
    script = Script(connections=2)
    script.open("a", 20)
    script.tell(ev.BlobWanted("b", MIB, (0, 1, 1)))
    assert repr(script.desk) == "<FetchDesk 1 fetching, 1 waiting; 2/2+0/6 connections>"
    assert script.desk.phase("b") is Phase.WAITING
