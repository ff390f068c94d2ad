"""This daemon as a member: it listens, asks, and keeps the membership table by gossip.

`Cluster` joins the pure table (`membership`) to the transport (`cluster_server`, `cluster_client`). Every daemon makes
one, also when it is alone. Times are seconds; the table's time may run faster than the clock, for tests.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from peers import addresses, auth, wire
from peers import membership as gossip
from peers.auth import START_ID_BYTES
from peers.cluster_client import ClusterClient, Sink
from peers.cluster_errors import CallRefused, ClusterError, ListenRefused, MemberUnknown
from peers.cluster_server import CallHandler, ClusterServer, Identity, StreamHandler
from peers.membership import MemberEntry, MemberFacts, Membership, MemberState, TellLive
from peers.metainfo import WIRE_VERSION
from peers.secret import LOOPBACK_SECRET, Secret

GOSSIP_TIMEOUT_S = 2.0
"""An exchange of tables takes milliseconds; a member that needs longer twice is suspected."""

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

_GOSSIP = "gossip"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """``listen`` is host:port, port 0 for any; ``advertise`` what others are told (empty: the same); ``facts`` what
    this member tells about itself (its address is filled in); no ``secret`` only with a loopback listener.
    ``gossip_pace``: seconds of the membership table per second of the clock."""

    name: str
    listen: str = "127.0.0.1:0"
    advertise: str = ""
    join: tuple[str, ...] = ()
    secret: Secret | None = None
    facts: MemberFacts = field(default_factory=lambda: MemberFacts(""))
    wire_version: int = WIRE_VERSION
    gossip_pace: float = 1.0


@dataclass(frozen=True, slots=True)
class Member:
    """One line for people and for choosing whom to ask. None: not known from own contact.

    ``seen_s_ago``: since the member was last heard itself. ``skew_s``: its clock minus ours. ``start_id``: of its
    present start, empty when unknown. ``trouble``: why it could not be reached last, empty when it could.
    """

    name: str
    state: MemberState
    facts: MemberFacts
    incarnation: int
    start_id: bytes = b""
    rtt_s: float | None = None
    seen_s_ago: float | None = None
    skew_s: float | None = None
    trouble: str = ""


@dataclass(slots=True)
class _Contact:
    """What was learnt by talking to a member."""

    seen_at: float
    rtt_s: float | None = None
    skew_s: float | None = None


class Cluster:
    """Register handlers, `start`, and `stop` when the daemon stops; all on one event loop.

    ``clock`` counts seconds steadily, ``wall`` is the time of day in seconds since the epoch.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        rng: random.Random | None = None,
        resolve: addresses.Resolve = addresses.resolve,
        known: Iterable[MemberEntry] = (),
    ) -> None:
        self.me = settings.name
        self.start_id = secrets.token_bytes(START_ID_BYTES)
        self.address = ""
        self._settings = settings
        self._clock = clock
        self._wall = wall
        self._rng = rng or random.Random()
        self._resolve = resolve
        self._remembered = tuple(known)
        self._secret = settings.secret or LOOPBACK_SECRET
        identity = Identity(settings.name, self.start_id, settings.wire_version)
        self._server = ClusterServer(identity, self._secret, wall)
        self._client = ClusterClient(identity, self._secret, wall, clock)
        self._membership: Membership | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._contacts: dict[str, _Contact] = {}
        self._troubles: dict[str, str] = {}
        self._gossips: dict[str, asyncio.Task[None]] = {}
        self._loop_task: asyncio.Task[None] | None = None
        self._told: gossip.Table = ()
        self._view = TellLive(frozenset({settings.name}), 0.0, frozenset())
        self.register(_GOSSIP, self._hear)

    def __repr__(self) -> str:
        return f"<Cluster {self.me} at {self.address or 'no address'}: {len(self.live)} live>"

    @property
    def swarm_key(self) -> bytes:
        """Keys the info-hashes of new swarms."""
        return auth.swarm_key(self._secret)

    @property
    def view(self) -> TellLive:
        """Live members (this one included), the cluster's Hub limit, and who fetches from the Hub now."""
        return self._view

    @property
    def live(self) -> frozenset[str]:
        return self._view.live

    def register(self, name: str, handler: CallHandler) -> None:
        """Answer `call`s of this name. The handler raises CallRefused to say no; it is cancelled when the caller goes."""
        self._server.calls[name] = handler

    def register_stream(self, name: str, handler: StreamHandler) -> None:
        """Answer `fetch`es of this name. A refusal must be raised before the first part is yielded."""
        self._server.streams[name] = handler

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back, on the loop, after anything in the table changed; read `view` and `members` then. Must not block."""
        self._callbacks.append(callback)

    async def start(self) -> None:
        """Listen and begin to gossip; joining goes on in the background. Raises ListenRefused."""
        host, port = self._listen_address()
        port = await self._server.start(host, port)
        try:
            self.address = self._advertised(host, port)
        except ListenRefused:
            await self._server.stop()
            raise
        await self._client.start()
        facts = replace(self._settings.facts, address=self.address, wire_version=self._settings.wire_version)
        entry = MemberEntry(self.me, int(self._wall() * 1000), MemberState.ALIVE, facts)
        self._membership = Membership(entry, self._settings.join, self._rng, self._now(), self._remembered)
        self._loop_task = asyncio.create_task(self._run(), name="cluster gossip")

    async def stop(self) -> None:
        """Tell a few members of the leave, end all calls and streams, stop listening. Idempotent."""
        if self._loop_task is not None:
            self._loop_task.cancel()
            await asyncio.gather(self._loop_task, return_exceptions=True)
            self._loop_task = None
            self._take(gossip.LeaveDecided())
            if self._gossips:
                await asyncio.wait(self._gossips.values(), timeout=LEAVE_S)
        for task in self._gossips.values():
            task.cancel()
        await asyncio.gather(*self._gossips.values(), return_exceptions=True)
        await self._client.stop()
        await self._server.stop()

    async def call(self, member: str, name: str, body: bytes, timeout_s: float) -> bytes:
        """Ask a live member (itself is answered directly). Raises a ClusterError: MemberUnknown, MemberUnreachable,
        CallRefused, AuthFailed, ClocksDiffer or LimitExceeded. A call that got no answer may have been carried out."""
        if member == self.me:
            handler = self._server.calls.get(name)
            if handler is None:
                raise CallRefused("not_found", "no such call", member=member)
            return await handler(self.me, body)
        answered = await self._client.call(self._address_of(member), member, name, body, timeout_s)
        return answered.body

    async def fetch(
        self,
        member: str,
        name: str,
        query: Mapping[str, str],
        sink: Sink,
        limit_bytes: int,
        timeout_s: float = 30.0,
    ) -> int:
        """Stream from another live member into ``sink``, which gets proven bytes only, in parts of up to 1 MiB.

        ``timeout_s`` bounds each wait for bytes. Returns how many bytes came. Raises as `call`; what the sink got before
        a failure is genuine.
        """
        address = self._address_of(member)
        return await self._client.fetch(address, member, name, query, sink, limit_bytes, timeout_s)

    def change_facts(self, facts: MemberFacts) -> None:
        """Tell the cluster new facts about this member; address and wire version are kept. Needs `start` before."""
        own = replace(facts, address=self.address, wire_version=self._settings.wire_version)
        if own != self.facts:
            self._take(gossip.FactsChanged(own))

    @property
    def facts(self) -> MemberFacts:
        """What this member tells about itself now."""
        entry = self._table().entry(self.me)
        assert entry is not None
        return entry.facts

    def members(self) -> tuple[Member, ...]:
        """All members known, the dead and gone of the last day included, in order of their names."""
        return tuple(
            self._member(entry) for entry in sorted(self._table().table(), key=lambda entry: entry.name)
        )

    def troubles(self) -> Mapping[str, str]:
        """By address, why it could not be reached last: seeds that nobody answers at are found here only."""
        return dict(self._troubles)

    def _listen_address(self) -> tuple[str, int]:
        try:
            host, port = addresses.split(self._settings.listen)
        except ValueError as error:
            raise ListenRefused(self._settings.listen, str(error)) from error
        if self._settings.secret is None and not addresses.is_loopback(host):
            raise ListenRefused(
                self._settings.listen,
                "without cluster.secret_file only a loopback address is allowed; make one with `distctl cluster init`",
            )
        return host, port

    def _advertised(self, host: str, port: int) -> str:
        """An advertised port 0 stands for the one listened on."""
        if self._settings.advertise:
            try:
                told_host, told_port = addresses.split(self._settings.advertise)
            except ValueError as error:
                raise ListenRefused(self._settings.listen, f"cluster.advertise: {error}") from error
            return addresses.join(told_host, told_port or port)
        if addresses.is_wildcard(host):
            outward = addresses.outward(host)
            if outward is None:
                raise ListenRefused(
                    self._settings.listen, "no route tells this host's own address; set cluster.advertise"
                )
            host = outward
        return addresses.join(host, port)

    def _address_of(self, member: str) -> str:
        entry = self._table().entry(member)
        if entry is None or not entry.live:
            raise MemberUnknown(member)
        return entry.facts.address

    def _member(self, entry: MemberEntry) -> Member:
        identity = self._client.known(entry.facts.address)
        start_id = identity.start_id if identity is not None and identity.name == entry.name else b""
        contact = self._contacts.get(entry.name)
        if entry.name == self.me:
            return Member(
                entry.name, entry.state, entry.facts, entry.incarnation, self.start_id, 0.0, 0.0, 0.0
            )
        return Member(
            entry.name,
            entry.state,
            entry.facts,
            entry.incarnation,
            start_id,
            contact.rtt_s if contact else None,
            self._clock() - contact.seen_at if contact else None,
            contact.skew_s if contact else None,
            self._troubles.get(entry.facts.address, ""),
        )

    def _table(self) -> Membership:
        if self._membership is None:
            raise RuntimeError("the cluster is not started")
        return self._membership

    def _now(self) -> float:
        """The table's time."""
        return self._clock() * self._settings.gossip_pace

    async def _run(self) -> None:
        """One round after the other, and now and then a seed."""
        join_again_at = self._now() + JOIN_AGAIN_S
        while True:
            self._take(gossip.RoundCame())
            if self._settings.join and self._now() >= join_again_at:
                join_again_at = self._now() + JOIN_AGAIN_S
                self._gossip(self._rng.choice(self._settings.join))
            await asyncio.sleep(max(0.0, self._table().deadline() - self._now()) / self._settings.gossip_pace)

    def _take(self, event: gossip.MembershipEvent) -> None:
        """Tell the table what happened and carry out what it asks."""
        table = self._table()
        for action in table.handle(event, self._now()):
            if isinstance(action, TellLive):
                self._view = action
            else:
                self._gossip(action.address)
        told = table.table()
        if told != self._told:
            self._told = told
            for name in self._contacts.keys() - {entry.name for entry in told}:
                del self._contacts[name]
            for callback in self._callbacks:
                callback()

    def _gossip(self, address: str) -> None:
        """Exchange tables with an address, once at a time: a hanging member gets no second exchange."""
        if address in self._gossips or len(self._gossips) >= GOSSIPS_MAX:
            return
        task = asyncio.create_task(self._gossip_with(address), name=f"gossip with {address}")
        self._gossips[address] = task
        task.add_done_callback(lambda _: self._gossips.pop(address, None))

    async def _gossip_with(self, address: str) -> None:
        targets = await self._targets(address)
        results = await asyncio.gather(*(self._exchange(target) for target in targets))
        if not any(results):
            self._take(gossip.GossipFailed(address))

    async def _targets(self, address: str) -> list[str]:
        """What an address stands for: itself, or some of the addresses of a name in `join`."""
        host, port = addresses.split(address)
        if address not in self._settings.join or addresses.is_numeric(host):
            return [address]
        found = [addresses.join(each, port) for each in await self._resolve(host)]
        if not found:
            self._note_trouble(address, f"the name {host} has no address")
        others = [each for each in found if each != self.address]
        return self._rng.sample(others, min(JOIN_ADDRESSES_MAX, len(others)))

    async def _exchange(self, address: str) -> bool:
        """Send the table and take the other's; False if nobody proper answered."""
        own = wire.encode_gossip(self._table().table(), self._wall(), self._settings.wire_version)
        began = self._wall()
        try:
            answered = await self._client.call(address, "", _GOSSIP, own, GOSSIP_TIMEOUT_S)
            table, clock_s = wire.decode_gossip(answered.body, self._settings.wire_version)
        except (ClusterError, wire.Unreadable) as error:
            if isinstance(error, CallRefused) and error.code == "itself":
                return True
            self._note_trouble(address, str(error))
            return False
        self._troubles.pop(address, None)
        self._met(answered.by.name, answered.rtt_s, clock_s - (began + self._wall()) / 2)
        self._take(gossip.GossipReceived(answered.by.name, table))
        return True

    async def _hear(self, sender: str, body: bytes) -> bytes:
        """Another member's side of the exchange."""
        try:
            table, _ = wire.decode_gossip(body, self._settings.wire_version)
        except wire.Unreadable as error:
            raise CallRefused("unreadable", str(error)) from error
        self._take(gossip.GossipReceived(sender, table))
        self._met(sender, None, None)
        return wire.encode_gossip(self._table().table(), self._wall(), self._settings.wire_version)

    def _met(self, name: str, rtt_s: float | None, skew_s: float | None) -> None:
        if self._table().entry(name) is None and rtt_s is None:
            return  # said its name and is not in its own table: nothing to remember about
        contact = self._contacts.setdefault(name, _Contact(self._clock()))
        contact.seen_at = self._clock()
        if rtt_s is not None and skew_s is not None:
            if abs(skew_s) >= SKEW_TOLD_S > abs(contact.skew_s or 0.0):
                log.warning(
                    "the clock of %s differs by %.0f s from this host's: synchronise both", name, skew_s
                )
            contact.rtt_s, contact.skew_s = rtt_s, skew_s

    def _note_trouble(self, address: str, trouble: str) -> None:
        if self._troubles.get(address) != trouble:
            log.warning("gossip with %s failed: %s", address, trouble)
        self._troubles.pop(address, None)
        self._troubles[address] = trouble
        if len(self._troubles) > TROUBLES_MAX:
            del self._troubles[next(iter(self._troubles))]
