"""Waiting until a repo is published, here or on several members: for orchestrators, which ask once and are answered then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence

from distd.api.node_schema import WaitView
from distd.api.ports import Models
from distd.api.schema import NodeHoldingView
from distd.core.audience import chosen
from distd.core.refs import Repo
from distd.errors import Conflict, NotFound, TimedOut
from distd.nodes.operations import Members

FIRST_LOOK_S = 0.1
LOOK_GROWTH = 1.5
LOOK_MAX_S = 2.0
"""Between looks: what starts two seconds later than it could loses nothing beside the loading of its weights."""
WAITERS_MAX = 1024
"""Connections that are held open; a fleet of model servers behind one daemon is smaller."""


class WaitService:
    """Implements the API's `Waits`. Whoever waits for the same looks together: members are asked once for all."""

    def __init__(self, models: Models, members: Members) -> None:
        self._models = models
        self._members = members
        self._waiters = 0
        self._looks: dict[tuple[Repo, str], asyncio.Task[list[NodeHoldingView]]] = {}

    async def published(
        self, repo: Repo, revision: str, nodes: Collection[str], zone: str | None, timeout_s: float
    ) -> WaitView:
        if self._waiters >= WAITERS_MAX:
            raise Conflict(f"{WAITERS_MAX} requests wait already: ask again later")
        give_up_at = time.monotonic() + timeout_s
        pause_s = FIRST_LOOK_S
        self._waiters += 1
        try:
            while True:
                is_far = bool(nodes) or zone is not None
                held = await (self._look(repo, revision) if is_far else self._own(repo, revision))
                meant = self._meant(nodes, zone) if is_far else {self._members.me}
                missing = _missing(held, meant)
                if not missing:
                    shown = tuple(each for each in held if each.name in meant)
                    return WaitView(repo.type, repo.id, revision, await self._path(repo, revision), shown)
                left_s = give_up_at - time.monotonic()
                if left_s <= 0:
                    raise TimedOut(f"{repo}@{revision}", timeout_s, missing)
                await asyncio.sleep(min(pause_s, left_s))
                pause_s = min(pause_s * LOOK_GROWTH, LOOK_MAX_S)
        finally:
            self._waiters -= 1

    def _meant(self, nodes: Collection[str], zone: str | None) -> set[str]:
        """`all` means who is alive at the moment; a member named is waited for through its restart too."""
        everybody = not nodes or "all" in nodes
        targets = chosen(nodes, zone, self._members.known(), dead_too=not everybody)
        return {node.name for node in targets}

    async def _look(self, repo: Repo, revision: str) -> list[NodeHoldingView]:
        look = self._looks.get((repo, revision))
        if look is None:
            look = asyncio.create_task(self._models.on_nodes(repo, revision))
            self._looks[repo, revision] = look
            look.add_done_callback(lambda _: self._looks.pop((repo, revision), None))
        return await asyncio.shield(look)

    async def _own(self, repo: Repo, revision: str) -> list[NodeHoldingView]:
        commit = await self._snapshot(repo, revision)
        return [NodeHoldingView(self._members.me, "alive", commit[0] if commit else None, None)]

    async def _path(self, repo: Repo, revision: str) -> str | None:
        """Whoever waited loads it next: eviction hears of it."""
        found = await self._snapshot(repo, revision, is_used=True)
        return found[1] if found else None

    async def _snapshot(self, repo: Repo, revision: str, *, is_used: bool = False) -> tuple[str, str] | None:
        """Commit and path here."""
        try:
            model = await self._models.get(repo, revision if is_used else None)
        except NotFound:
            return None
        for each in model.revisions:
            if revision == each.commit or revision in each.refs:
                return each.commit, each.snapshot_path
        return None


def _missing(held: Sequence[NodeHoldingView], meant: Collection[str]) -> tuple[str, ...]:
    there = {each.name: each for each in held}
    lacking = []
    for name in sorted(meant):
        if name not in there or there[name].commit is None:
            trouble = there[name].trouble if name in there else "not a member at the moment"
            lacking.append(f"{name} ({trouble})" if trouble else name)
    return tuple(lacking)
