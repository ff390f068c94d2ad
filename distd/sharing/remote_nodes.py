"""What members ask each other on behalf of a person, over the cluster's API: both sides of the call `node`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from distd.core.audience import Node
from distd.nodes.own import OwnAnswers
from distd.nodes.questions import Question, Reply
from distd.sharing.asking_nodes import asked, known_nodes, read
from peers.cluster import Cluster

NODE = "node"


class _Envelope(msgspec.Struct, frozen=True):
    question: Question


class RemoteNodes:
    """Implements `operations.Members`. Make it once this node can answer: from then on it answers others."""

    def __init__(self, cluster: Cluster, own: OwnAnswers) -> None:
        self.me = cluster.me
        self._cluster = cluster
        self._own = own
        cluster.register(NODE, self._on_question)

    def known(self) -> Sequence[Node]:
        return known_nodes(self._cluster)

    async def ask(self, node: str, question: Question, timeout_s: float) -> Reply:
        return await asked(self._cluster, node, NODE, _Envelope(question), Reply, timeout_s)

    async def _on_question(self, sender: str, body: bytes) -> bytes:
        return msgspec.msgpack.encode(await self._own.reply(read(body, _Envelope).question))
