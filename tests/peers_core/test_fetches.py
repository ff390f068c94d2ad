from __future__ import annotations

import pytest

from peers.fetches import Fetches
from peers.hub_link import HubLink
from peers.messages import Lease, LeaseKey
from peers.piece_set import Span


def lease(start: int, stop: int, number: int = 1, lead: str = "lead", term: int = 1) -> Lease:
    return Lease(LeaseKey(lead, term, number), Span(start, stop), "me")


@pytest.fixture
def fetches() -> Fetches:
    return Fetches(HubLink())


def test_a_lease_starts_a_fetch_once(fetches: Fetches) -> None:
    (started,) = fetches.reconcile([lease(0, 4)], True, 0.0).started
    assert (started.number, started.remaining) == (1, Span(0, 4))
    assert fetches.reconcile([lease(0, 4)], True, 0.1).started == ()
    assert (fetches.pieces, fetches.busy) == (0b1111, 1)


def test_a_fetch_without_a_lease_stops(fetches: Fetches) -> None:
    fetches.reconcile([lease(0, 4)], True, 0.0)
    assert fetches.reconcile([], True, 1.0).stopped == (1,)
    assert not fetches.piece_arrived(1, 0, 10, 1.0), "a late piece of a stopped fetch is dropped"


def test_nothing_starts_while_the_hub_may_not_be_asked(fetches: Fetches) -> None:
    assert fetches.reconcile([lease(0, 4)], False, 0.0).started == ()
    assert len(fetches.reconcile([lease(0, 4)], True, 1.0).started) == 1


def test_a_span_ends_after_its_last_piece_and_is_not_fetched_again(fetches: Fetches) -> None:
    fetches.reconcile([lease(0, 2)], True, 0.0)
    assert fetches.piece_arrived(1, 0, 10, 1.0)
    assert fetches.progress()[0].remaining == Span(1, 2)
    assert fetches.piece_arrived(1, 1, 10, 2.0)
    assert (fetches.progress(), list(fetches.closed)) == ((), [lease(0, 2).key])
    assert fetches.reconcile([lease(1, 2)], True, 2.1).started == ()
    fetches.reconcile([], True, 2.2)
    assert fetches.closed == {}


def test_a_running_fetch_takes_the_name_that_a_new_lead_gives_it(fetches: Fetches) -> None:
    fetches.reconcile([lease(0, 4)], True, 0.0)
    fetches.piece_arrived(1, 0, 10, 1.0)
    renamed = lease(0, 4, number=9, lead="other", term=2)
    reconciled = fetches.reconcile([renamed], True, 1.1)
    assert (reconciled.started, reconciled.stopped) == ((), ())
    assert fetches.progress()[0].key == renamed.key


def test_a_span_that_ended_before_a_new_lead_named_it_is_not_fetched_again(fetches: Fetches) -> None:
    fetches.reconcile([lease(0, 1)], True, 0.0)
    fetches.piece_arrived(1, 0, 10, 1.0)
    renamed = lease(0, 1, number=9, lead="other", term=2)
    assert fetches.reconcile([renamed], True, 1.1).started == ()
    assert renamed.key in fetches.closed


def test_the_same_lead_may_lease_the_same_span_again(fetches: Fetches) -> None:
    fetches.reconcile([lease(0, 1, number=1)], True, 0.0)
    fetches.piece_arrived(1, 0, 10, 1.0)
    assert len(fetches.reconcile([lease(0, 1, number=2)], True, 1.1).started) == 1


def test_a_failed_span_is_given_back_once(fetches: Fetches) -> None:
    fetches.reconcile([lease(0, 4)], True, 0.0)
    assert fetches.failed(1)
    assert not fetches.failed(1)
    assert list(fetches.closed) == [lease(0, 4).key]


def test_bytes_within_a_piece_count_as_progress(fetches: Fetches) -> None:
    fetches.reconcile([lease(0, 4)], True, 0.0)
    fetches.progressed(1, 7, 0.1)
    fetches.progressed(1, 5, 0.2)
    fetches.progressed(2, 9, 0.3)
    assert fetches.progress()[0].done_bytes == 7


def test_the_rate_of_the_link_follows_what_arrives() -> None:
    link = HubLink()
    fetches = Fetches(link)
    fetches.reconcile([lease(0, 100)], True, 0.0)
    for piece in range(50):
        fetches.piece_arrived(1, piece, 1000, 0.5 * (piece + 1))
    assert link.rate_bytes_per_s == pytest.approx(2000, rel=0.01)


def test_pieces_outside_the_span_are_not_taken(fetches: Fetches) -> None:
    fetches.reconcile([lease(2, 4)], True, 0.0)
    assert not fetches.piece_arrived(1, 1, 10, 1.0)
    assert not fetches.piece_arrived(1, 4, 10, 1.0)
    assert fetches.stop_all() == (1,)
