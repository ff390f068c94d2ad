"""Keeps the membership table by gossip: carries out what the pure table asks, and notes what talking teaches.

Times are seconds. The table's time runs ``pace`` times as fast as the clock: 1 but in tests.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from peers import addresses, wire
from peers import membership as gossip
from peers.cluster_client import Answered, ClusterClient
from peers.cluster_errors import CallRefused, ClocksDiffer, ClusterError, MemberUnreachable
from peers.introductions import Introductions
from peers.membership import Membership, Said, TellLive
from peers.resolving import Resolve

GOSSIP = "gossip"
"""The call by which members tell each other of members."""

GOSSIP_TIMEOUT_S = 2.0
"""An exchange takes milliseconds; a member that needs longer twice is suspected."""

LEAVE_S = 2.0
"""A stopping daemon tells of its leave this long at most: SIGTERM allows ten seconds for everything."""

GOSSIPS_MAX = 64
"""Exchanges under way: one per round is the rule, more only when members hang."""

JOIN_AGAIN_S = 30.0
"""How often one address of `join` is asked beside the members known, so that two halves that started apart, each
knowing somebody, still meet."""

JOIN_ADDRESSES_MAX = 8
"""Addresses of one name asked at once; any of them knows the others."""

TROUBLES_MAX = 256
"""Addresses whose last failure is remembered for people."""

SKEW_TOLD_S = 10.0
"""Clock differences from here on are worth a warning; from `auth.WINDOW_S` on requests are refused."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Contact:
    """What was learnt by talking to a member: when it was heard last (by the clock), its round trip, and its clock minus
    ours. None: it talked to us, not we to it."""

    heard_at: float
    rtt_s: float | None = None
    skew_s: float | None = None


class Gossiping:
    """Runs one table. ``changed`` is called after anything in it changed; ``view`` is what the table told last."""

    def __init__(
        self,
        table: Membership,
        client: ClusterClient,
        join: tuple[str, ...],
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        rng: random.Random,
        resolve: Resolve,
        pace: float,
        timeout_s: float,
        wire_version: int,
        changed: Callable[[], None],
    ) -> None:
        self.table = table
        self.view = TellLive(table.live, 0.0, frozenset())
        self.contacts: dict[str, Contact] = {}
        self._client = client
        self._join = join
        self._clock = clock
        self._wall = wall
        self._rng = rng
        self._resolve = resolve
        self._pace = pace
        self._timeout_s = timeout_s
        self._wire_version = wire_version
        self._changed = changed
        self._introductions = Introductions(table, self.now())
        self._told_version = table.version
        self._troubles: dict[str, str] = {}
        self._clocks: dict[str, tuple[str, float]] = {}
        self._exchanges: dict[str, asyncio.Task[None]] = {}
        self._rounds: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._rounds = asyncio.create_task(self._run(), name="gossip rounds")
        self._rounds.add_done_callback(_tell_failure)

    async def stop(self, leave: bool) -> None:
        """End all exchanges; with ``leave`` tell a few members first, for at most `LEAVE_S`. Idempotent."""
        if self._rounds is None:
            return
        self._rounds.cancel()
        await asyncio.gather(self._rounds, return_exceptions=True)
        self._rounds = None
        if leave:
            self.take(gossip.LeaveDecided())
        if leave and self._exchanges:
            await asyncio.wait(self._exchanges.values(), timeout=LEAVE_S)
        exchanges = list(self._exchanges.values())
        for task in exchanges:
            task.cancel()
        await asyncio.gather(*exchanges, return_exceptions=True)

    async def introduce(self, member: str) -> None:
        """Make sure that the member has heard of this one, or has failed to answer."""
        if introduction := self._introductions.due(member, self.now()):
            await self._exchange_with(introduction.address, introduction.said)

    def now(self) -> float:
        """The table's time."""
        return self._clock() * self._pace

    def troubles(self) -> Mapping[str, str]:
        return self._troubles

    def refused_clocks(self) -> Mapping[str, float]:
        """Members that refuse this one for its clock, and theirs minus ours in seconds."""
        return dict(self._clocks.values())

    def take(self, event: gossip.MembershipEvent) -> None:
        """Tell the table what happened and carry out what it asks."""
        for action in self.table.handle(event, self.now()):
            if isinstance(action, TellLive):
                self.view = action
            else:
                self._exchange(action.address, action.said)
        if self.table.version == self._told_version:
            return
        self._told_version = self.table.version
        for name in [name for name in self.contacts if self.table.entry(name) is None]:
            del self.contacts[name]
        self._changed()

    async def hear(self, sender: str, body: bytes) -> bytes:
        """The other side of an exchange: take what the sender says, and answer. Raises CallRefused."""
        try:
            version = wire.version_of(body)
            said, _ = wire.decode_gossip(body, self._wire_version)
        except wire.Unreadable as error:
            raise CallRefused("unreadable", str(error)) from error
        self.take(gossip.GossipReceived(sender, said.lines, members=said.members))
        if self.table.entry(sender) is not None:
            self.contacts.setdefault(sender, Contact(0.0)).heard_at = self._clock()
        return self._written(self.table.answer(sender, said, self.now()), version)

    async def _run(self) -> None:
        """One round after the other, and now and then a seed."""
        join_again_at = self.now() + JOIN_AGAIN_S
        while True:
            self.take(gossip.RoundCame())
            if self._join and self.now() >= join_again_at:
                join_again_at = self.now() + JOIN_AGAIN_S
                address = self._rng.choice(self._join)
                self._exchange(address, self.table.say(address, self.now()))
            await asyncio.sleep(max(0.0, self.table.deadline() - self.now()) / self._pace)

    def _exchange(self, address: str, said: Said) -> None:
        """Talk with an address, once at a time: one that hangs gets no second request."""
        if address in self._exchanges or len(self._exchanges) >= GOSSIPS_MAX:
            return
        task = asyncio.create_task(self._exchange_with(address, said), name=f"gossip with {address}")
        self._exchanges[address] = task
        task.add_done_callback(lambda _: self._exchanges.pop(address, None))

    async def _exchange_with(self, address: str, said: Said) -> None:
        targets = await self._targets(address)
        answered = await asyncio.gather(*(self._ask(target, said) for target in targets))
        if not any(answered):
            self.take(gossip.GossipFailed(address))

    async def _targets(self, address: str) -> list[str]:
        """What an address stands for: itself, or some of the addresses of a name in `join`."""
        host, port = addresses.split(address)
        if address not in self._join or addresses.is_numeric(host):
            return [address]
        found = [addresses.join(each, port) for each in await self._resolve(host)]
        if not found:
            self._note_trouble(address, f"the name {host} has no address", logging.WARNING)
        return self._rng.sample(found, min(JOIN_ADDRESSES_MAX, len(found)))

    async def _ask(self, address: str, said: Said) -> bool:
        """Say this and take what is answered; False if nobody proper answered."""
        asked_at = self._wall()

        def body(wire_version: int) -> bytes:
            return self._written(said, wire_version)

        try:
            answered = await self._client.call(address, "", GOSSIP, body, self._timeout_s)
            told, clock_s = wire.decode_gossip(answered.body, self._wire_version)
        except (ClusterError, wire.Unreadable) as error:
            if isinstance(error, CallRefused) and error.code == "itself":
                return True  # a name in `join` may stand for this host too
            quiet = isinstance(error, MemberUnreachable)
            self._note_trouble(address, str(error), logging.INFO if quiet else logging.WARNING)
            self._clocks.pop(address, None)
            if isinstance(error, ClocksDiffer) and len(self._clocks) < TROUBLES_MAX:
                self._clocks[address] = (error.member, -error.skew_s)
            return False
        self._troubles.pop(address, None)
        self._clocks.pop(address, None)
        if self._others_at(address, answered.by.name):
            self.take(gossip.GossipFailed(address))
        self.take(gossip.GossipReceived(answered.by.name, told.lines, told.sums, told.members))
        self._met(answered, clock_s - (asked_at + self._wall()) / 2)
        return True

    def _written(self, said: Said, wire_version: int) -> bytes:
        """Members of an older wire version take whole tables only."""
        whole = wire_version < wire.SUMS_SINCE_VERSION
        return wire.encode_gossip(Said(self.table.table()) if whole else said, self._wall(), wire_version)

    def _others_at(self, address: str, name: str) -> bool:
        """Whether the table believes somebody else to live there: renamed daemons, and addresses given to other hosts.

        The failure counts against all at that address; the answer then clears the one who is there.
        """
        return any(
            entry.live and entry.name != name and entry.facts.address == address
            for entry in self.table.table()
        )

    def _met(self, answered: Answered, skew_s: float) -> None:
        name = answered.by.name
        contact = self.contacts.setdefault(name, Contact(0.0))
        contact.heard_at = self._clock()
        if abs(skew_s) >= SKEW_TOLD_S > abs(contact.skew_s or 0.0):
            log.warning("the clock of %s differs by %.0f s from this host's: synchronise both", name, skew_s)
        contact.rtt_s, contact.skew_s = answered.rtt_s, skew_s

    def _note_trouble(self, address: str, trouble: str, level: int) -> None:
        if self._troubles.get(address) != trouble:
            log.log(level, "gossip with %s failed: %s", address, trouble)
        self._troubles.pop(address, None)
        self._troubles[address] = trouble
        if len(self._troubles) > TROUBLES_MAX:
            del self._troubles[next(iter(self._troubles))]


def _tell_failure(rounds: asyncio.Task[None]) -> None:
    """Rounds end by being cancelled only; anything else is a defect that must not go unseen."""
    if not rounds.cancelled() and rounds.exception() is not None:
        log.critical("gossip has stopped", exc_info=rounds.exception())
