"""The cluster as operators see it: members, how they are reached, and what flows between them and this node.

BitTorrent's connections are mapped to members by the address connected to, else by the tag that the other
side says of itself. Both are hints for display: a tag is forgeable and an incoming connection shows a
port of the moment. Their bytes are added up from samples, because a connection's counters end with it: a lower
bound. Small blobs, which come over the cluster's API, are counted as they pass. What a node got of each pull is
counted exactly, in the pull.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Literal

from distd.api.schema import ClusterView, PeerAddresses, PeerView
from distd.core.rates import Meter
from distd.pulls.views import RATE_WINDOW_S, rfc3339
from peers.cluster import Cluster, Member
from peers.engine import Engine
from peers.membership import MemberState
from peers.settings import TAG_CHARACTERS
from peers.swarm import PeerStats

BUSY_SAMPLE_S = 0.25
"""Between samples while connections come and go: what one moves after its last sample is not seen, and a
blob's connections may live for a second."""
STEADY_SAMPLE_S = 1.0
STEADY_AFTER_S = 2.0
"""Connections that are all older than that last for many seconds more, and a sample costs a millisecond."""
IDLE_SAMPLE_S = 10.0
"""While there are none; a new connection ends the wait."""


class Flow:
    """Between one member and this node."""

    def __init__(self) -> None:
        self.received = Meter()
        self.sent = Meter()


class Flows:
    """Adds up samples of connections. Pure: feed it `observe`, read `of`."""

    def __init__(self) -> None:
        self._flows: dict[str, Flow] = {}
        self._seen: dict[tuple[str, ...], tuple[int, int]] = {}
        self._changed_at = float("-inf")

    def pause_s(self, now: float) -> float:
        """How long the next sample may be waited for."""
        if not self._seen:
            return IDLE_SAMPLE_S
        return BUSY_SAMPLE_S if now - self._changed_at < STEADY_AFTER_S else STEADY_SAMPLE_S

    def of(self, member: str) -> Flow:
        return self._flows.get(member) or Flow()

    def all(self) -> dict[str, Flow]:
        return dict(self._flows)

    def moved(self, member: str, received_bytes: int, sent_bytes: int, now: float) -> None:
        """Besides all connections of BitTorrent."""
        flow = self._flows.setdefault(member, Flow())
        flow.received.add(received_bytes, now)
        flow.sent.add(sent_bytes, now)

    def observe(self, connections: Iterable[PeerStats], owners: Mapping[str, str], now: float) -> None:
        """`owners`: address (`host:port`) or tag -> member; who is in neither is left out."""
        seen: dict[tuple[str, ...], tuple[int, int]] = {}
        for each in connections:
            owner = owners.get(str(each.peer)) or owners.get(each.tag)
            if owner is None:
                continue
            key = (each.kind.value, each.blob, str(each.peer))
            received, sent = seen[key] = (each.received_bytes, each.sent_bytes)
            before = self._seen.get(key, (0, 0))
            if received < before[0] or sent < before[1]:
                before = (0, 0)  # connected anew
            flow = self._flows.setdefault(owner, Flow())
            flow.received.add(received - before[0], now)
            flow.sent.add(sent - before[1], now)
        if seen.keys() != self._seen.keys():
            self._changed_at = now
        self._seen = seen


class Company:
    """Implements `node.Company`. Run `watch` as a task beside the cluster."""

    def __init__(self, cluster: Cluster, engine: Engine, *, name: str) -> None:
        self._cluster = cluster
        self._engine = engine
        self._name = name
        self._flows = Flows()
        self._connected = asyncio.Event()

    def peer_connected(self) -> None:
        """The engine says so: sampling begins at once."""
        self._connected.set()

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
        stats = await self._engine.stats()
        owners = owners_of(self._cluster.members(), self._cluster.me)
        self._flows.observe(stats.peers, owners, time.monotonic())

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
