"""This node's answers to what members ask on behalf of a person: what its own API would do for somebody on its host."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from distd.actors import actor
from distd.api.peer_schema import BanWord
from distd.api.ports import Draining, Models, Node, Peering
from distd.core import audience
from distd.errors import DistdError
from distd.nodes.questions import (
    BanAsked,
    DrainAsked,
    Held,
    ModelsAsked,
    PinAsked,
    Question,
    RemoveAsked,
    Reply,
    StatusAsked,
    meant,
)

MODELS_MAX = 1000
"""Told by one node at once: half a megabyte of the four that an answer may have."""


class OwnAnswers:
    """Answers questions; every refusal is in the reply."""

    def __init__(self, node: Node, models: Models, peering: Peering, draining: Draining) -> None:
        self._peering = peering
        self._draining = draining
        self._node = node
        self._models = models

    async def reply(self, question: Question) -> Reply:
        try:
            return Reply(msgspec.msgpack.encode(await self._answer(question)))
        except DistdError as error:
            return Reply(problem=error.problem())

    async def _answer(self, question: Question) -> msgspec.Struct:
        match question:
            case StatusAsked():
                return self._node.status()
            case ModelsAsked():
                models, more = await self._models.page(None, MODELS_MAX)
                return Held(tuple(models), more is not None)
            case RemoveAsked():
                return await self._models.remove(*meant(question))
            case PinAsked(pinned=pinned):
                return await self._models.pin(*meant(question), pinned)
            case BanAsked(member, reason, True):
                return BanWord(await self._peering.ban(member, reason, actor()))
            case BanAsked(member):
                await self._peering.unban(member, actor())
                return BanWord(None)
            case DrainAsked(None):
                return self._draining.view()
            case DrainAsked(True):
                return await self._draining.drain(actor())
            case DrainAsked():
                return await self._draining.undrain(actor())


class LoneMember:
    """Implements `operations.Members` for a daemon without a cluster: `all` is itself."""

    def __init__(self, name: str, zone: str, own: OwnAnswers) -> None:
        self.me = name
        self._zone = zone
        self._own = own

    def known(self) -> Sequence[audience.Node]:
        return [audience.Node(self.me, self._zone, True)]

    async def ask(self, node: str, question: Question, timeout_s: float) -> Reply:
        return await self._own.reply(question)
