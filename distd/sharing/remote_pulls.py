"""Pulls on other members, over the cluster's API: both sides of `pull`, `pull_status` and `pull_control`.

A member does for the coordinator what its own API would do for a person on its host: start a pull of its
own, say how it stands, steer it. That is what membership grants already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from distd.api.schema import PullRequest
from distd.core.fleet import Report, Verb
from distd.errors import DistdError, Problem
from distd.pulls.fleet import Node, NodeRefused, NodeSilent
from distd.pulls.own_part import OwnPart
from peers.cluster import Cluster
from peers.cluster_errors import AuthFailed, CallRefused, ClusterError
from peers.membership import MemberState

CALL_TIMEOUT_S = 3.0
"""An answer is made in milliseconds; the database's write behind a start may wait for a busy disk."""

T = TypeVar("T")


class PullName(msgspec.Struct, frozen=True):
    pull_id: str


class PullSteering(msgspec.Struct, frozen=True):
    pull_id: str
    verb: Verb


class ReportWord(msgspec.Struct, frozen=True):
    """None: this member knows no such pull."""

    report: Report | None


class RemotePulls:
    """Implements `fleet.Nodes`. Make it once this node's pulls are open: from then on it answers others."""

    def __init__(self, cluster: Cluster, own: OwnPart) -> None:
        self.me = cluster.me
        self._cluster = cluster
        self._own = own
        cluster.register("pull", self._on_start)
        cluster.register("pull_status", self._on_look)
        cluster.register("pull_control", self._on_steer)

    def known(self) -> Sequence[Node]:
        live = (MemberState.ALIVE, MemberState.SUSPECT)
        return [
            Node(member.name, member.facts.zone, member.state in live) for member in self._cluster.members()
        ]

    async def start(self, node: str, request: PullRequest) -> Report:
        report = (await self._ask(node, "pull", request)).report
        if report is None:
            raise NodeSilent("it answered a start without a pull")
        return report

    async def look(self, node: str, pull_id: str) -> Report | None:
        return (await self._ask(node, "pull_status", PullName(pull_id))).report

    async def steer(self, node: str, pull_id: str, verb: Verb) -> Report | None:
        return (await self._ask(node, "pull_control", PullSteering(pull_id, verb))).report

    async def _ask(self, node: str, call: str, question: msgspec.Struct) -> ReportWord:
        """Raises NodeSilent for whatever may be otherwise later, NodeRefused for a word that will stay."""
        try:
            body = msgspec.msgpack.encode(question)
            answer = await self._cluster.call(node, call, body, CALL_TIMEOUT_S)
            return msgspec.msgpack.decode(answer, type=ReportWord)
        except CallRefused as error:
            # `not_found`: it knows no such call, being about to start; what it means is in `report` else.
            if error.retryable or error.code in ("not_found", "busy"):
                raise NodeSilent(str(error)) from error
            raise NodeRefused(Problem(error.code, "Refused by the node", error.detail, False)) from error
        except AuthFailed as error:
            raise NodeRefused(Problem("not_authenticated", "Node not trusted", str(error), False)) from error
        except ClusterError as error:
            raise NodeSilent(str(error)) from error
        except msgspec.MsgspecError as error:
            raise NodeSilent(f"its answer cannot be read ({error}): is it of another version?") from error

    # The other side.

    async def _on_start(self, sender: str, body: bytes) -> bytes:
        request = _read(body, PullRequest)
        try:
            report = await self._own.start(request)
        except DistdError as error:
            raise CallRefused(error.code, str(error), error.retryable) from error
        return msgspec.msgpack.encode(ReportWord(report))

    async def _on_look(self, sender: str, body: bytes) -> bytes:
        report = self._own.look(_read(body, PullName).pull_id)
        return msgspec.msgpack.encode(ReportWord(report))

    async def _on_steer(self, sender: str, body: bytes) -> bytes:
        steering = _read(body, PullSteering)
        try:
            report = await self._own.steer(steering.pull_id, steering.verb)
        except DistdError as error:
            raise CallRefused(error.code, str(error), error.retryable) from error
        return msgspec.msgpack.encode(ReportWord(report))


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise CallRefused("invalid_request", f"it cannot be read here: {error}") from error
