"""The cluster as operators see it: members, how they are reached, and what flows between them and this node.

BitTorrent's connections are mapped to members by the address connected to, else by the tag that the other
side says of itself. Both are hints for display: a tag is forgeable and an incoming connection shows a
port of the moment. How their bytes are added up is told in `flows.py`. Small blobs, which come over the cluster's API, are
counted as they pass. What a node got of each pull is counted in the pull.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Literal

from distd.api.schema import ClusterView, PeerAddresses, PeerView
from distd.core.rates import Meter
from distd.pulls.views import RATE_WINDOW_S, rfc3339
from distd.sharing.flows import BUSY_SAMPLE_S, Flows
from peers.cluster import Cluster, Member
from peers.engine import Engine
from peers.membership import MemberState
from peers.settings import TAG_CHARACTERS
from peers.swarm import ConnectionsEnded, PeerConnected, SwarmEvent


class Company:
    """Implements `node.Company`. Run `watch` as a task beside the cluster."""

    def __init__(self, cluster: Cluster, engine: Engine, *, name: str) -> None:
        self._cluster = cluster
        self._engine = engine
        self._name = name
        self._flows = Flows()
        self._connected = asyncio.Event()
        self._sampling = asyncio.Lock()

    def swarm_event(self, happened: SwarmEvent) -> None:
        """Given to the engine as its sink."""
        match happened:
            case PeerConnected():
                self._connected.set()
            case ConnectionsEnded(blob, kind, connections):
                owners = owners_of(self._cluster.members(), self._cluster.me)
                self._flows.ended(kind, blob, connections, owners, time.monotonic())

    def small_received(self, member: str, size_bytes: int) -> None:
        self._flows.moved(member, size_bytes, 0, time.monotonic())

    def small_sent(self, member: str, size_bytes: int) -> None:
        self._flows.moved(member, 0, size_bytes, time.monotonic())

    async def watch(self) -> None:
        while True:
            self._connected.clear()
            await self._sample()
            pause_s = self._flows.pause_s(time.monotonic())
            if pause_s <= BUSY_SAMPLE_S:  # many come at the start of a pull: one sample has them all
                await asyncio.sleep(pause_s)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._connected.wait()

    def view(self) -> ClusterView:
        """Those who left do not count; the dead do, until they are forgotten after a day."""
        states = [member.state for member in self._cluster.members()]
        return ClusterView(
            name=self._name,
            members=sum(state is not MemberState.LEFT for state in states),
            reachable=sum(state is MemberState.ALIVE for state in states),
        )

    def states(self) -> Counter[str]:
        """How many members are in each state, this one included."""
        return Counter(STATES[member.state] for member in self._cluster.members())

    def draining(self) -> int:
        """Live members that are being taken out of service, this one included."""
        return len(self._cluster.view.draining)

    async def peers(self) -> list[PeerView]:
        """All members known, this one included, in order of their names."""
        await self._sample()
        now, wall = time.monotonic(), time.time()
        return [self._peer(member, now, wall) for member in self._cluster.members()]

    def flows(self) -> dict[str, tuple[Meter, Meter]]:
        """Per member what it sent to this node and what it got from it."""
        return {name: (flow.received, flow.sent) for name, flow in self._flows.all().items()}

    async def _sample(self) -> None:
        async with self._sampling:  # an older sample after a newer one would look like new connections
            began = time.monotonic()
            stats = await self._engine.stats()
            owners = owners_of(self._cluster.members(), self._cluster.me)
            self._flows.observe(stats, owners, began, time.monotonic())

    def _peer(self, member: Member, now: float, wall: float) -> PeerView:
        flow, facts = self._flows.of(member.name), member.facts
        seen = wall - member.heard_s_ago if member.heard_s_ago is not None else None
        return PeerView(
            name=member.name,
            zone=facts.zone,
            state=STATES[member.state],
            is_self=member.name == self._cluster.me,
            addresses=PeerAddresses(facts.address, facts.hot_address, facts.sealed_address),
            wire_version=facts.wire_version,
            fetches_hub=facts.fetches_hub,
            rtt_s=member.rtt_s,
            seen_at=rfc3339(seen),
            clock_skew_s=member.skew_s,
            trouble=member.trouble or None,
            receive_rate_bytes_per_s=flow.received.rate(RATE_WINDOW_S, now),
            send_rate_bytes_per_s=flow.sent.rate(RATE_WINDOW_S, now),
            received_bytes=flow.received.total_bytes,
            sent_bytes=flow.sent.total_bytes,
            ban=self._cluster.bans.get(member.name),
            draining=facts.draining,
        )


STATES: dict[MemberState, Literal["alive", "suspect", "dead", "left"]] = {
    MemberState.ALIVE: "alive",
    MemberState.SUSPECT: "suspect",
    MemberState.DEAD: "dead",
    MemberState.LEFT: "left",
}


def tag_of(name: str) -> str:
    """What a node says of itself to its peers: the beginning of its name, in the characters that fit."""
    return "".join(c if c.isascii() and c.isprintable() else "_" for c in name)[:TAG_CHARACTERS].rstrip("-")


def owners_of(members: Iterable[Member], me: str) -> dict[str, str]:
    """Address or tag -> member; a tag that two members have says nothing, and is left out."""
    owners: dict[str, str] = {}
    by_tag: dict[str, list[str]] = {}
    for member in members:
        if member.name != me:
            owners |= {member.facts.hot_address: member.name, member.facts.sealed_address: member.name}
            by_tag.setdefault(tag_of(member.name), []).append(member.name)
    owners.pop("", None)
    return {tag: names[0] for tag, names in by_tag.items() if tag and len(names) == 1} | owners
