"""Who watches a pull: a person at a terminal, a log, or nobody."""

from __future__ import annotations

import sys
from typing import Any, Protocol

from distd.cli.live import LiveArea
from distd.cli.output import is_terminal, note
from distd.cli.progress import frame, plain_line

LINE_INTERVAL_S = 10.0
"""Between lines in a log while the state stays the same."""


class Display(Protocol):
    poll_s: float
    """How often to ask a daemon that does not tell by itself."""
    shows_files: bool
    """Whether the files of a pull are looked at, which event streams do not tell."""

    def show(self, pull: dict[str, Any], now: float) -> None:
        """The pull as it is now; `now` in monotonic seconds."""

    def offline(self, since_s: float, now: float) -> None:
        """The daemon has not answered for `since_s`."""

    def close(self) -> None:
        """Removes what was only of the moment. Idempotent."""


class LiveDisplay:
    """Redraws a few lines in place."""

    poll_s = 0.3
    shows_files = True

    def __init__(self) -> None:
        self._area = LiveArea(sys.stderr)

    def show(self, pull: dict[str, Any], now: float) -> None:
        columns, rows = self._area.size()
        self._area.draw(frame(pull, columns - 1, rows))

    def offline(self, since_s: float, now: float) -> None:
        self._area.draw([f"the daemon does not answer; trying for {since_s:.0f} s"])

    def close(self) -> None:
        self._area.clear()


class LineDisplay:
    """One line when the state changes and every ten seconds."""

    poll_s = 0.25
    shows_files = False

    def __init__(self) -> None:
        self._state: object = None
        self._said_at = 0.0

    def show(self, pull: dict[str, Any], now: float) -> None:
        state = (pull["state"], pull["stalled_reason"], [node["state"] for node in pull["nodes"]])
        self._say(state, now, plain_line(pull))

    def offline(self, since_s: float, now: float) -> None:
        self._say("offline", now, f"the daemon does not answer; trying for {since_s:.0f} s")

    def close(self) -> None:
        return

    def _say(self, state: object, now: float, line: str) -> None:
        if state != self._state or now - self._said_at >= LINE_INTERVAL_S:
            note(line)
            self._state, self._said_at = state, now


class NoDisplay:
    poll_s = 0.25
    shows_files = False

    def show(self, pull: dict[str, Any], now: float) -> None:
        return

    def offline(self, since_s: float, now: float) -> None:
        return

    def close(self) -> None:
        return


def choose_display(quiet: bool) -> Display:
    if quiet:
        return NoDisplay()
    return LiveDisplay() if is_terminal(sys.stderr) else LineDisplay()
