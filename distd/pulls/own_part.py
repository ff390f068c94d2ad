"""This node's part in a pull on several nodes: its own pulls, as the coordinator asks for them.

The coordinator's own part goes through here like everybody's, and so does all of it on a lone node.
"""

from __future__ import annotations

from collections.abc import Sequence

from distd.api.schema import PullRequest
from distd.core.audience import Node, NodeRefused
from distd.core.fleet import Report, Verb
from distd.errors import Conflict, DistdError, InvalidRequest, NotFound
from distd.pulls.fleet_views import report_of
from distd.pulls.service import PullService


class OwnPart:
    """Starts, looks at and steers this node's pulls. All raise DistdError."""

    def __init__(self, pulls: PullService) -> None:
        self._pulls = pulls

    async def start(self, request: PullRequest) -> Report:
        """Idempotent while the pull is unfinished. A part may not name nodes: it would start parts of its own."""
        if request.nodes or request.zone is not None:
            raise InvalidRequest("a part of a pull on several nodes names no nodes itself")
        return report_of(await self._pulls.submit(request))

    def look(self, pull_id: str) -> Report | None:
        """None when there is no such pull."""
        try:
            return report_of(self._pulls.brief(pull_id))
        except NotFound:
            return None

    async def steer(self, pull_id: str, verb: Verb) -> Report | None:
        """As `look` afterwards: a pull that has finished stays as it is."""
        try:
            await self._pulls.control(pull_id, verb)
        except (Conflict, NotFound):
            pass  # how it ended is the answer
        return self.look(pull_id)


class LoneNode:
    """Implements `fleet.Nodes` for a daemon without a cluster: `all` is itself."""

    def __init__(self, name: str, zone: str, own: OwnPart) -> None:
        self.me = name
        self._zone = zone
        self._own = own

    def known(self) -> Sequence[Node]:
        return [Node(self.me, self._zone, True)]

    async def start(self, node: str, request: PullRequest) -> Report:
        try:
            return await self._own.start(request)
        except DistdError as error:
            raise NodeRefused(error.problem()) from error

    async def look(self, node: str, pull_id: str) -> Report | None:
        return self._own.look(pull_id)

    async def steer(self, node: str, pull_id: str, verb: Verb) -> Report | None:
        return await self._own.steer(pull_id, verb)
