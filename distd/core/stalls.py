"""When a pull's story tells that it stands still and what it waits for, and that it goes on. Pure."""

from __future__ import annotations

TOLD_AFTER_S = 10.0
"""Shorter stops are part of every pull."""
TOLD_MAX = 50
"""Of one pull and run, so that a link that comes and goes does not push everything else out of the story."""


class StallStory:
    """Of one pull: `look` at it every second or two."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._told = False
        self._count = 0

    def look(self, reason: str | None, now: float) -> tuple[str, str] | None:
        """The event's name and its sentence, when there is something to tell. `reason` is None while bytes arrive."""
        if reason is None:
            since, told = self._since, self._told
            self._since, self._told = None, False
            return ("resumed", f"goes on after {now - since:.0f} s") if told and since is not None else None
        self._since = now if self._since is None else self._since
        if self._told or now - self._since < TOLD_AFTER_S or self._count >= TOLD_MAX:
            return None
        self._told = True
        self._count += 1
        return "stalled", f"stands still: {reason}"
