from __future__ import annotations

from distd.sharing.findings import named, told_of
from peers import member_actions as act


def test_pieces_are_named_as_runs_and_many_are_counted() -> None:
    assert named(0b1) == "piece 0"
    assert named(0b11100100) == "pieces 2, 5-7"
    every_other = sum(1 << piece for piece in range(0, 40, 2))
    assert named(every_other) == "pieces 0, 2, 4, 6, 8 and others, 20 in all"


def test_the_story_tells_who_got_wrong_bytes_and_how_it_is_known() -> None:
    assert told_of(act.FoundWrongFetches("n1", 0b1, proven=False))[0] == "fetch_outvoted"
    event, text = told_of(act.FoundWrongFetches("n1", 0b110, proven=True))
    assert event == "fetch_wrong"
    assert text == (
        "pieces 1-2 came from the Hub to n1 with wrong bytes: they were fetched again by others, "
        "and the whole is right with theirs"
    )
    assert "n0, n1" in told_of(act.FoundWrongWhole(("n0", "n1")))[1]


def test_the_story_tells_of_members_that_are_slower_than_the_hub() -> None:
    event, text = told_of(act.FoundMembersSlow(0b111, 37.4, 4.6))
    assert event == "members_slow"
    assert text == (
        "what members have and this node lacks, 3 pieces of this file among it, would come from them in 37 s and from the "
        "Hub in 5 s: what comes last is fetched from the Hub as well"
    )
