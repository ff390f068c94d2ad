"""Who is in the cluster: a table that spreads by gossip, after SWIM (Das, Gupta, Motivala 2002).

Every round each member exchanges its whole table with one random member (push-pull). Each entry carries an incarnation
number that only its owner raises. Of two entries for one member the one with the higher incarnation wins, then the worse
state; so merging is commutative, associative and idempotent. A member that does not answer becomes *suspect*, and *dead*
when nobody refutes that in time; the suspect itself refutes by raising its incarnation. *Left* is said by the leaver.

An operator can have a dead member *forgotten*: its entry is told on as a tombstone, which outranks the dead one wherever
that is still told, and nobody shows it; a member that is there after all is back with its next incarnation. Members that
are *banned* here keep their entries but do not count: they are not live, not asked, and what they tell is not taken.

Suspects count as live: only death moves leads and leases. Incarnations start at the daemon's start time in milliseconds,
so a restarted daemon outranks whatever is still told about its former life. Times are monotonic seconds.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TypeAlias

from peers.invariants import require

ROUND_S = 1.0
"""One exchange per member and second: news reaches 1,000 members in about ten rounds."""

SUSPICION_ROUNDS_MIN = 5.0
"""Rounds a suspect has to refute in the smallest cluster; grows with the logarithm of its size, as news does."""

RECONNECT_S = 10.0
"""How often one member believed dead is tried again, so that a healed partition is noticed."""

DEAD_REMEMBERED_S = 86_400.0
"""Dead and left members are told about this long; a table that forgot earlier would learn them anew from others."""

MEMBERS_MAX = 4096
"""Bounds the table and with it each exchange (about half a megabyte); beyond it sites are meant to be joined by leads."""


class MemberState(IntEnum):
    """Worse states win among entries of the same incarnation."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3


@dataclass(frozen=True, slots=True, order=True)
class MemberFacts:
    """What a member tells about itself. ``hub_down_cluster`` in bytes per second, 0 none; ``hub_busy``: it fetches from
    the Hub now. Addresses are ``host:port``. ``secret_ids``: the secrets it accepts (`auth.secret_ids`), the one it signs
    with first; empty when it does not tell. ``draining``: it is being taken out of service."""

    address: str
    zone: str = ""
    hot_address: str = ""
    sealed_address: str = ""
    fetches_hub: bool = True
    hub_down_cluster: float = 0.0
    hub_busy: bool = False
    wire_version: int = 1
    secret_ids: tuple[bytes, ...] = ()
    draining: bool = False


@dataclass(frozen=True, slots=True)
class MemberEntry:
    """One line of the table, as it travels."""

    name: str
    incarnation: int
    state: MemberState
    facts: MemberFacts
    forgotten: bool = False

    @property
    def live(self) -> bool:
        return self.state in (MemberState.ALIVE, MemberState.SUSPECT)

    def outranks(self, other: MemberEntry) -> bool:
        """Whether this entry replaces the other; facts decide last, only to make the order total."""
        mine = (self.incarnation, self.state, self.forgotten, self.facts)
        return mine > (other.incarnation, other.state, other.forgotten, other.facts)


Table: TypeAlias = tuple[MemberEntry, ...]


@dataclass(frozen=True, slots=True)
class GossipReceived:
    """The table of ``sender`` arrived: as a request (answer it with `Membership.table`) or as the answer to ours."""

    sender: str
    table: Table


@dataclass(frozen=True, slots=True)
class GossipFailed:
    """The address of a `Gossip` action did not answer."""

    address: str


@dataclass(frozen=True, slots=True)
class FactsChanged:
    """This member's own facts changed."""

    facts: MemberFacts


@dataclass(frozen=True, slots=True)
class LeaveDecided:
    """This daemon stops: tell a few members, so that nobody has to suspect it first."""


@dataclass(frozen=True, slots=True)
class MemberForgotten:
    """An operator says that this member will not be back. A live one stays."""

    name: str


@dataclass(frozen=True, slots=True)
class BansChanged:
    """From now on these members, and no others, are banned here."""

    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class RoundCame:
    """The time named by `Membership.deadline` has come."""


@dataclass(frozen=True, slots=True)
class Gossip:
    """Send the table to this address; feed its answer back as `GossipReceived`, or `GossipFailed`."""

    address: str
    table: Table


@dataclass(frozen=True, slots=True)
class TellLive:
    """The set of live members, or facts that leads depend on, changed. ``zones``: of the live members that have one."""

    live: frozenset[str]
    hub_down_cluster: float
    hub_busy: frozenset[str]
    draining: frozenset[str] = frozenset()
    zones: Mapping[str, str] = field(default_factory=dict)


MembershipEvent: TypeAlias = (
    GossipReceived | GossipFailed | FactsChanged | LeaveDecided | MemberForgotten | BansChanged | RoundCame
)
MembershipAction: TypeAlias = Gossip | TellLive

CHANGE_TELLS = 3
"""Members told of changed facts at once: a small fleet shares its bandwidth anew without waiting for a round."""

LEAVE_TELLS = 3
"""Members told of a leave directly; gossip does the rest."""


@dataclass(slots=True)
class _Line:
    """An entry and this member's own clock for it."""

    entry: MemberEntry
    since: float
    failures: int = field(default=0)


class Membership:
    """This member's view of the cluster. ``join`` are addresses to gossip with while nobody else is known."""

    def __init__(
        self,
        me: MemberEntry,
        join: Iterable[str],
        rng: random.Random,
        now: float,
        known: Iterable[MemberEntry] = (),
    ) -> None:
        self.me = me.name
        self._join = tuple(join)
        self._rng = rng
        self._lines = {me.name: _Line(me, now)}
        self._next_round = now
        self._next_reconnect = now + RECONNECT_S
        self._told: TellLive | None = None
        self._banned: frozenset[str] = frozenset()
        for entry in known:
            self._take(entry, now)

    def __repr__(self) -> str:
        return f"<Membership of {self.me}: {len(self.live)} live of {len(self._lines)}>"

    @property
    def live(self) -> frozenset[str]:
        """Members not known to be dead or gone and not banned, this one included while it has not left."""
        return frozenset(entry.name for entry in self._live_entries())

    def table(self) -> Table:
        """All entries, for an exchange and for `GET /v1/peers`."""
        return tuple(line.entry for line in self._lines.values())

    def entry(self, name: str) -> MemberEntry | None:
        line = self._lines.get(name)
        return None if line is None else line.entry

    def deadline(self) -> float:
        """When to call `handle` with `RoundCame` at the latest."""
        return self._next_round

    def handle(self, event: MembershipEvent, now: float) -> list[MembershipAction]:
        """The only door: take one event, return what to do."""
        actions: list[MembershipAction] = []
        if isinstance(event, GossipReceived):
            for entry in event.table if event.sender not in self._banned else ():
                self._take(entry, now)
            if event.sender in self._lines:
                self._lines[event.sender].failures = 0
        elif isinstance(event, GossipFailed):
            self._failed(event.address, now)
        elif isinstance(event, FactsChanged):
            self._raise_own(MemberState.ALIVE, event.facts, now)
            actions += self._gossip(CHANGE_TELLS)
        elif isinstance(event, LeaveDecided):
            self._raise_own(MemberState.LEFT, self._lines[self.me].entry.facts, now)
            actions += self._gossip(LEAVE_TELLS)
        elif isinstance(event, MemberForgotten):
            self._forget(event.name, now)
        elif isinstance(event, BansChanged):
            self._banned = event.names - {self.me}
        self._expire(now)
        if isinstance(event, RoundCame) and now >= self._next_round:
            self._next_round = now + ROUND_S
            actions += self._gossip(1) + self._reconnect(now)
        return actions + self._tell()

    def check(self) -> None:
        """Raise `InvariantViolated` if the table contradicts itself."""
        require(len(self._lines) <= MEMBERS_MAX, "the table is bounded", members=len(self._lines))
        own = self._lines[self.me].entry
        require(
            own.state in (MemberState.ALIVE, MemberState.LEFT), "nobody believes in its own death", entry=own
        )

    def suspicion_s(self) -> float:
        """How long a suspect has to refute: SWIM's bound, some rounds times the logarithm of the size."""
        return ROUND_S * SUSPICION_ROUNDS_MIN * max(1.0, math.log10(len(self._lines) + 1))

    def _take(self, entry: MemberEntry, now: float) -> None:
        """Merge one entry told by anybody."""
        line = self._lines.get(entry.name)
        if entry.name == self.me:
            self._refute(entry, now)
        elif line is None:
            # Of a member that was never known here there is nothing to forget; and tombstones end.
            if len(self._lines) < MEMBERS_MAX and not entry.forgotten:
                self._lines[entry.name] = _Line(entry, now)
        elif entry.outranks(line.entry):
            if (entry.state, entry.incarnation, entry.forgotten) != (
                line.entry.state,
                line.entry.incarnation,
                line.entry.forgotten,
            ):
                line.since = now
                line.failures = 0
            line.entry = entry

    def _refute(self, told: MemberEntry, now: float) -> None:
        """Somebody tells something newer about this member than it said itself: it knows better."""
        own = self._lines[self.me].entry
        if told.outranks(own):
            self._lines[self.me] = _Line(replace(own, incarnation=told.incarnation + 1), now)

    def _raise_own(self, state: MemberState, facts: MemberFacts, now: float) -> None:
        own = self._lines[self.me].entry
        entry = MemberEntry(self.me, own.incarnation + 1, state, facts)
        self._lines[self.me] = _Line(entry, now)

    def _forget(self, name: str, now: float) -> None:
        line = self._lines.get(name)
        if line is not None and not line.entry.live and name != self.me:
            line.entry = replace(line.entry, state=MemberState.LEFT, forgotten=True)
            line.since = now

    def _live_entries(self) -> list[MemberEntry]:
        lines = self._lines.items()
        return [line.entry for name, line in lines if line.entry.live and name not in self._banned]

    def _failed(self, address: str, now: float) -> None:
        """No answer: suspected at the second failure in a row, since one message may get lost."""
        for line in self._lines.values():
            if line.entry.facts.address == address and line.entry.name != self.me:
                line.failures += 1
                if line.entry.state is MemberState.ALIVE and line.failures >= 2:
                    line.entry = replace(line.entry, state=MemberState.SUSPECT)
                    line.since = now

    def _expire(self, now: float) -> None:
        for name, line in list(self._lines.items()):
            if line.entry.state is MemberState.SUSPECT and now - line.since >= self.suspicion_s():
                line.entry = replace(line.entry, state=MemberState.DEAD)
                line.since = now
            elif not line.entry.live and name != self.me and now - line.since >= DEAD_REMEMBERED_S:
                del self._lines[name]

    def _gossip(self, how_many: int) -> list[MembershipAction]:
        """Exchange with random live members; one that failed once is asked again first. Alone, with ``join``."""
        others = [self._lines[entry.name] for entry in self._live_entries() if entry.name != self.me]
        failing = [line for line in others if line.failures == 1][:1]
        if others:
            # One that fails may be dead: a goodbye told to it alone would be heard by nobody.
            rest = [line for line in others if line not in failing]
            room = how_many - len(failing)
            chosen = failing + self._rng.sample(rest, min(room, len(rest)))
            return [Gossip(line.entry.facts.address, self.table()) for line in chosen]
        own = self._lines[self.me].entry.facts.address
        return [Gossip(address, self.table()) for address in self._join if address != own]

    def _reconnect(self, now: float) -> list[MembershipAction]:
        lines = self._lines.items()
        dead = [
            line.entry
            for name, line in lines
            if line.entry.state is MemberState.DEAD and name not in self._banned
        ]
        if not dead or now < self._next_reconnect:
            return []
        self._next_reconnect = now + RECONNECT_S
        return [Gossip(self._rng.choice(dead).facts.address, self.table())]

    def _tell(self) -> list[MembershipAction]:
        """The lowest limit among live members binds the cluster."""
        live = self._live_entries()
        limits = [entry.facts.hub_down_cluster for entry in live if entry.facts.hub_down_cluster > 0]
        told = TellLive(
            frozenset(entry.name for entry in live),
            min(limits, default=0.0),
            frozenset(entry.name for entry in live if entry.facts.hub_busy),
            frozenset(entry.name for entry in live if entry.facts.draining),
            {entry.name: entry.facts.zone for entry in live if entry.facts.zone},
        )
        if told == self._told:
            return []
        self._told = told
        return [told]
