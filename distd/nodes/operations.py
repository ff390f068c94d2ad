"""A person's request to several members: each is asked, and each has its row, whatever came of it.

Bounded: so many are asked at once, each has its time, and so has the whole. Who is believed dead is not asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec

from distd.api.node_schema import NodeModelsView, NodePinView, NodeRemovedView, NodeStatusView
from distd.api.peer_schema import BanWord, DrainView, NodeBanView
from distd.api.schema import ErrorView, ModelView, RemovedView, StatusView
from distd.core.audience import Node, NodeRefused, NodeSilent, chosen
from distd.core.refs import Repo
from distd.errors import ElsewhereRefused, NotFound, Problem
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
)

ASKED_AT_ONCE = 64
"""A large fleet takes several batches, not all sockets."""

T = TypeVar("T", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds for one node, and for all of them together: somebody waits at a prompt."""

    node_s: float
    all_s: float


LOOK = Patience(5.0, 20.0)
"""Answers are made in milliseconds; listing a cache reads directories on a disk that may be busy."""
CHANGE = Patience(60.0, 180.0)
"""Removing unlinks some hundred gigabytes, which takes seconds on a busy disk, and a whole fleet does it at once."""


class Members(Protocol):
    """The members of the cluster, this node included, as targets of a question."""

    me: str

    def known(self) -> Sequence[Node]:
        """All members, in order of their names."""

    async def ask(self, node: str, question: Question, timeout_s: float) -> Reply:
        """Raises NodeSilent or NodeRefused. A change that got no answer may have been made."""


class NodeOperations:
    """Implements the API's `Nodes`. All raise InvalidRequest for a name or zone that nobody has."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._room = asyncio.Semaphore(ASKED_AT_ONCE)

    async def status(self, nodes: Collection[str], zone: str | None) -> list[NodeStatusView]:
        rows = await self._everywhere(nodes, zone, StatusAsked(), StatusView, LOOK)
        return [
            NodeStatusView(node.name, node.zone, node.state, error, status) for node, status, error in rows
        ]

    async def models(self, nodes: Collection[str], zone: str | None) -> list[NodeModelsView]:
        rows = await self._everywhere(nodes, zone, ModelsAsked(), Held, LOOK)
        return [
            NodeModelsView(
                node.name,
                node.zone,
                node.state,
                error,
                held.models if held else (),
                held.more if held else False,
            )
            for node, held, error in rows
        ]

    async def remove(
        self, nodes: Collection[str], zone: str | None, repo: Repo, revision: str | None
    ) -> list[NodeRemovedView]:
        question = RemoveAsked(repo.type, repo.id, revision)
        rows = await self._everywhere(nodes, zone, question, RemovedView, CHANGE)
        return [
            NodeRemovedView(
                node.name,
                node.zone,
                node.state,
                error,
                removed.removed if removed else (),
                removed.freed_bytes if removed else 0,
            )
            for node, removed, error in rows
        ]

    async def pin(
        self, nodes: Collection[str], zone: str | None, repo: Repo, revision: str | None, pinned: bool
    ) -> list[NodePinView]:
        question = PinAsked(repo.type, repo.id, revision, pinned)
        rows = await self._everywhere(nodes, zone, question, ModelView, CHANGE)
        return [NodePinView(node.name, node.zone, node.state, error, model) for node, model, error in rows]

    async def ban(
        self, nodes: Collection[str], zone: str | None, member: str, reason: str
    ) -> list[NodeBanView]:
        return await self._banned(nodes, zone, BanAsked(member, reason))

    async def unban(self, nodes: Collection[str], zone: str | None, member: str) -> list[NodeBanView]:
        return await self._banned(nodes, zone, BanAsked(member, banned=False))

    async def _banned(
        self, nodes: Collection[str], zone: str | None, question: BanAsked
    ) -> list[NodeBanView]:
        rows = await self._everywhere(nodes, zone, question, BanWord, LOOK, besides=question.member)
        return [
            NodeBanView(node.name, node.zone, node.state, error, word.ban if word else None)
            for node, word, error in rows
        ]

    async def drain(self, name: str, wanted: bool | None) -> DrainView:
        node = next((node for node in self._members.known() if node.name == name), None)
        if node is None:
            raise NotFound(f"no member of the cluster is called {name!r}: distctl peers lists them")
        try:
            return await self._ask(node, DrainAsked(wanted), DrainView, CHANGE.node_s)
        except NodeSilent as silence:
            raise ElsewhereRefused(node.name, _silence(str(silence))) from silence
        except NodeRefused as refusal:
            raise ElsewhereRefused(node.name, refusal.problem) from refusal

    async def _everywhere(
        self,
        nodes: Collection[str],
        zone: str | None,
        question: Question,
        kind: type[T],
        patience: Patience,
        besides: str = "",
    ) -> list[tuple[Node, T | None, ErrorView | None]]:
        """In order of the nodes' names; of answer and error exactly one is there. `besides` is not asked."""
        targets = [
            node for node in chosen(nodes, zone, self._members.known(), dead_too=True) if node.name != besides
        ]
        give_up_at = asyncio.get_running_loop().time() + patience.all_s

        async def row(node: Node) -> tuple[Node, T | None, ErrorView | None]:
            try:
                async with asyncio.timeout_at(give_up_at), self._room:
                    return node, await self._ask(node, question, kind, patience.node_s), None
            except TimeoutError:
                problem = _silence(f"no answer within {patience.all_s:.0f} s")
            except NodeSilent as silence:
                problem = _silence(str(silence))
            except NodeRefused as refusal:
                problem = refusal.problem
            return node, None, ErrorView(problem.code, problem.title, problem.detail, problem.retryable)

        return list(await asyncio.gather(*map(row, targets)))

    async def _ask(self, node: Node, question: Question, kind: type[T], timeout_s: float) -> T:
        if not node.live:
            if node.state in ("alive", "suspect"):
                raise NodeSilent(node.trouble)
            raise NodeSilent(f"it is {node.state}" + (f": {node.trouble}" if node.trouble else ""))
        reply = await self._members.ask(node.name, question, timeout_s)
        if reply.problem is not None:
            raise NodeRefused(reply.problem)
        try:
            return msgspec.msgpack.decode(reply.value, type=kind)
        except msgspec.MsgspecError as error:
            raise NodeSilent(f"its answer cannot be read ({error}): is it of another version?") from error


def _silence(reason: str) -> Problem:
    return Problem("internal", "Node not reachable", reason, True)
