"""Waits for a pull by asking again and again, through a restart of the daemon too."""

from __future__ import annotations

import time
from typing import Any

from distd.cli.client import Client, pull_path
from distd.cli.displays import Display
from distd.cli.failures import DaemonUnreachable

FINISHED = ("complete", "failed", "cancelled")
OFFLINE_MAX_S = 30.0
"""How long the daemon may be away: a restart takes a few seconds, with its checks of the store ten."""
FIRST_POLL_S = 0.05
"""The first questions come quickly: a pull whose files are all held is complete at once."""
POLL_GROWTH = 1.2
POLL_TIMEOUT_S = 10.0
COST_SHARE = 10
"""Asking takes at most a tenth of the time: the answer for a repo of 100,000 files is large."""
COST_PAUSE_MAX_S = 10.0


def wait(client: Client, pull: dict[str, Any], display: Display) -> dict[str, Any]:
    """The pull once it has finished.

    Raises DaemonUnreachable after OFFLINE_MAX_S without an answer, ProblemAnswered when the daemon no
    longer knows the pull.
    """
    pause_s = min(FIRST_POLL_S, display.poll_s)
    answered_at = time.monotonic()
    is_answered = True
    while pull["state"] not in FINISHED:
        if is_answered:
            display.show(pull, answered_at)
        else:
            display.offline(time.monotonic() - answered_at, time.monotonic())
        time.sleep(pause_s)
        pause_s = min(pause_s * POLL_GROWTH, display.poll_s)
        asked_at = time.monotonic()
        try:
            pull = client.get(pull_path(pull["id"]), timeout_s=POLL_TIMEOUT_S)
        except DaemonUnreachable:
            is_answered = False
            if time.monotonic() - answered_at > OFFLINE_MAX_S:
                raise
        else:
            is_answered = True
            answered_at = time.monotonic()
            pause_s = max(pause_s, min((answered_at - asked_at) * COST_SHARE, COST_PAUSE_MAX_S))
    return pull
