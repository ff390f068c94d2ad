"""What a node has to hold by what was asked of it and answered; where an answer never came, either way is right."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Held = Literal["yes", "no", "either"]


@dataclass(slots=True)
class Expected:
    """One node. Keys are repo ids; a repo that was never asked for is not held, one never pinned is not pinned.

    `given_up` are blobs that a removal or a cancellation since the last start may have taken.
    """

    held: dict[str, Held] = field(default_factory=dict)
    pinned: dict[str, bool | None] = field(default_factory=dict)
    pulls: dict[str, str] = field(default_factory=dict)
    """Id of a pull that was accepted -> its repo, until it was seen to end."""
    cancelled: set[str] = field(default_factory=set)
    """Ids of pulls whose cancellation was answered."""
    doubtful: set[str] = field(default_factory=set)
    """Ids of pulls of whose repo a removal was cut off: what they brought may be gone again."""
    kept: dict[str, str] = field(default_factory=dict)
    """Repo -> id of its prefetch entry."""
    ever_kept: set[str] = field(default_factory=set)
    """Repos that ever had an entry: a run of it may still be under way."""
    given_up: set[str] = field(default_factory=set)

    def pulls_of(self, repo: str) -> list[str]:
        return [pull_id for pull_id, other in self.pulls.items() if other == repo]
