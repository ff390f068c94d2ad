"""Whether a member that was banned on evidence is well again: it is asked for single copies once more, as suspects are.

A copy counts when the member holds the piece: what it states, what it sends and what it claims to have fetched have to be the piece
as this member's own verified file has it. One wrong word and it stays banned; with too few copies to tell nothing changes. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from peers.suspicion import Testimony

COPIES_ASKED_MAX = 32
"""Questions: one that is answered by saying that it lacks the piece costs nothing."""

COPIES_RIGHT = 8
"""With so many it is well: evidence was two damaged pieces or three false claims."""

COPIES_RIGHT_MIN = 4
"""Where files here are too small, or too few are on both, for more."""


SILENT_MAX = 3
"""A member that does not answer is asked another day."""


class Verdict(Enum):
    CLEAN = "clean"
    WRONG = "wrong"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Recheck:
    """Feed it each answer, until it is `done`."""

    asked: int = 0
    right: int = 0
    wrong: int = 0
    silent: int = 0

    @property
    def done(self) -> bool:
        enough = self.right >= COPIES_RIGHT or self.asked >= COPIES_ASKED_MAX
        return bool(self.wrong) or enough or self.silent >= SILENT_MAX

    @property
    def verdict(self) -> Verdict:
        if self.wrong:
            return Verdict.WRONG
        return Verdict.CLEAN if self.right >= COPIES_RIGHT_MIN else Verdict.UNKNOWN

    def answered(self, told: Testimony | None, truth: bytes) -> None:
        """``truth``: the xxh3-128 of the piece in this member's own verified file; ``told`` None: no answer."""
        self.asked += 1
        if told is None:
            self.silent += 1
            return
        words = (told.stated, told.sent, told.claimed.xxh3 if told.claimed else None)
        if any(word is not None and word != truth for word in words):
            self.wrong += 1
        elif told.stated is not None and told.sent is not None:
            self.right += 1
