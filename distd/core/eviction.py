"""What goes when room is wanted: first what nothing shows any more, then the least recently used snapshots.

A blob goes with the last snapshot that has it, so what a snapshot frees depends on what goes with it. Nothing is
chosen that a pull needs or that is in use, and nothing more than is wanted. Sizes are bytes, times epoch seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Key = tuple[str, str]
"""A snapshot: its folder in the cache (`models--org--name`) and its commit."""

RECENT_S = 3600.0
"""Read within this time counts as in use: a server that crashed while it loaded a model comes back for it."""

HOPELESS_S = 60.0
"""How long nothing is looked at again when all that may go would not be enough: a look costs a question per file."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One blob of the store. `frees_bytes` is less than its size where somebody else links the file, too."""

    size_bytes: int
    frees_bytes: int
    busy: bool = False
    """Needed by a pull, sent to a member, or open in a program."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A published snapshot. `kept` says why it has to stay, and is empty where it need not."""

    key: Key
    etags: frozenset[str]
    used_at: float
    kept: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Room to be made: by the quota, which counts sizes, and on the disk, where only a file's last name frees it."""

    quota_bytes: int = 0
    disk_bytes: int = 0

    def __bool__(self) -> bool:
        return self.quota_bytes > 0 or self.disk_bytes > 0


@dataclass(frozen=True, slots=True)
class Inventory:
    """All of the store. `loose`: blobs that nothing shows; `parts`: begun blobs that no pull wants now."""

    blobs: Mapping[str, Stored]
    snapshots: tuple[Snapshot, ...]
    loose: frozenset[str] = frozenset()
    parts: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What goes. `blobs` are all that leave the store, those of the snapshots included."""

    loose: tuple[str, ...]
    parts: tuple[str, ...]
    snapshots: tuple[Snapshot, ...]
    blobs: frozenset[str]
    quota_bytes: int
    disk_bytes: int
    enough: bool

    @property
    def is_empty(self) -> bool:
        return not (self.loose or self.parts or self.snapshots)


def decide(inventory: Inventory, wanted: Wanted, *, collect: bool = False) -> Decision:
    """The least recently used of what may go until `wanted` is met, or all that may when that is not enough.

    `collect`: everything loose goes, whether room is wanted or not.
    """
    choice = _Choice(inventory, wanted)
    loose = [etag for etag in sorted(inventory.loose) if not inventory.blobs[etag].busy]
    if not collect:
        loose = [etag for etag in loose if choice.take_loose(etag)]
    else:
        for etag in loose:
            choice.add(inventory.blobs[etag])
    parts = [
        etag for etag, size_bytes in sorted((inventory.parts or {}).items()) if choice.take_part(size_bytes)
    ]
    victims: list[Snapshot] = []
    for snapshot in sorted(_evictable(inventory.snapshots), key=lambda each: (each.used_at, each.key)):
        if choice.is_met:
            break
        choice.take(snapshot)
        victims.append(snapshot)
    if choice.is_met:  # what frees nothing, or no longer has to, stays
        for snapshot in sorted(victims, key=lambda each: (-each.used_at, each.key)):
            if choice.give_back(snapshot):
                victims.remove(snapshot)
    else:
        victims = choice.without_use(victims)
    gone = frozenset(loose) | choice.gone_with(victims)
    return Decision(
        tuple(loose),
        tuple(parts),
        tuple(victims),
        gone,
        choice.quota_bytes,
        choice.disk_bytes,
        choice.is_met,
    )


class Upkeep:
    """When room is made although no pull asks for it: as soon as some is wanted, and rarely where nothing helps.

    Like a pull, it takes nothing when all that may go would not be enough: a reserve larger than the disk must not
    cost the whole cache. A disk that fills up little by little is met little by little.
    """

    def __init__(self) -> None:
        self._not_before = 0.0
        self.is_hopeless = False

    def is_due(self, wanted: Wanted, now: float) -> bool:
        if not wanted:
            self.is_hopeless, self._not_before = False, 0.0
        return bool(wanted) and now >= self._not_before

    def may_carry_out(self, decision: Decision, now: float) -> bool:
        """Whether to do what was decided; told of each decision once."""
        self.is_hopeless = not decision.enough
        self._not_before = now + HOPELESS_S if self.is_hopeless else 0.0
        return decision.enough


def evictable_bytes(inventory: Inventory) -> int:
    """What the disk would get if everything went that may."""
    return decide(inventory, Wanted(disk_bytes=1 << 62)).disk_bytes


def used_at(
    snapshot: frozenset[str], times: Iterable[float], last_read: Mapping[str, float], users: Mapping[str, int]
) -> float:
    """When a snapshot was last used: the latest of the recorded times and of reads that tell it from others.

    Many repos share their small files, so reads of a blob that other snapshots have too count only where a
    snapshot has no blob of its own.
    """
    own = [etag for etag in snapshot if users.get(etag, 0) <= 1]
    return max([*times, *(last_read[etag] for etag in own or snapshot if etag in last_read)], default=0.0)


def _evictable(snapshots: Iterable[Snapshot]) -> list[Snapshot]:
    return [snapshot for snapshot in snapshots if not snapshot.kept]


class _Choice:
    """What was taken so far, and what that frees."""

    def __init__(self, inventory: Inventory, wanted: Wanted) -> None:
        self._inventory = inventory
        self._wanted = wanted
        self._users = Counter(etag for snapshot in inventory.snapshots for etag in snapshot.etags)
        self.quota_bytes = 0
        self.disk_bytes = 0

    @property
    def is_met(self) -> bool:
        return self._met(0, 0)

    def _met(self, less_quota_bytes: int, less_disk_bytes: int) -> bool:
        return (
            self.quota_bytes - less_quota_bytes >= self._wanted.quota_bytes
            and self.disk_bytes - less_disk_bytes >= self._wanted.disk_bytes
        )

    def add(self, blob: Stored) -> None:
        self.quota_bytes += blob.size_bytes
        self.disk_bytes += blob.frees_bytes

    def take_loose(self, etag: str) -> bool:
        if self.is_met:
            return False
        self.add(self._inventory.blobs[etag])
        return True

    def take_part(self, size_bytes: int) -> bool:
        if self.is_met:
            return False
        self.add(Stored(size_bytes, size_bytes))
        return True

    def take(self, snapshot: Snapshot) -> None:
        for etag in snapshot.etags:
            self._users[etag] -= 1
            if not self._users[etag] and (blob := self._free(etag)):
                self.add(blob)

    def give_back(self, snapshot: Snapshot) -> bool:
        """Leaves a taken snapshot after all, if what is wanted is met without it."""
        back = [blob for etag in snapshot.etags if not self._users[etag] and (blob := self._free(etag))]
        quota_bytes, disk_bytes = sum(b.size_bytes for b in back), sum(b.frees_bytes for b in back)
        if not self._met(quota_bytes, disk_bytes):
            return False
        for etag in snapshot.etags:
            self._users[etag] += 1
        self.quota_bytes -= quota_bytes
        self.disk_bytes -= disk_bytes
        return True

    def without_use(self, victims: list[Snapshot]) -> list[Snapshot]:
        """Of all that may go, what frees anything."""
        return [victim for victim in victims if any(not self._users[etag] for etag in victim.etags)]

    def gone_with(self, victims: Iterable[Snapshot]) -> frozenset[str]:
        return frozenset(
            etag
            for victim in victims
            for etag in victim.etags
            if not self._users[etag] and self._free(etag) is not None
        )

    def _free(self, etag: str) -> Stored | None:
        """The blob, if the store has it and it may go; one that is busy stays with whoever uses it."""
        blob = self._inventory.blobs.get(etag)
        return blob if blob is not None and not blob.busy else None
