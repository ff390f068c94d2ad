"""When a rotten file counts as replaced, and when it is tried again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from distd.core.pull import PullState
from distd.core.repairs import RETRY_S, Verdict, verdict

AT = 1_000_000.0


@pytest.mark.parametrize(
    ("pulls", "after_s", "expected"),
    [
        ([], 0.0, "try"),
        (["queued"], RETRY_S, "wait"),
        (["complete"], 0.0, "done"),
        (["complete", "downloading"], 2 * RETRY_S, "wait"),
        (["complete", "cancelled"], 0.0, "done"),
        (["complete", "failed"], RETRY_S - 1, "wait"),
        (["complete", "failed"], RETRY_S, "try"),
        ([None], RETRY_S - 1, "wait"),
        ([None], RETRY_S, "try"),
        (["paused"], 2 * RETRY_S, "wait"),
    ],
)
def test_what_is_done_about_a_rotten_file(
    pulls: Sequence[PullState | None], after_s: float, expected: Verdict
) -> None:
    assert verdict(pulls, AT, AT + after_s) == expected


def test_a_clock_that_was_set_back_does_not_put_the_next_try_off() -> None:
    assert verdict(["failed"], AT, AT - 9 * RETRY_S) == "try"
