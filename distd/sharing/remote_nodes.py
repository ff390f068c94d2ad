"""What members ask each other on behalf of a person, over the cluster's API: both sides of the call `node`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

import msgspec

from distd.actors import acting, actor, on_behalf
from distd.core.audience import Node
from distd.nodes.own import OwnAnswers
from distd.nodes.questions import Question, Reply, deed_of
from distd.sharing.asking_nodes import asked, known_nodes, read
from peers.cluster import Cluster
from peers.cluster_errors import MemberUnknown

NODE = "node"

Noted = Callable[[str, str, str], Awaitable[None]]
"""Writes down a deed, its subject and its outcome, of the present actor."""


class _Envelope(msgspec.Struct, frozen=True):
    """`by`: on whose behalf, as the asking member says."""

    question: Question
    by: str = ""


class RemoteNodes:
    """Implements `operations.Members`. Make it once this node can answer: from then on it answers others."""

    def __init__(self, cluster: Cluster, own: OwnAnswers, noted: Noted) -> None:
        self.me = cluster.me
        self._cluster = cluster
        self._own = own
        self._noted = noted
        cluster.register(NODE, self._on_question)

    def known(self) -> Sequence[Node]:
        return known_nodes(self._cluster)

    async def ask(self, node: str, question: Question, timeout_s: float) -> Reply:
        return await asked(self._cluster, node, NODE, _Envelope(question, actor()), Reply, timeout_s)

    async def _on_question(self, sender: str, body: bytes) -> bytes:
        asked_for = read(body, _Envelope)
        question = asked_for.question
        if sender == self.me:  # a person's request to this node, which is written down where it came in
            return msgspec.msgpack.encode(await self._own.reply(question))
        with acting(on_behalf(sender, asked_for.by)):
            reply = await self._own.reply(question)
            if deed := deed_of(question):
                await self._noted(*deed, reply.problem.code if reply.problem else "done")
            return msgspec.msgpack.encode(reply)


class MemberCircle:
    """Implements `peering.Circle` for a member."""

    def __init__(self, cluster: Cluster) -> None:
        self.me = cluster.me
        self._cluster = cluster

    def known(self) -> Sequence[Node]:
        return known_nodes(self._cluster)

    def ban(self, reasons: Mapping[str, str]) -> None:
        self._cluster.ban(reasons)

    def forget(self, member: str) -> None:
        with suppress(MemberUnknown):  # it came back, or everybody forgot it, just now
            self._cluster.forget(member)
