"""The invariants of the fetch desk, each tripped by a contradiction that is planted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from distd.core import desk_events as ev
from distd.core.desk import FetchDesk, Phase
from tests.core.desk_script import MIB, Script


def _break_queue(desk: FetchDesk) -> None:
    desk._lanes[0].queue.clear()


def _one_connection_less(desk: FetchDesk) -> None:
    desk._lanes[0].connections = 1


def _lose_what_is_open(desk: FetchDesk) -> None:
    desk._blobs["c"] = replace(desk._blobs["a"], etag="c", in_flight=set())


def _give_fetch_away(desk: FetchDesk) -> None:
    desk._fetches[1].etag = "b"


def _run_past_the_end(desk: FetchDesk) -> None:
    desk._fetches[1].next = desk._fetches[1].end + 1


def _miss_what_is_fetched(desk: FetchDesk) -> None:
    desk._blobs["a"].missing.insert(0, 0)


def _shuffle_missing(desk: FetchDesk) -> None:
    desk._blobs["a"].missing.reverse()


def _stream_twice(desk: FetchDesk) -> None:
    desk._blobs["a"].single_stream = True


def _hash_early(desk: FetchDesk) -> None:
    desk._blobs["a"].phase = Phase.HASHING


def _hash_while_fetching(desk: FetchDesk) -> None:
    desk._blobs["a"].phase = Phase.HASHING
    desk._blobs["a"].missing.clear()


def _orphan_a_fetch(desk: FetchDesk) -> None:
    desk._blobs["a"].in_flight.discard(1)


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (_one_connection_less, "more fetches than connections"),
        (_break_queue, "the queue is not what waits"),
        (_lose_what_is_open, "what is open is not what waits no more"),
        (_give_fetch_away, "a fetch belongs to another blob"),
        (_run_past_the_end, "a fetch stored more than its span"),
        (_miss_what_is_fetched, "are in two places"),
        (_shuffle_missing, "missing pieces are out of order"),
        (_stream_twice, "two streams of a single-stream blob"),
        (_hash_early, "hashing with pieces missing"),
        (_hash_while_fetching, "hashing with fetches running"),
        (_orphan_a_fetch, "a fetch belongs to no blob"),
    ],
)
def test_check_finds_a_planted_contradiction(plant: Callable[[FetchDesk], None], said: str) -> None:
    script = Script(connections=2)
    script.open("a", 100)
    script.tell(ev.BlobWanted("b", MIB, (0, 1, 1)))
    plant(script.desk)
    with pytest.raises(AssertionError, match=said):
        script.desk.check()
