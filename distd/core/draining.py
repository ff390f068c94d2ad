"""A node that is taken out of service: what it has left to do before it may go.

Its pulls go on while other members work on the same blobs: those need its pieces, and what they fetch completes it. A pull
that is of no use to anybody else is paused. Snapshots that no other member has are pulled by one that has room. The node is
*drained* when nothing of this is left. Pure; sizes are bytes, times monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from distd.core.refs import RepoType

DrainState = Literal["in_service", "draining", "drained"]

ALONE_S = 3.0
"""A pull is paused when nobody else was at work on its blobs for so long: a lead answers every second."""

HANDED_AT_ONCE_MAX = 2
"""One is moved while the other is being planned; more would only share this node's link."""

TARGETS_TRIED_MAX = 3
"""Per snapshot: what three members could not take needs a person."""


@dataclass(frozen=True, slots=True, order=True)
class Snapshot:
    """`paths` empty: all files of the manifest."""

    type: RepoType
    repo: str
    commit: str
    size_bytes: int
    pinned: bool = False
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HandOver:
    """Have the member `to` pull the snapshot."""

    snapshot: Snapshot
    to: str


@dataclass(slots=True)
class Sole:
    """A snapshot that no other member has. `to`: who is pulling it, empty for nobody; `trouble`: why the last did not."""

    snapshot: Snapshot
    to: str = ""
    trouble: str = ""
    tried: list[str] = field(default_factory=list)


class Drain:
    """One node's way out of service."""

    def __init__(self) -> None:
        self.sole: dict[Snapshot, Sole] = {}
        self._alone_since: dict[str, float] = {}

    def to_pause(self, pulls: Mapping[str, bool], now: float) -> list[str]:
        """Those that nobody else has used for a while, of the pulls at work with whether others work on the same blobs."""
        self._alone_since = {
            pull: self._alone_since.get(pull, now) for pull, is_shared in pulls.items() if not is_shared
        }
        return [pull for pull, since in self._alone_since.items() if now - since >= ALONE_S]

    def looked(self, sole: Iterable[Snapshot]) -> None:
        """These are on no other member now."""
        self.sole = {snapshot: self.sole.get(snapshot) or Sole(snapshot) for snapshot in sole}

    def hand_over(self, free_bytes: Mapping[str, int]) -> list[HandOver]:
        """What to begin now; `free_bytes`: the members in service, with the room that each has left. Largest first."""
        room = dict(free_bytes)
        for each in self.sole.values():
            if each.to in room:
                room[each.to] -= each.snapshot.size_bytes
        begun: list[HandOver] = []
        for each in sorted(self.sole.values(), key=lambda each: -each.snapshot.size_bytes):
            under_way = sum(bool(other.to) for other in self.sole.values())
            if each.to or under_way >= HANDED_AT_ONCE_MAX or len(each.tried) >= TARGETS_TRIED_MAX:
                continue
            size = each.snapshot.size_bytes
            fitting = [name for name, free in room.items() if free > size and name not in each.tried]
            if not fitting:
                each.trouble = each.trouble or f"no other member in service has {size} bytes free"
                continue
            each.to = max(fitting, key=lambda name: (room[name], name))
            room[each.to] -= size
            begun.append(HandOver(each.snapshot, each.to))
        return begun

    def handed(self, snapshot: Snapshot, trouble: str) -> None:
        """The pull there has ended; `trouble` is empty when it is complete."""
        each = self.sole.get(snapshot)
        if each is None:
            return
        if trouble:
            each.trouble = f"{each.to}: {trouble}"
            each.tried.append(each.to)
            each.to = ""
        else:
            del self.sole[snapshot]

    def state(self, pulls: Collection[str], served: bool, looked: bool) -> DrainState:
        """`pulls` at work; `served`: others are taking blobs from here; `looked`: it is known what is only here."""
        done = looked and not pulls and not served and not self.sole
        return "drained" if done else "draining"


def listed(sole: Mapping[Snapshot, Sole]) -> Sequence[Sole]:
    return sorted(sole.values(), key=lambda each: each.snapshot)
