"""The simulated cluster: nodes, network, Hub, swarms, and the faults that can befall them, all from one seed."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass

from peers import membership as gossip
from peers.blob import Blob
from peers.lead import Lead
from peers.member import BlobMember
from tests.sim.checks import Checks
from tests.sim.clock import VirtualTime
from tests.sim.hub import Hub
from tests.sim.node import Node
from tests.sim.swarms import Swarms
from tests.sim.traffic import Traffic

MIB = 1 << 20


@dataclass(frozen=True)
class Shape:
    """Sizes of the cluster; rates in bytes per second."""

    members: int = 4
    pieces: int = 40
    piece_len_bytes: int = 16 * MIB
    nic_bytes_per_s: float = 1.25e9
    hub_bytes_per_s: float = 60e6
    hub_link_bytes_per_s: float = 125e6
    hub_down_cluster: float = 0.0
    zones: int = 0
    """With zones, pieces go over the connections that leads name only, and those that cross are counted."""
    zones_told: bool = True
    between_zones_bytes_per_s: float = 0.0
    """Of all members of a zone together, each way; 0: no narrower than their own links."""


class World:
    """``lead_class``, ``member_class`` and ``membership_class`` let a test plant a faulty machine."""

    def __init__(
        self,
        seed: int,
        shape: Shape = Shape(),
        lead_class: type[Lead] = Lead,
        member_class: type[BlobMember] = BlobMember,
        membership_class: type[gossip.Membership] = gossip.Membership,
    ) -> None:
        self.seed = seed
        self.shape = shape
        self.lead_class = lead_class
        self.member_class = member_class
        self.membership_class = membership_class
        self.rng = random.Random(seed)
        self.time = VirtualTime()
        self.blob = Blob(f"blob-{seed}", shape.pieces * shape.piece_len_bytes - 12345, shape.piece_len_bytes)
        self.names = [f"n{number}" for number in range(shape.members)]
        self.hub = Hub(shape.hub_link_bytes_per_s)
        self.swarms = Swarms(self)
        self.checks = Checks(self)
        self.liars: set[str] = set()
        self.liars_ban_nobody = False
        self.traffic: Traffic | None = None
        self.loss = 0.0
        self.busy_s = 0.0
        """What every host takes to get at what is said about blobs: processors are short everywhere."""
        self._blocked: set[tuple[str, str]] = set()
        self._trace = hashlib.blake2b(digest_size=8)
        self.nodes = {name: Node(self, name) for name in self.names}

    @property
    def now(self) -> float:
        return self.time.now

    @property
    def trace(self) -> str:
        """Identifies everything that happened, in order."""
        return self._trace.hexdigest()

    def note(self, name: str, what: str) -> None:
        self._trace.update(f"{self.now:.9f} {name} {what}\n".encode())

    def start(self, wanting: list[str] | None = None, names: list[str] | None = None) -> None:
        """Start daemons (all, unless ``names`` are told) with a settled membership; ``wanting`` pull the blob (all)."""
        names = self.names if names is None else names
        facts = [self.nodes[name].facts for name in names]
        known = tuple(gossip.MemberEntry(fact.address, 1, gossip.MemberState.ALIVE, fact) for fact in facts)
        for name in names:
            self.nodes[name].start(known, wants=wanting is None or name in wanting)

    def run(self, limit_s: float, until: Callable[[], bool] | None = None) -> bool:
        """Run until every live node that wants the blob is done (or ``until`` holds); False on the time limit."""
        return self.time.run(until or self.all_done, self.now + limit_s)

    def all_done(self) -> bool:
        return all(node.done for node in self.nodes.values() if node.up and node.machine is not None)

    def send(self, sender: str, receiver: str, deliver: Callable[[], None], after_s: float = 0.0) -> None:
        """One message: delayed at random, so reordered; lost by partition, loss or death of either side."""
        if (sender, receiver) in self._blocked or self.rng.random() < self.loss:
            return
        node = self.nodes[receiver]
        life = node.life

        def arrive() -> None:
            if node.up and node.life == life:
                deliver()

        self.time.after(self.delay_s() + after_s, arrive)

    def delay_s(self) -> float:
        return 0.0002 + 0.005 * self.rng.random() ** 3

    def linked(self, one: str, other: str) -> bool:
        """Whether a connection between two members carries data; it needs both directions."""
        return (one, other) not in self._blocked and (other, one) not in self._blocked

    def kill(self, name: str) -> None:
        """The process dies; its journal, its disk and its published copy survive."""
        self.note(name, "killed")
        self.nodes[name].die()

    def restart(self, name: str, *, wants: bool = True) -> None:
        self.note(name, "restarted")
        if not self.nodes[name].up:
            self.nodes[name].start((), wants=wants)

    def partition(self, some: list[str], others: list[str], *, one_way: bool = False) -> None:
        """Nothing passes from ``some`` to ``others``, nor back unless ``one_way``."""
        for one in some:
            for other in others:
                self._blocked.add((one, other))
                if not one_way:
                    self._blocked.add((other, one))

    def heal(self) -> None:
        self._blocked.clear()

    def slow_link(self, name: str, factor: float) -> None:
        """This node's NIC and its way to the Hub are slower by ``factor``."""
        node = self.nodes[name]
        node.up_bytes_per_s /= factor
        node.down_bytes_per_s /= factor
        node.hub.rate_bytes_per_s /= factor

    def corrupt_piece(self, name: str, piece: int) -> None:
        """Bytes rot on a node that is filling; whoever takes them from it gets them too.

        Not between seal and publication: what rots after its hash was right is for the scrub to find.
        """
        node = self.nodes[name]
        if piece in node.disk and node.machine is not None and not node.sealed_right:
            node.disk[piece] = 5
            node.rotten.add(piece)

    def lying_fetcher(self, name: str, *, wrong_bytes: bool) -> None:
        """Claims false digests for right bytes, or stores and claims wrong bytes consistently."""
        self.liars.add(name)
        self.nodes[name].hub.gives_wrong_bytes = wrong_bytes
        self.nodes[name].hub.lies_about_digests = not wrong_bytes

    def damaging_relay(self, name: str) -> None:
        """What this member checked is damaged afterwards, and passed on so."""
        self.liars.add(name)
        self.nodes[name].damages_what_it_relays = True

    def hollow_member(self, name: str) -> None:
        """Announces every piece from the start and has none of them."""
        self.liars.add(name)
        self.nodes[name].announces_all = True

    def lossy(self, share: float) -> None:
        """This share of all messages gets lost."""
        self.loss = share

    def fill_disk(self, name: str) -> None:
        self.nodes[name].full = True
