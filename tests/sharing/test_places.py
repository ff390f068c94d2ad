"""How many blobs are in work at once, and that an urgent one finds a place."""

from __future__ import annotations

from distd.sharing.places import FILLING_BLOBS_MAX, URGENT_BLOBS_MAX, WORKED_BLOBS_MAX, Places


def test_equals_share_the_places() -> None:
    places = Places([])
    assert [places.take(0) for _ in range(FILLING_BLOBS_MAX + 1)] == [True] * FILLING_BLOBS_MAX + [False]


def test_what_has_arrived_makes_room_but_not_without_end() -> None:
    assert Places([(0, False)] * (WORKED_BLOBS_MAX - 1)).take(0)
    assert not Places([(0, False)] * WORKED_BLOBS_MAX).take(0)


def test_an_urgent_blob_does_not_wait_for_less_urgent_ones_and_they_wait_for_it() -> None:
    places = Places([(0, True)] * FILLING_BLOBS_MAX)
    assert places.take(-10)
    assert not places.take(0)
    assert not Places([(-10, True)] * FILLING_BLOBS_MAX).take(0)


def test_however_urgent_there_is_an_end() -> None:
    places = Places([(0, False)] * WORKED_BLOBS_MAX)
    assert [places.take(-n) for n in range(1, URGENT_BLOBS_MAX + 2)] == [True] * URGENT_BLOBS_MAX + [False]
