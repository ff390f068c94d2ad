"""Pulls on other members, over the cluster's API: both sides of `pull`, `pull_status` and `pull_control`.

A member does for the coordinator what its own API would do for a person on its host: start a pull of its
own, say how it stands, steer it. That is what membership grants already.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from distd.actors import acting, on_behalf
from distd.api.schema import PullRequest
from distd.core.audience import Node, NodeSilent
from distd.core.fleet import Report, Verb
from distd.errors import DistdError
from distd.pulls.own_part import OwnPart
from distd.sharing.asking_nodes import asked, known_nodes, read
from distd.sharing.remote_nodes import Noted
from peers.cluster import Cluster
from peers.cluster_errors import CallRefused

CALL_TIMEOUT_S = 3.0
"""An answer is made in milliseconds; the database's write behind a start may wait for a busy disk."""


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

    def __init__(self, cluster: Cluster, own: OwnPart, noted: Noted) -> None:
        self.me = cluster.me
        self._cluster = cluster
        self._own = own
        self._noted = noted
        cluster.register("pull", self._on_start)
        cluster.register("pull_status", self._on_look)
        cluster.register("pull_control", self._on_steer)

    def known(self) -> Sequence[Node]:
        return known_nodes(self._cluster)

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
        return await asked(self._cluster, node, call, question, ReportWord, CALL_TIMEOUT_S)

    # The other side.

    async def _on_start(self, sender: str, body: bytes) -> bytes:
        request = read(body, PullRequest)
        try:
            report = await self._own.start(request)
        except DistdError as error:
            await self._note(sender, "pull", request.repo, error.code)
            raise CallRefused(error.code, str(error), error.retryable) from error
        await self._note(sender, "pull", f"{request.repo}@{request.revision}")
        return msgspec.msgpack.encode(ReportWord(report))

    async def _on_look(self, sender: str, body: bytes) -> bytes:
        report = self._own.look(read(body, PullName).pull_id)
        return msgspec.msgpack.encode(ReportWord(report))

    async def _on_steer(self, sender: str, body: bytes) -> bytes:
        steering = read(body, PullSteering)
        try:
            report = await self._own.steer(steering.pull_id, steering.verb)
        except DistdError as error:
            raise CallRefused(error.code, str(error), error.retryable) from error
        await self._note(sender, steering.verb, steering.pull_id)
        return msgspec.msgpack.encode(ReportWord(report))

    async def _note(self, sender: str, deed: str, subject: str, outcome: str = "done") -> None:
        """For whom a member coordinates, its own audit says."""
        if sender != self.me:
            with acting(on_behalf(sender, "")):
                await self._noted(deed, subject, outcome)
