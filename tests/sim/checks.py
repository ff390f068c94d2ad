"""The invariants of the whole cluster, watched from outside by somebody who knows the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peers import membership as gossip
from peers import piece_set, rendezvous
from peers.invariants import require
from peers.ledger import Claim, Ledger
from peers.member import BlobMember
from peers.messages import LeadAnswer, LeadRequest, LeaseKey
from peers.roster import ANSWERED_NEW_MAX, ANSWERED_OLD_MAX, SMALL_LINES
from peers.suspicion import Evidence
from peers.swarm_choice import Stage
from tests.sim import truth

if TYPE_CHECKING:
    from tests.sim.node import Node
    from tests.sim.world import World

THOROUGH_EVERY = 97
"""Events between two thorough checks of a node: these cost as much as a blob has pieces."""


SAID_LINES_MAX = max(gossip.NEWS_MAX, ANSWERED_NEW_MAX + ANSWERED_OLD_MAX, SMALL_LINES) + 3
"""Beside its news and differences a member tells its own line, and one that the other has to refute."""


class Checks:
    """Called by the world at each event; raises `InvariantViolated`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._granted: dict[tuple[str, int, int], tuple[str, int]] = {}
        self._leases: set[LeaseKey] = set()
        self._events = 0
        self._claims: dict[str, int] = {}
        self.believed_dead_falsely: set[str] = set()

    def after_event(self, node: Node) -> None:
        now = self._world.now
        self._events += 1
        if node.machine is not None:
            node.machine.check()
        if node.lead is not None:
            node.lead.check(now)
            honest = set(node.lead.ledger.blamed()) - self._world.liars
            require(not honest, "nobody honest is blamed", blamed=sorted(honest))
        if self._events % THOROUGH_EVERY == 0:
            self.thorough(node)

    def thorough(self, node: Node) -> None:
        if node.machine is not None:
            node.machine.check_thoroughly()
            self._reported(node, node.machine)
        if node.lead is not None:
            node.lead.ledger.check()
        if node.membership is not None:
            node.membership.check()

    def _reported(self, node: Node, machine: BlobMember) -> None:
        held = piece_set.from_bytes(machine.report(self._world.now).held, machine.blob.pieces)
        stands = machine.blob.all_pieces if machine.stage is Stage.PUBLISHED else machine.table.secured
        require(not held & ~stands, "only secured pieces are reported", node=node.name)

    def answered(self, lead: Node, member: str, answer: LeadAnswer, request: LeadRequest) -> None:
        """A lead granted: it must lead for this member, have kept its claims, and lease each piece once."""
        assert lead.lead is not None
        view = (lead.live - set(request.unreachable)) | {lead.name}
        leader = rendezvous.lead_order(self._world.blob.name, view, lead.draining)[0]
        require(
            lead.name in (member, leader),
            "only the first live member leads others",
            lead=lead.name,
            member=member,
            leader=leader,
        )
        require(
            all(
                claim in lead.lead.ledger or _beaten(lead.lead.ledger, claim)
                for claim in request.report.claims
            ),
            "claims are united",
            lead=lead.name,
            member=member,
        )
        live = {record.lease.key.number: record for record in lead.lead.leases.records}
        for lease in answer.leases:
            is_new = lease.key not in self._leases and not live[lease.key.number].adopted
            require(
                not lead.lead._awaited or not is_new,
                "a lead that waits for reports grants nothing",
                lease=lease,
            )
            self._leases.add(lease.key)
            for piece in range(lease.span.start, lease.span.stop):
                key = (lease.key.lead, lease.key.term, piece)
                holder, number = self._granted.get(key, (member, lease.key.number))
                require(
                    holder == member or number not in live or not live[number].remaining.pieces >> piece & 1,
                    "a lease is held once per term unless it lapsed",
                    piece=piece,
                    holders=(holder, member),
                )
                self._granted[key] = (member, lease.key.number)

    def learned(self, node: Node, answer: LeadAnswer) -> None:
        """A member took an answer: its ledger has what it was told, and no claim fewer than before."""
        assert node.machine is not None
        if node.machine.asking.last_answer is not answer:
            return  # it was to a request replaced meanwhile
        ledger = node.machine.ledger
        known = ledger.version
        require(known >= self._claims.get(node.life_name, 0), "claims never get lost", node=node.name)
        self._claims[node.life_name] = known
        require(
            all(claim in ledger or _beaten(ledger, claim) for claim in answer.claims),
            "claims are united",
            member=node.name,
        )

    def gossip_said(self, node: Node, said: gossip.Said) -> None:
        require(
            said.wants_all or len(said.lines) <= SAID_LINES_MAX,
            "what is said is bounded",
            node=node.name,
            said=len(said.lines),
        )

    def gossip_answered(self, node: Node, asked: gossip.Said, answer: gossip.Said) -> None:
        lacks_all = not asked.sums or asked.wants_all or 2 * asked.members < answer.members
        at_most = SAID_LINES_MAX + max(0, answer.members - asked.members)
        require(
            lacks_all or len(answer.lines) <= at_most,
            "whole tables go to those that lack them",
            node=node.name,
            said=len(answer.lines),
        )

    def company_told(self, node: Node, before: gossip.TellLive | None, told: gossip.TellLive) -> None:
        """Whom a member believes dead that never stopped: counted, since a partition is a good reason."""
        for name in before.live - told.live if before else ():
            if self._world.nodes[name].life == 1:
                self.believed_dead_falsely.add(name)

    def tables_agree(self) -> bool:
        """Whether every daemon that is up knows all that are, and no other as live."""
        up = frozenset(node.name for node in self._world.nodes.values() if node.up)
        tables = [node.membership for node in self._world.nodes.values() if node.membership is not None]
        return all(table.live == up for table in tables)

    def blamed(self, node: Node, evidence: Evidence) -> None:
        """Nobody honest is named, whatever others claim or send."""
        require(
            evidence.member in self._world.liars or len(self._world.nodes[evidence.member].rotten) > 1,
            "nobody honest is named with evidence",
            by=node.name,
            evidence=evidence,
        )

    def published(self, node: Node) -> None:
        """The store now shows this content to model servers."""
        wrong = [p for p in range(self._world.blob.pieces) if node.disk.get(p) != truth.TRUE]
        require(not wrong, "what is published is what the Hub's hash names", node=node.name, wrong=wrong)
        require(node.sealed_right, "nothing is published before its seal", node=node.name)


def _beaten(ledger: Ledger, claim: Claim) -> bool:
    """Of two claims with the same name the smaller is kept."""
    name = (claim.claimant, claim.fetch, claim.sealed)
    return any(
        kept < claim and (kept.claimant, kept.fetch, kept.sealed) == name
        for kept in ledger.claims_of(claim.piece)
    )
