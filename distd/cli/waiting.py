"""Waits for a pull: told by the daemon's event stream, asking again and again while there is none, through restarts too."""

from __future__ import annotations

import time
from typing import Any

from distd.cli.client import Client, pull_path
from distd.cli.displays import Display
from distd.cli.events import Event, Follower
from distd.cli.failures import DaemonUnreachable

FINISHED = ("complete", "failed", "cancelled")
OFFLINE_MAX_S = 30.0
"""How long the daemon may be away: a restart takes a few seconds, with its checks of the store ten."""
FIRST_POLL_S = 0.05
POLL_GROWTH = 1.2
POLL_TIMEOUT_S = 10.0
COST_SHARE = 10
"""Asking takes at most a tenth of the time: the answer for a repo of 100,000 files is large."""
COST_PAUSE_MAX_S = 10.0
SILENT_S = 20.0
"""A stream that tells nothing for so long is not relied on alone: the pull may wait, and something between may have failed."""
TICK_S = 1.0
"""How long an event is waited for before the display is given the time: it may have a line to write."""

Pull = dict[str, Any]


def wait(client: Client, pull: Pull, display: Display) -> Pull:
    """The pull once it has finished.

    Raises DaemonUnreachable after OFFLINE_MAX_S without an answer, ProblemAnswered when the daemon no
    longer knows the pull.
    """
    path = pull_path(pull["id"])
    if pull["state"] in FINISHED:
        return pull
    asking = _Asking(client, path, display)
    display.show(pull, time.monotonic())
    with Follower(client, f"{path}/events") as follower:
        while pull["state"] not in FINISHED:
            if event := follower.next(TICK_S if follower.is_open else FIRST_POLL_S):
                asking.answered()
                pull = _told(event, pull)
                if pull["state"] in FINISHED:
                    break
                if display.shows_files and pull["state"] == "downloading" and not pull["nodes"]:
                    pull = asking.sometimes(pull)
                display.show(pull, time.monotonic())
            elif follower.is_open and not asking.is_silent_for(SILENT_S):
                display.show(pull, time.monotonic())
            else:
                pull = asking.again(pull)
    # With its files, which no event has; a daemon that has just gone away has told the end already.
    return asking.at_last(pull)


def _told(event: Event, pull: Pull) -> Pull:
    """`pull` as the event says; the files stay those that were seen last."""
    views = event.data["pulls"] if event.kind == "reset" else [event.data]
    return {**pull, **views[0], "files": pull["files"]} if views else pull


class _Asking:
    """Asks the daemon for the pull, as seldom as its answers are dear."""

    def __init__(self, client: Client, path: str, display: Display) -> None:
        self._client = client
        self._path = path
        self._display = display
        self._pause_s = min(FIRST_POLL_S, display.poll_s)
        self._answered_at = time.monotonic()
        self._next_at = 0.0

    def answered(self) -> None:
        """The daemon said something, here or on its stream."""
        self._answered_at = time.monotonic()

    def is_silent_for(self, time_s: float) -> bool:
        return time.monotonic() - self._answered_at > time_s

    def again(self, pull: Pull) -> Pull:
        """Waits its pause, asks, and shows what there is. Raises as `wait`."""
        time.sleep(self._pause_s)
        self._pause_s = min(self._pause_s * POLL_GROWTH, self._display.poll_s)
        try:
            pull = self._ask()
        except DaemonUnreachable:
            if time.monotonic() - self._answered_at > OFFLINE_MAX_S:
                raise
            self._display.offline(time.monotonic() - self._answered_at, time.monotonic())
            return pull
        if pull["state"] not in FINISHED:
            self._display.show(pull, self._answered_at)
        self._pause_s = max(self._pause_s, min(self._next_at - time.monotonic(), COST_PAUSE_MAX_S))
        return pull

    def sometimes(self, pull: Pull) -> Pull:
        """Asked anew unless that would be too dear; `pull` also when there is no answer."""
        if time.monotonic() < self._next_at:
            return pull
        try:
            return self._ask()
        except DaemonUnreachable:
            return pull

    def at_last(self, pull: Pull) -> Pull:
        """The end in full, whether or not it was told before."""
        if pull["files"] and all(file["state"] == "verified" for file in pull["files"]):
            return pull
        try:
            return self._ask()
        except DaemonUnreachable:
            return pull

    def _ask(self) -> Pull:
        asked_at = time.monotonic()
        found: Pull = self._client.get(self._path, timeout_s=POLL_TIMEOUT_S)
        self._answered_at = time.monotonic()
        self._next_at = self._answered_at + (self._answered_at - asked_at) * COST_SHARE
        return found
