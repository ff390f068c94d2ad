"""Pulls on several nodes as the API's resource, around the pulls of this node.

Without `nodes` and `zone` a request is a pull of this node and goes straight through. With them it is a
fleet pull: a record of its own among the pulls, in the same table (its request keeps the nodes' names as
they were resolved, its record their parts), while each node's part is an ordinary pull there, on this
node too. `distd/core/fleet.py` decides; here its questions are asked.

The coordinator polls: about once a second while somebody looks, seldom otherwise, and never after the end.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from msgspec import structs

from distd.api.rate_schema import EstimateView
from distd.api.schema import PlanView, PullRequest, PullView, StoryEntry
from distd.core import fleet as core
from distd.core.audience import Node, NodeRefused, NodeSilent, chosen
from distd.core.pull import FINISHED, PullState, Save, Tell
from distd.errors import Conflict, DistdError, NotFound
from distd.pulls.fleet_views import fleet_view
from distd.pulls.service import PullService, number_of, selected, start_at
from distd.pulls.views import rfc3339
from distd.state.pulls import PullTable

log = logging.getLogger(__name__)

ROUND_S = 1.0
"""Between rounds of questions while somebody looks: as often as a person notices a difference."""
UNWATCHED_ROUND_S = 5.0
"""While nobody looks: the end and its record may be a little late."""
WATCHED_S = 5.0
"""A look counts as somebody looking for so long; `distctl` looks several times a second."""
FIRST_ROUND_S = 0.15
ROUND_GROWTH = 1.5
"""The first rounds come quickly: a pull whose files are all held is complete at once."""
ASKS_AT_ONCE = 64
"""Questions under way, over all fleet pulls: a large fleet takes several batches, not all sockets."""
UNFINISHED_FLEETS_MAX = 100
"""Each asks all its nodes every second or so; more than anybody waits for."""
FINISHED_FLEETS_KEPT = 100
"""In memory, with the last word of every node: some hundred kilobytes each in a fleet of hundreds."""


class Nodes(Protocol):
    """Pulls on the members of the cluster, this node included. All but `known` raise NodeSilent or NodeRefused."""

    me: str

    def known(self) -> Sequence[Node]:
        """All members, in order of their names."""

    async def start(self, node: str, request: PullRequest) -> core.Report:
        """Starts the pull there, or finds the unfinished one like it; `request` names no nodes and no zone."""

    async def look(self, node: str, pull_id: str) -> core.Report | None:
        """None when the node does not know the pull."""

    async def steer(self, node: str, pull_id: str, verb: core.Verb) -> core.Report | None:
        """Idempotent; a pull that has finished stays as it is."""


@dataclass(eq=False)
class _Fleet:
    request: PullRequest
    machine: core.FleetMachine
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    looked_at: float = 0.0
    asked_at: float = 0.0
    unsaved: bool = False
    task: asyncio.Task[None] | None = None

    @property
    def record(self) -> core.FleetRecord:
        return self.machine.record


class FleetPulls:
    """Implements the API's `Pulls` over a node's own and the fleet's. Open after the node's pulls."""

    def __init__(
        self,
        local: PullService,
        nodes: Nodes,
        table: PullTable,
        *,
        changed: Callable[[str], None],
        silent_max_s: float = core.SILENT_MAX_S,
    ) -> None:
        self._changed = changed
        self._local = local
        self._nodes = nodes
        self._table = table
        self._silent_max_s = silent_max_s
        self._fleets: dict[str, _Fleet] = {}
        self._asking = asyncio.Semaphore(ASKS_AT_ONCE)

    async def open(self) -> None:
        """Goes on with what was unfinished."""
        for request, record in await self._table.load_fleets():
            self._go_on(request, record)
        self._forget_oldest()

    async def close(self) -> None:
        """Leaves fleet pulls as they are; the next start goes on with them."""
        tasks = [fleet.task for fleet in self._fleets.values() if fleet.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def active_views(self) -> tuple[PullView, ...]:
        """Unfinished pulls, this node's and the fleet's, newest first."""
        fleets = [
            self._view(fleet, with_files=False)
            for fleet in self._fleets.values()
            if fleet.record.state not in FINISHED
        ]
        both = [*fleets, *self._local.active_views()]
        return tuple(sorted(both, key=lambda view: number_of(view.id), reverse=True))

    def watched_views(self) -> tuple[PullView, ...]:
        """As `active_views`, and the nodes of fleet pulls are asked as often as for somebody who looks."""
        for fleet in self._fleets.values():
            if fleet.record.state not in FINISHED:
                self._looked(fleet)
        return self.active_views()

    def brief(self, pull_id: str) -> PullView:
        """As `get`, without files, and not as somebody who looks."""
        fleet = self._fleets.get(pull_id)
        return self._view(fleet, with_files=False) if fleet else self._local.brief(pull_id)

    def state_of(self, pull_id: str) -> PullState | None:
        """None for one that is not known (any more)."""
        fleet = self._fleets.get(pull_id)
        return fleet.record.state if fleet else self._local.state_of(pull_id)

    # The API's Pulls.

    async def submit(self, request: PullRequest) -> PullView:
        if not request.nodes and request.zone is None:
            return await self._local.submit(request)
        request = self._local.checked(request)
        names = tuple(node.name for node in chosen(request.nodes, request.zone, self._nodes.known()))
        at = start_at(request.at)
        # Zoneless times mean this server's; other members may be elsewhere.
        moment = datetime.fromtimestamp(at, UTC).isoformat() if at is not None else None
        request = structs.replace(request, nodes=names, at=moment)
        unfinished = [fleet for fleet in self._fleets.values() if fleet.record.state not in FINISHED]
        for fleet in unfinished:
            same = selected(fleet.request) == selected(request) and fleet.request.nodes == names
            if same and fleet.record.wish != "cancel":
                return self.get(fleet.record.id)
        if len(unfinished) >= UNFINISHED_FLEETS_MAX:
            raise Conflict(
                f"{UNFINISHED_FLEETS_MAX} pulls on several nodes are unfinished: wait, or cancel some"
            )
        id_, number = self._local.new_id()
        parts = {name: core.Part() for name in names}
        record = core.FleetRecord(id_, number, "queued", time.time(), parts)
        fleet = self._fleets[id_] = _Fleet(request, core.FleetMachine(record, self._silent_max_s))
        try:
            await self._table.save(request, record)
        except DistdError:
            del self._fleets[id_]
            raise
        fleet.task = asyncio.create_task(self._run(fleet), name=f"fleet pull {id_}")
        await self._table.tell(id_, "submitted", f"on {', '.join(names)}")
        self._forget_oldest()
        return self.get(id_)

    def get(self, pull_id: str) -> PullView:
        fleet = self._fleets.get(pull_id)
        if fleet is None:
            return self._local.get(pull_id)
        self._looked(fleet)
        return self._view(fleet, with_files=True)

    def page(
        self, states: frozenset[PullState], after: str | None, limit: int
    ) -> tuple[list[PullView], str | None]:
        views, more = self._local.page(states, after, limit)
        before = number_of(after) if after is not None else None
        views += [
            self._view(fleet, with_files=False)
            for fleet in self._fleets.values()
            if (before is None or fleet.record.number < before)
            and (not states or fleet.record.state in states)
        ]
        views.sort(key=lambda view: number_of(view.id), reverse=True)
        is_last = more is None and len(views) <= limit
        return views[:limit], None if is_last else views[limit - 1].id

    async def control(self, pull_id: str, verb: str) -> PullView:
        fleet = self._fleets.get(pull_id)
        if fleet is None:
            return await self._local.control(pull_id, verb)
        state = fleet.record.state
        if state in FINISHED and not (verb == "cancel" and state == "cancelled"):
            raise Conflict(f"pull {pull_id} is {state}: only an unfinished pull can be changed ({verb})")
        wishes: dict[str, core.Wish] = {"cancel": "cancel", "pause": "pause", "resume": "run"}
        async with fleet.lock:
            await self._take(fleet, [core.Wished(wishes[verb])])
            await self._round(fleet)  # bounded by the nodes' timeouts; who is silent now is told later
        fleet.wake.set()
        return self.get(pull_id)

    async def story(self, pull_id: str, after_seq: int, limit: int) -> list[StoryEntry]:
        if pull_id in self._fleets:
            lines = await self._table.story(pull_id, after_seq, limit)
            return [StoryEntry(line.seq, rfc3339(line.time) or "", line.event, line.text) for line in lines]
        return await self._local.story(pull_id, after_seq, limit)

    async def plan(self, request: PullRequest) -> PlanView:
        return await self._local.plan(request)

    async def estimate(self, request: PullRequest, links: Sequence[int]) -> EstimateView:
        return await self._local.estimate(request, links)

    # Inside.

    def _looked(self, fleet: _Fleet) -> None:
        fleet.looked_at = now = time.monotonic()
        if now - fleet.asked_at > ROUND_S:
            fleet.wake.set()

    def _go_on(self, request: PullRequest, record: core.FleetRecord) -> None:
        fleet = self._fleets[record.id] = _Fleet(request, core.FleetMachine(record, self._silent_max_s))
        if record.state not in FINISHED:
            fleet.task = asyncio.create_task(self._run(fleet), name=f"fleet pull {record.id}")

    async def _run(self, fleet: _Fleet) -> None:
        pause_s = FIRST_ROUND_S
        while fleet.record.state not in FINISHED or fleet.unsaved:
            fleet.wake.clear()
            try:
                async with fleet.lock:
                    await self._round(fleet)
            except DistdError as error:  # the database: what is unsaved is tried again with the next round
                log.error("fleet pull %s: %s", fleet.record.id, error)
            pause_s = min(pause_s * ROUND_GROWTH, ROUND_S)
            is_watched = time.monotonic() - fleet.looked_at < WATCHED_S
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s if is_watched or pause_s < ROUND_S else UNWATCHED_ROUND_S):
                    await fleet.wake.wait()

    async def _round(self, fleet: _Fleet) -> None:
        fleet.asked_at = time.monotonic()
        await self._take(
            fleet, await asyncio.gather(*(self._ask(fleet, ask) for ask in fleet.machine.asks()))
        )

    async def _ask(self, fleet: _Fleet, ask: core.Ask) -> core.Event:
        """Every ending of a question is an event."""
        try:
            async with self._asking:
                match ask:
                    case core.Start(node):
                        plain = structs.replace(fleet.request, nodes=(), zone=None)
                        return core.Told(node, await self._nodes.start(node, plain))
                    case core.Look(node, pull_id):
                        report, followed = await self._nodes.look(node, pull_id), None
                    case core.Steer(node, pull_id, verb):
                        followed = fleet.record.wish
                        report = await self._nodes.steer(node, pull_id, verb)
            return core.Told(node, report, followed) if report else core.Forgotten(node)
        except NodeSilent as silence:
            return core.Silent(ask.node, str(silence))
        except NodeRefused as refusal:
            return core.Refused(ask.node, refusal.problem)

    async def _take(self, fleet: _Fleet, events: Sequence[core.Event]) -> None:
        now, at, before = time.monotonic(), time.time(), fleet.record.state
        actions = [action for event in events for action in fleet.machine.handle(event, now, at)]
        if fleet.record.state != before:
            self._changed(fleet.record.id)
        fleet.unsaved |= any(isinstance(action, Save) for action in actions)
        if fleet.unsaved:
            await self._table.save(fleet.request, fleet.record)
            fleet.unsaved = False
        for action in actions:
            if isinstance(action, Tell):
                fields = {
                    "pull": fleet.record.id,
                    "repo": fleet.request.repo,
                    "event": action.event,
                }
                log.info("%s on several nodes: %s", fleet.request.repo, action.text, extra=fields)
                await self._table.tell(fleet.record.id, action.event, action.text)

    def _view(self, fleet: _Fleet, *, with_files: bool) -> PullView:
        part = fleet.record.parts.get(self._nodes.me)
        own: PullView | None = None
        if part is not None and part.report is not None and part.report.pull_id:
            with suppress(NotFound):  # its record is older than what is kept
                own = (
                    self._local.get(part.report.pull_id)
                    if with_files
                    else self._local.brief(part.report.pull_id)
                )
        now = time.monotonic()
        troubles = {name: fleet.machine.trouble(name, now) for name in fleet.record.parts}
        return fleet_view(fleet.request, fleet.record, own, self._nodes.me, troubles)

    def _forget_oldest(self) -> None:
        finished = [fleet.record for fleet in self._fleets.values() if fleet.record.state in FINISHED]
        finished.sort(key=lambda record: record.number)
        for record in finished[: max(0, len(finished) - FINISHED_FLEETS_KEPT)]:
            del self._fleets[record.id]
