"""Who is in the cluster: a table that spreads by gossip, after SWIM (Das, Gupta, Motivala 2002).

Every round each member talks with one random member. Both tell what is new, a bounded number of lines, and sums of their
tables (`roster`): where these differ the one asked adds lines, so that nobody stays behind, and a calm cluster says the same
whatever its size. Whole tables are exchanged by newcomers, by who was apart from the others for long, and to neighbours of wire version
0, who always send theirs. That somebody answers is the only sign of life; nobody tells it on.

Each entry carries an incarnation number that only its owner raises. Of two entries for one member the one with the higher
incarnation wins, then the worse state; so merging is commutative, associative and idempotent. A member that does not answer
becomes *suspect*, and *dead* when nobody refutes that in time; the suspect itself refutes by raising its incarnation: whoever
talks with it tells it so. *Left* is said by the leaver.

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

from peers import roster
from peers.invariants import require
from peers.roster import Roster

ROUND_S = 1.0
"""One exchange per member and second: news reaches 1,000 members in about ten rounds."""

SUSPICION_ROUNDS_MIN = 5.0
"""Rounds a suspect has to refute in the smallest cluster; grows with the logarithm of its size, as news does."""

RECONNECT_S = 10.0
"""How often one member believed dead is tried again, so that a healed partition is noticed."""

DEAD_REMEMBERED_S = 86_400.0
"""Dead and left members are told about this long; a table that forgot earlier would learn them anew from others."""

MEMBERS_MAX = 4096
"""Bounds the table and with it a whole one on its way (about half a megabyte); beyond it sites are meant to be joined by leads."""

NEWS_MAX = 32
"""Lines told unasked in one message, about 3 KB: in a storm news waits instead of growing what is said."""

WHOLES_PER_ROUND = 64
"""Whole tables given away in a round: when hundreds join at once by one address, the further ones are told of some members,
which they ask in turn."""


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
class Said:
    """One direction of an exchange. ``sums`` compare the tables, of which this one has ``members`` lines; without sums
    ``lines`` are a whole table, and a whole one is expected. ``wants_all``: the sums have differed for too long."""

    lines: Table
    sums: tuple[int, ...] = ()
    members: int = 0
    wants_all: bool = False


@dataclass(frozen=True, slots=True)
class GossipReceived:
    """Lines told by ``sender``, who knows so many members, arrived: as a request (then answer with `Membership.answer`), or as
    the answer to ours, with the sums of its table."""

    sender: str
    table: Table
    sums: tuple[int, ...] = ()
    members: int = 0


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
    """Say this to this address; feed its answer back as `GossipReceived`, or `GossipFailed`."""

    address: str
    said: Said


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
        self._roster = Roster()
        self._suspects: set[str] = set()
        self._next_round = now
        self._next_reconnect = now + RECONNECT_S
        self._told: TellLive | None = None
        self._told_version = -1
        self._banned: frozenset[str] = frozenset()
        self._apart_since: float | None = None
        self._newcomer_until = now
        self._wholes_left = WHOLES_PER_ROUND
        self._put(me, now, is_news=False)
        for entry in known:
            self._take(entry, now, is_news=False)

    def __repr__(self) -> str:
        return f"<Membership of {self.me}: {len(self.live)} live of {len(self._roster)}>"

    @property
    def live(self) -> frozenset[str]:
        """Members not known to be dead or gone and not banned, this one included while it has not left."""
        return frozenset(entry.name for entry in self._live_entries())

    @property
    def version(self) -> int:
        """Another one after every change of the table."""
        return self._roster.version

    def table(self) -> Table:
        """All entries, for `GET /v1/peers` and whoever needs a whole table."""
        return tuple(line.entry for line in self._roster.lines.values())

    def entry(self, name: str) -> MemberEntry | None:
        line = self._roster.lines.get(name)
        return None if line is None else line.entry

    def deadline(self) -> float:
        """When to call `handle` with `RoundCame` at the latest."""
        return self._next_round

    def handle(self, event: MembershipEvent, now: float) -> list[MembershipAction]:
        """The only door for what changes the table: take one event, return what to do."""
        actions: list[MembershipAction] = []
        if isinstance(event, GossipReceived):
            self._heard(event, now)
        elif isinstance(event, GossipFailed):
            self._failed(event.address, now)
        elif isinstance(event, FactsChanged):
            self._raise_own(MemberState.ALIVE, event.facts, now)
            actions += self._gossip(CHANGE_TELLS, now)
        elif isinstance(event, LeaveDecided):
            self._raise_own(MemberState.LEFT, self._own.facts, now)
            actions += self._gossip(LEAVE_TELLS, now)
        elif isinstance(event, MemberForgotten):
            self._forget(event.name, now)
        elif isinstance(event, BansChanged):
            self._banned, self._told_version = event.names - {self.me}, -1
        self._expire(now)
        if isinstance(event, RoundCame) and now >= self._next_round:
            self._next_round = now + ROUND_S
            self._wholes_left = WHOLES_PER_ROUND
            self._drop_old(now)
            actions += self._gossip(1, now) + self._reconnect(now)
        return actions + self._tell()

    def say(self, address: str, now: float) -> Said:
        """What to begin an exchange with: who is there, what is news, and what whoever lives there has to refute."""
        lines = {self.me: self._own}
        lines |= {entry.name: entry for entry in self._roster.news(NEWS_MAX)}
        for line in self._roster.lines.values():
            if line.entry.facts.address == address and line.entry.state is not MemberState.ALIVE:
                lines[line.entry.name] = line.entry
        wants_all = self._apart_since is not None and now - self._apart_since >= self._spread_s()
        if wants_all:
            self._apart_since = None
        if now < self._newcomer_until:
            # Hundreds that start at once know each other in a few rounds, before each looks for a lead by what it knows.
            wants_all, lines = True, {entry.name: entry for entry in self.table()}
        return Said(tuple(lines.values()), self._roster.sums(), len(self._roster), wants_all)

    def answer(self, sender: str, asked: Said, now: float) -> Said:
        """What to answer, once what was asked has been handled."""
        if not asked.sums:
            return Said(self.table())
        if asked.wants_all or 2 * asked.members < len(self._roster):
            lines = {entry.name: entry for entry in self._for_newcomer()}
        else:
            behind = max(0, len(self._roster) - asked.members)
            differing = self._roster.told_about(asked.sums, behind, now - self._spread_s(), self._rng)
            lines = {entry.name: entry for entry in differing}
        lines[self.me] = self._own
        told_of = self._roster.lines.get(sender)
        if told_of is not None and told_of.entry.state is not MemberState.ALIVE:
            lines[sender] = told_of.entry
        return Said(tuple(lines.values()), self._roster.sums(), len(self._roster))

    def check(self) -> None:
        """Raise `InvariantViolated` if the table contradicts itself."""
        require(len(self._roster) <= MEMBERS_MAX, "the table is bounded", members=len(self._roster))
        require(
            self._own.state in (MemberState.ALIVE, MemberState.LEFT),
            "nobody believes in its own death",
            entry=self._own,
        )
        require(self._roster.check(), "a table's sums are those of its lines")
        suspects = {entry.name for entry in self.table() if entry.state is MemberState.SUSPECT}
        require(suspects == self._suspects, "a suspect is watched", suspects=suspects)

    def suspicion_s(self) -> float:
        """How long a suspect has to refute: SWIM's bound, some rounds times the logarithm of the size."""
        return ROUND_S * SUSPICION_ROUNDS_MIN * max(1.0, math.log10(len(self._roster) + 1))

    def _spread_s(self) -> float:
        """In this time news has reached everybody, with much room."""
        return ROUND_S * 2 * math.log2(len(self._roster) + 1)

    @property
    def _own(self) -> MemberEntry:
        return self._roster.lines[self.me].entry

    def _put(self, entry: MemberEntry, now: float, *, is_news: bool = True) -> None:
        self._roster.put(entry, now, is_news=is_news)
        (self._suspects.add if entry.state is MemberState.SUSPECT else self._suspects.discard)(entry.name)

    def _heard(self, event: GossipReceived, now: float) -> None:
        known = len(self._roster)
        if event.sender not in self._banned:
            for entry in event.table:
                self._take(entry, now)
        if event.members > max(known * 9 // 8, roster.SMALL_LINES):
            self._newcomer_until = now + self._spread_s() / 2
        if event.sender in self._roster.lines:
            self._roster.lines[event.sender].failures = 0
        if event.sums:
            apart = 2 * len(self._roster.differing(event.sums)) > len(event.sums)
            self._apart_since = (self._apart_since or now) if apart else None

    def _take(self, entry: MemberEntry, now: float, *, is_news: bool = True) -> None:
        """Merge one entry told by anybody."""
        line = self._roster.lines.get(entry.name)
        if entry.name == self.me:
            self._refute(entry, now)
        elif line is None:
            # Of a member that was never known here there is nothing to forget; and tombstones end.
            if len(self._roster) < MEMBERS_MAX and not entry.forgotten:
                self._put(entry, now, is_news=is_news)
        elif entry.outranks(line.entry):
            self._put(entry, now, is_news=is_news)

    def _refute(self, told: MemberEntry, now: float) -> None:
        """Somebody tells something newer about this member than it said itself: it knows better."""
        if told.outranks(self._own):
            self._put(replace(self._own, incarnation=told.incarnation + 1), now, is_news=False)

    def _raise_own(self, state: MemberState, facts: MemberFacts, now: float) -> None:
        """Not among the news, because every message begins with it."""
        entry = MemberEntry(self.me, self._own.incarnation + 1, state, facts)
        self._put(entry, now, is_news=False)

    def _forget(self, name: str, now: float) -> None:
        entry = self.entry(name)
        if entry is not None and not entry.live and name != self.me:
            self._put(replace(entry, state=MemberState.LEFT, forgotten=True), now)

    def _live_entries(self) -> list[MemberEntry]:
        lines = self._roster.lines.items()
        return [line.entry for name, line in lines if line.entry.live and name not in self._banned]

    def _failed(self, address: str, now: float) -> None:
        """No answer: suspected at the second failure in a row, since one message may get lost."""
        for line in list(self._roster.lines.values()):
            if line.entry.facts.address == address and line.entry.name != self.me:
                failures = line.failures + 1
                if line.entry.state is MemberState.ALIVE and failures >= 2:
                    self._put(replace(line.entry, state=MemberState.SUSPECT), now)
                line.failures = failures

    def _expire(self, now: float) -> None:
        for name in sorted(self._suspects):
            line = self._roster.lines[name]
            if now - line.since >= self.suspicion_s():
                self._put(replace(line.entry, state=MemberState.DEAD), now)

    def _drop_old(self, now: float) -> None:
        for name, line in list(self._roster.lines.items()):
            if not line.entry.live and name != self.me and now - line.since >= DEAD_REMEMBERED_S:
                self._roster.drop(name)

    def _for_newcomer(self) -> Iterable[MemberEntry]:
        if self._wholes_left > 0:
            self._wholes_left -= 1
            return self.table()
        live = self._live_entries()
        return self._rng.sample(live, min(roster.SMALL_LINES, len(live)))

    def _gossip(self, how_many: int, now: float) -> list[MembershipAction]:
        """Exchange with random live members; one that failed once is asked again first. Alone, with ``join``."""
        others = [self._roster.lines[entry.name] for entry in self._live_entries() if entry.name != self.me]
        failing = [line for line in others if line.failures == 1][:1]
        if others:
            # One that fails may be dead: a goodbye told to it alone would be heard by nobody.
            rest = [line for line in others if line not in failing]
            room = how_many - len(failing)
            chosen = failing + self._rng.sample(rest, min(room, len(rest)))
            addresses = [line.entry.facts.address for line in chosen]
        else:
            addresses = [address for address in self._join if address != self._own.facts.address]
        return [Gossip(address, self.say(address, now)) for address in addresses]

    def _reconnect(self, now: float) -> list[MembershipAction]:
        lines = self._roster.lines.items()
        dead = [
            line.entry
            for name, line in lines
            if line.entry.state is MemberState.DEAD and name not in self._banned
        ]
        if not dead or now < self._next_reconnect:
            return []
        self._next_reconnect = now + RECONNECT_S
        address = self._rng.choice(dead).facts.address
        return [Gossip(address, self.say(address, now))]

    def _tell(self) -> list[MembershipAction]:
        """The lowest limit among live members binds the cluster."""
        if self._told_version == self._roster.version:
            return []
        self._told_version = self._roster.version
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
