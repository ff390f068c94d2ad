"""This daemon as a member of its cluster: it listens, asks, and knows who else is there.

`Cluster` joins the transport (`cluster_server`, `cluster_client`) to gossip (`gossiping`). Every daemon makes one, also
when it is alone. Times are seconds.
"""

from __future__ import annotations

import logging
import random
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from peers import addresses, auth, resolving
from peers import membership as gossip
from peers.auth import START_ID_BYTES
from peers.cluster_client import ClusterClient, Sink
from peers.cluster_errors import ListenRefused, MemberBanned, MemberUnknown
from peers.cluster_server import CallHandler, ClusterServer, Gate, Identity, Patience, StreamHandler
from peers.doors import refused_hosts
from peers.gossiping import GOSSIP, GOSSIP_TIMEOUT_S, Gossiping
from peers.ledger import MEMBER_NAME_BYTES_MAX
from peers.membership import MemberEntry, MemberFacts, Membership, MemberState, TellLive
from peers.metainfo import WIRE_VERSION
from peers.secret import LOOPBACK_SECRET, Secret
from peers.shunning import Shunning
from peers.swarm_terms import SwarmTerms, agreed_secret, agreed_wire_version
from peers.tls import TlsIdentity

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """``listen`` is host:port, port 0 for any; ``advertise`` what others are told (empty: the same); ``join`` are
    host:port to begin with. ``facts`` is what this member tells about itself; address, wire version and ids of secrets are filled in.
    Without a ``secret`` or ``tls`` only loopback listeners are allowed. ``gossip_pace``: seconds of the membership table per second
    of the clock; all members of a cluster use the same."""

    name: str
    listen: str = "127.0.0.1:0"
    advertise: str = ""
    join: tuple[str, ...] = ()
    secret: Secret | None = None
    tls: TlsIdentity | None = None
    facts: MemberFacts = field(default_factory=lambda: MemberFacts(""))
    wire_version: int = WIRE_VERSION
    gossip_pace: float = 1.0
    gossip_timeout_s: float = GOSSIP_TIMEOUT_S
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        if not 0 < len(self.name.encode()) <= MEMBER_NAME_BYTES_MAX:
            raise ValueError(f"a member's name has 1 to {MEMBER_NAME_BYTES_MAX} bytes, not {self.name!r}")
        for address in (self.listen, *self.join, *((self.advertise,) if self.advertise else ())):
            addresses.split(address)


@dataclass(frozen=True, slots=True)
class Member:
    """One line for people and for choosing whom to ask. None: not known from own contact.

    ``heard_s_ago``: since the member itself was heard last. ``skew_s``: its clock minus ours. ``start_id``: of its
    present start, empty when unknown. ``trouble``: why it could not be reached last, empty when it could.
    """

    name: str
    state: MemberState
    facts: MemberFacts
    incarnation: int
    start_id: bytes = b""
    rtt_s: float | None = None
    heard_s_ago: float | None = None
    skew_s: float | None = None
    trouble: str = ""


class Cluster:
    """Register handlers, `start`, and `stop` when the daemon stops; all on one event loop. Not started twice.

    ``clock`` counts seconds steadily, ``wall`` is the time of day in seconds since the epoch; ``known`` are members
    remembered from an earlier start. Settings with an unusable name or address raise ValueError before.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        rng: random.Random | None = None,
        resolve: resolving.Resolve = resolving.resolve,
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
        self._tls = settings.tls
        self._terms: SwarmTerms | None = None
        self._draining = False
        identity = Identity(settings.name, self.start_id, settings.wire_version)
        self._server = ClusterServer(identity, self._secret, wall, settings.patience, settings.tls)
        self._client = ClusterClient(identity, self._secret, wall, clock, settings.tls)
        self._callbacks: list[Callable[[], None]] = []
        self._gossip: Gossiping | None = None
        self._shunning = Shunning(clock, self._changed)

    def __repr__(self) -> str:
        return f"<Cluster {self.me} at {self.address or 'no address'}: {len(self.live)} live>"

    @property
    def swarm_terms(self) -> SwarmTerms:
        """Under which terms swarms are entered now; may be others after any change of the members (`on_change`)."""
        if self._terms is None:  # asked for every open blob after every change
            names, table = self.live, self._gossip.table.table() if self._gossip else ()
            live = [entry.facts for entry in table if entry.name in names]
            chosen = agreed_secret(auth.secret_ids(self._secret), live)
            self._terms = SwarmTerms(
                auth.accepted_swarm_keys(self._secret)[chosen],
                agreed_wire_version(self._settings.wire_version, live),
                self._tls.ca_pem if self._tls else b"",
            )
        return self._terms

    @property
    def certificate_ends(self) -> float | None:
        """When this member's certificate does, in seconds since the epoch; None without TLS."""
        return self._tls.not_after if self._tls else None

    @property
    def view(self) -> TellLive:
        """Live members (this one included), the cluster's Hub limit, and who fetches from the Hub now."""
        if self._gossip is None:
            return TellLive(frozenset({self.me}), 0.0, frozenset())
        return self._shunning.without(self._gossip.view)

    @property
    def is_shunned(self) -> bool:
        """Whether more members ban this one than are left to talk with it: bad ones do not ban each other."""
        return self._shunning.outnumber(self.live - {self.me})

    @property
    def live(self) -> frozenset[str]:
        return self.view.live

    @property
    def facts(self) -> MemberFacts:
        """What this member tells about itself now."""
        own = self._running.table.entry(self.me)
        assert own is not None
        return own.facts

    @property
    def bans(self) -> Mapping[str, str]:
        """Members that are banned here, and why."""
        return self._server.banned

    def refused_hosts(self) -> frozenset[str]:
        """Hosts that members banned here connect from, and nobody else. Needs `start` before."""
        return refused_hosts(
            self.me, self._running.table.table(), self._server.sources.of(time.monotonic()), self.bans
        )

    def ban(self, reasons: Mapping[str, str]) -> None:
        """From now on these members, by name and with a reason each, and no others are banned here: not live, not called,
        and refused whatever they ask. Replaces what was banned before; allowed before `start`. Itself it never bans.
        """
        self._server.banned = {name: reason for name, reason in reasons.items() if name != self.me}
        self._terms = None
        if self._gossip is not None:
            self._gossip.take(gossip.BansChanged(frozenset(self._server.banned)))

    def forget(self, member: str) -> None:
        """Have everybody drop a member that is dead or gone from its table. Raises MemberUnknown when it is not."""
        entry = self._running.table.entry(member)
        if entry is None or entry.live or entry.forgotten:
            raise MemberUnknown(member)
        self._running.take(gossip.MemberForgotten(member))

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
        host, port = addresses.split(self._settings.listen)
        if not (self._settings.secret or self._settings.tls or addresses.is_loopback(host)):
            raise ListenRefused(
                self._settings.listen,
                "without cluster.secret_file or TLS only a loopback address is allowed; `distctl cluster init` makes both",
            )
        port = await self._server.start(host, port)
        try:
            self.address = self._advertised(host, port)
        except ListenRefused:
            await self._server.stop()
            raise
        await self._client.start()
        entry = MemberEntry(
            self.me, int(self._wall() * 1000), MemberState.ALIVE, self._completed(self._settings.facts)
        )
        now = self._clock() * self._settings.gossip_pace
        self._gossip = Gossiping(
            Membership(entry, self._settings.join, self._rng, now, self._remembered),
            self._client,
            self._settings.join,
            clock=self._clock,
            wall=self._wall,
            rng=self._rng,
            resolve=self._resolve,
            pace=self._settings.gossip_pace,
            timeout_s=self._settings.gossip_timeout_s,
            wire_version=self._settings.wire_version,
            changed=self._changed,
        )
        self.register(GOSSIP, self._hear_gossip)
        self._gossip.take(gossip.BansChanged(frozenset(self._server.banned)))
        self._gossip.start()

    async def stop(self, leave: bool = True) -> None:
        """Tell a few members of the leave, end all calls and streams, stop listening. Idempotent.

        Without ``leave`` the others find out by themselves, as after a crash: for a daemon that is back at once.
        """
        if self._gossip is not None:
            await self._gossip.stop(leave)
        await self._client.stop()
        await self._server.stop()

    async def call(self, member: str, name: str, body: bytes, timeout_s: float) -> bytes:
        """Ask a live member; this one answers itself directly. A call that got no answer may have been carried out.

        Raises a ClusterError: MemberUnknown, MemberBanned, MemberUnreachable, CallRefused, AuthFailed, ClocksDiffer,
        LimitExceeded.
        """
        if member == self.me:
            return await self._server.answer_call(self.me, name, body)
        address = self._address_of(member)
        with self._shunning.asking(member):
            answered = await self._client.call(address, member, name, body, timeout_s)
        return answered.body

    async def introduce(self, member: str) -> None:
        """Make this member known to another one that may not have heard of it yet; whether that worked or not."""
        await self._running.introduce(member)

    async def fetch(
        self,
        member: str,
        name: str,
        query: Mapping[str, str],
        sink: Sink,
        limit_bytes: int,
        timeout_s: float = 30.0,
        *,
        banned_too: bool = False,
    ) -> int:
        """Stream from another live member into ``sink``, which gets proven bytes only, in parts of up to 1 MiB.

        ``timeout_s`` bounds the wait for each part. Returns how many bytes came. Raises as `call`, and what the sink
        raises; what the sink got before a failure is genuine.
        """
        address = self._address_of(member, banned_too=banned_too)
        with self._shunning.asking(member):
            return await self._client.fetch(address, member, name, query, sink, limit_bytes, timeout_s)

    def change_facts(self, facts: MemberFacts) -> None:
        """Tell the cluster new facts about this member; address, wire version, ids of secrets and draining are kept. Needs `start` before."""
        own = self._completed(facts)
        if own != self.facts:
            self._running.take(gossip.FactsChanged(own))

    def drain(self, wanted: bool) -> None:
        """Tell everybody that this member is being taken out of service, or that it is back. Needs `start` before."""
        self._draining = wanted
        self.change_facts(self.facts)

    def change_credentials(self, secret: Secret | None, tls: TlsIdentity | None) -> None:
        """Sign, accept and show these from now on; requests, streams and connections there are go on.

        Whether there is a secret and whether there is TLS is decided by the settings: a change between something and
        nothing raises ValueError. Needs `start` before.
        """
        if (secret is None, tls is None) != (self._settings.secret is None, self._settings.tls is None):
            raise ValueError("a secret or TLS that comes or goes takes effect at the next start")
        self._secret, self._tls, self._terms = secret or LOOPBACK_SECRET, tls, None
        self._server.change_credentials(self._secret, tls)
        self._client.change_credentials(self._secret, tls)
        self.change_facts(self.facts)

    def guard(self, gate: Gate) -> None:
        """Have everything that other members ask looked at first."""
        self._server.gate = gate

    def zone_of(self, member: str) -> str:
        """What the member says its zone is; empty when it is not known."""
        entry = self._running.table.entry(member)
        return entry.facts.zone if entry is not None else ""

    def wire_version_with(self, member: str) -> int:
        """The wire version in which to write to a member: the lower of its and ours. Raises MemberUnknown."""
        entry = self._running.table.entry(member)
        if entry is None:
            raise MemberUnknown(member)
        return min(entry.facts.wire_version, self._settings.wire_version)

    def members(self) -> tuple[Member, ...]:
        """All members known, the dead and gone of the last day and the banned included, in order of their names."""
        table = [entry for entry in self._running.table.table() if not entry.forgotten]
        return tuple(self._member(entry) for entry in sorted(table, key=lambda entry: entry.name))

    def troubles(self) -> Mapping[str, str]:
        """By address, why it could not be reached last: seeds that nobody answers at are found here only."""
        return dict(self._running.troubles())

    def refused_clocks(self) -> Mapping[str, float]:
        """Members that were asked last and refuse this one for its clock: by name, theirs minus ours in seconds."""
        return self._running.refused_clocks()

    @property
    def _running(self) -> Gossiping:
        if self._gossip is None:
            raise RuntimeError("the cluster is not started")
        return self._gossip

    def _completed(self, facts: MemberFacts) -> MemberFacts:
        return replace(
            facts,
            address=self.address,
            wire_version=self._settings.wire_version,
            secret_ids=auth.secret_ids(self._secret),
            draining=self._draining,
        )

    def _advertised(self, host: str, port: int) -> str:
        """An advertised port 0 stands for the one listened on."""
        if self._settings.advertise:
            told_host, told_port = addresses.split(self._settings.advertise)
            return addresses.join(told_host, told_port or port)
        if addresses.is_wildcard(host):
            outward = resolving.outward(host)
            if outward is None:
                raise ListenRefused(
                    self._settings.listen, "no route tells this host's own address; set cluster.advertise"
                )
            host = outward
        return addresses.join(host, port)

    def _address_of(self, member: str, *, banned_too: bool = False) -> str:
        entry = self._running.table.entry(member)
        if (reason := self.bans.get(member)) is not None and not banned_too:
            raise MemberBanned(member, reason)
        if entry is None or not entry.live:
            raise MemberUnknown(member)
        return entry.facts.address

    def _member(self, entry: MemberEntry) -> Member:
        told = Member(entry.name, entry.state, entry.facts, entry.incarnation)
        if entry.name == self.me:
            return replace(told, start_id=self.start_id, rtt_s=0.0, heard_s_ago=0.0, skew_s=0.0)
        identity = self._client.known(entry.facts.address)
        if identity is not None and identity.name == entry.name:
            told = replace(told, start_id=identity.start_id)
        contact = self._running.contacts.get(entry.name)
        if contact is not None:
            heard_s_ago = self._clock() - contact.heard_at
            told = replace(told, rtt_s=contact.rtt_s, skew_s=contact.skew_s, heard_s_ago=heard_s_ago)
        return replace(told, trouble=self._running.troubles().get(entry.facts.address, ""))

    async def _hear_gossip(self, sender: str, body: bytes) -> bytes:
        self._shunning.friendly(sender)
        return await self._running.hear(sender, body)

    def _changed(self) -> None:
        self._terms = None
        for callback in self._callbacks:
            try:
                callback()
            except Exception:
                log.exception("a callback on a change of the members failed")
