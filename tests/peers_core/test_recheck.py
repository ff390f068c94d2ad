from __future__ import annotations

from peers.recheck import COPIES_RIGHT, COPIES_RIGHT_MIN, SILENT_MAX, Recheck, Verdict
from peers.suspicion import Testimony as Said
from tests.peers_core.builders import digests

TRUTH, FALSE = digests(0).xxh3, digests(0, variant=1).xxh3
GOOD = Said(TRUTH, TRUTH, None)
LACKS = Said(None, None, None)


def checked(*told: Said | None) -> Recheck:
    recheck = Recheck()
    for each in told:
        recheck.answered(each, TRUTH)
    return recheck


def test_enough_right_copies_are_clean() -> None:
    assert checked(*[GOOD] * COPIES_RIGHT).done
    assert checked(*[GOOD] * COPIES_RIGHT_MIN, LACKS).verdict is Verdict.CLEAN
    assert checked(*[GOOD] * (COPIES_RIGHT_MIN - 1), LACKS).verdict is Verdict.UNKNOWN
    assert checked(*[Said(TRUTH, TRUTH, digests(0))] * COPIES_RIGHT).verdict is Verdict.CLEAN


def test_one_wrong_word_is_enough() -> None:
    for wrong in (
        Said(TRUTH, FALSE, None),
        Said(FALSE, FALSE, None),
        Said(TRUTH, TRUTH, digests(0, variant=1)),
        Said(None, None, digests(0, variant=1)),
    ):
        found = checked(*[GOOD] * COPIES_RIGHT_MIN, wrong)
        assert (found.done, found.verdict) == (True, Verdict.WRONG)


def test_silence_tells_nothing_and_is_not_asked_for_ever() -> None:
    found = checked(*[None] * SILENT_MAX)
    assert (found.done, found.verdict) == (True, Verdict.UNKNOWN)
    assert not checked(None, LACKS).done
