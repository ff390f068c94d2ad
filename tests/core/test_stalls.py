from __future__ import annotations

from distd.core.stalls import TOLD_AFTER_S, TOLD_MAX, StallStory


def test_a_stop_is_told_once_when_it_has_lasted_and_so_is_its_end() -> None:
    story = StallStory()
    assert story.look("no source", 100.0) is None
    assert story.look("no source", 99.0 + TOLD_AFTER_S) is None
    assert story.look("no source", 100.0 + TOLD_AFTER_S) == ("stalled", "stands still: no source")
    assert story.look("another reason", 120.0) is None
    assert story.look(None, 130.0) == ("resumed", "goes on after 30 s")
    assert story.look(None, 132.0) is None


def test_a_short_stop_is_not_told_and_does_not_count_for_the_next() -> None:
    story = StallStory()
    story.look("no source", 0.0)
    assert story.look(None, TOLD_AFTER_S - 1) is None
    assert story.look("no source", TOLD_AFTER_S) is None


def test_a_link_that_comes_and_goes_does_not_fill_the_story() -> None:
    story = StallStory()
    told = []
    for turn in range(2 * TOLD_MAX):
        start = turn * 100.0
        told += [story.look(reason, start + after) for reason, after in (("x", 0), ("x", 50), (None, 60))]
    assert len([each for each in told if each and each[0] == "stalled"]) == TOLD_MAX
