"""What moved between this node and each member, added up from what is known of connections. Pure.

A connection's own counters are right and end with it; the engine's counters of all connections together are right too and
stay. So a connection that was looked at last when its swarm was closed is counted exactly, and what one moved between its
last sample and an end that the other side made is the difference: it is given to the members whose connections ended,
which is exact for one at a time and shared out by their last rates where several ended between two samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from distd.core.rates import Meter
from peers.metainfo import Kind
from peers.swarm import PeerStats, SwarmStats

Key = tuple[str, str, str]
"""Kind, blob and address of a connection."""

BUSY_SAMPLE_S = 0.25
"""Between samples while connections come and go; a blob's connections may live for a second."""
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


@dataclass(slots=True)
class _Seen:
    """A connection in the last sample; `owner` None: no member's. The last two are since the sample before."""

    owner: str | None
    received_bytes: int
    sent_bytes: int
    lately_received_bytes: int = 0
    lately_sent_bytes: int = 0


@dataclass(slots=True)
class _Ended:
    """Members whose connections ended, with what each moved in its last sample, in one direction."""

    weights: dict[str, int] = field(default_factory=dict)

    def share_out(self, size_bytes: int) -> dict[str, int]:
        """By weight; equal parts where nothing moved. The parts sum up to all of it."""
        names = sorted(self.weights)
        total = sum(self.weights.values())
        shares = [self.weights[name] / total if total else 1 / len(names) for name in names]
        parts = {name: int(size_bytes * share) for name, share in zip(names, shares, strict=True)}
        parts[names[0]] += size_bytes - sum(parts.values())
        return parts


class Flows:
    """Feed it `observe` with samples and `ended` with last looks, in the order they were taken; read `of`."""

    def __init__(self) -> None:
        self._flows: dict[str, Flow] = {}
        self._seen: dict[Key, _Seen] = {}
        self._changed_at = float("-inf")
        self._closed_at: dict[tuple[str, str], float] = {}
        # Of what the engine counted: what is known to be whose. What is not is from connections that ended.
        self._known_received_bytes = self._known_sent_bytes = 0
        self._ended_received, self._ended_sent = _Ended(), _Ended()

    def pause_s(self, now: float) -> float:
        """How long the next sample may be waited for."""
        if not any(each.owner is not None for each in self._seen.values()):
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

    def observe(self, sample: SwarmStats, owners: Mapping[str, str], began: float, now: float) -> None:
        """`owners`: address (`host:port`) or tag -> member; who is in neither is left out. `began`: of taking the sample."""
        seen = {}
        for each in sample.peers:
            if self._closed_at.get((each.kind.value, each.blob), began) > began:
                continue  # closed while the sample was taken, and counted to its end
            key = _key(each)
            seen[key] = self._count(key, each, owners, now)
        if seen.keys() != self._seen.keys():
            self._changed_at = now
        gone = [self._seen[key] for key in self._seen.keys() - seen.keys()]
        self._seen = seen
        self._closed_at = {key: at for key, at in self._closed_at.items() if at > began}
        self._note_ended(gone)
        self._give_the_rest(sample, now)

    def ended(
        self, kind: Kind, blob: str, connections: Iterable[PeerStats], owners: Mapping[str, str], now: float
    ) -> None:
        """A swarm is being closed: `connections` is the last look at its connections."""
        self._closed_at[kind.value, blob] = now
        for each in connections:
            self._count(_key(each), each, owners, now)
        gone = [key for key in self._seen if key[:2] == (kind.value, blob)]
        self._note_ended([self._seen.pop(key) for key in gone])

    def _count(self, key: Key, each: PeerStats, owners: Mapping[str, str], now: float) -> _Seen:
        before = self._seen.get(key)
        owner = owners.get(str(each.peer)) or owners.get(each.tag)
        if (
            before is None
            or each.received_bytes < before.received_bytes
            or each.sent_bytes < before.sent_bytes
        ):
            before = _Seen(owner, 0, 0)  # connected anew
        received, sent = each.received_bytes - before.received_bytes, each.sent_bytes - before.sent_bytes
        self._known_received_bytes += received
        self._known_sent_bytes += sent
        if owner is not None:
            self.moved(owner, received, sent, now)
        return _Seen(owner, each.received_bytes, each.sent_bytes, received, sent)

    def _note_ended(self, gone: Iterable[_Seen]) -> None:
        """The latest to end are those whose last bytes are not known yet."""
        by_owner = [(each.owner, each) for each in gone if each.owner is not None]
        if by_owner:
            self._ended_received, self._ended_sent = _Ended(), _Ended()
        for owner, each in by_owner:
            for ended, lately in (
                (self._ended_received, each.lately_received_bytes),
                (self._ended_sent, each.lately_sent_bytes),
            ):
                ended.weights[owner] = ended.weights.get(owner, 0) + lately

    def _give_the_rest(self, sample: SwarmStats, now: float) -> None:
        """The engine's counters are read before the connections': the rest is never too large, and later the same."""
        received = max(0, sample.received_bytes - self._known_received_bytes)
        sent = max(0, sample.sent_bytes - self._known_sent_bytes)
        if received and self._ended_received.weights:
            self._known_received_bytes += received
            for owner, part in self._ended_received.share_out(received).items():
                self.moved(owner, part, 0, now)
        if sent and self._ended_sent.weights:
            self._known_sent_bytes += sent
            for owner, part in self._ended_sent.share_out(sent).items():
                self.moved(owner, 0, part, now)


def _key(each: PeerStats) -> Key:
    return each.kind.value, each.blob, str(each.peer)
