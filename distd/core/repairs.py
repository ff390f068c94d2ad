"""When what replaces a rotten file is done, and when it is tried again. Times are epoch seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from distd.core.pull import PullState

RETRY_S = 6 * 3600.0
"""An outage is over by then; a file that nobody has any more costs four pulls a day."""
REPAIRS_MAX = 1000
"""Remembered at a time, as many as pulls may be unfinished. A disk that lost more files is one to be replaced."""

Verdict = Literal["done", "wait", "try"]


def verdict(pulls: Sequence[PullState | None], tried_at: float, now: float) -> Verdict:
    """What to do about a rotten file whose last pulls are in these states, None for one that is forgotten.

    Cancelled is as done: somebody does not want it. A clock that was set back brings the next try forward.
    """
    if pulls and all(state in ("complete", "cancelled") for state in pulls):
        return "done"
    if not pulls:
        return "try"
    unfinished = any(state not in ("complete", "cancelled", "failed", None) for state in pulls)
    return "wait" if unfinished or 0 <= now - tried_at < RETRY_S else "try"
