"""Rotten files until they are right again: written down before anything is taken away, so that no kill forgets one.

Each snapshot that has the file is pulled, that one file alone; what the pull publishes replaces the rotten one in the cache.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

from distd.api.schema import PullRequest, PullView
from distd.core.pull import PullState
from distd.core.repairs import REPAIRS_MAX, verdict
from distd.errors import Conflict
from distd.models import HeldSnapshot, ModelService
from distd.state.scrub import Repair, RepairTable

log = logging.getLogger(__name__)

TOLD_PATHS_MAX = 3
REFUSED_S = 60.0
"""Between tries while pulls are refused."""


class Repairs:
    """`open` first; `begin` before the file leaves the store, `go_on` afterwards and now and then."""

    def __init__(
        self,
        models: ModelService,
        table: RepairTable,
        pull: Callable[[PullRequest], Awaitable[PullView]],
        state_of: Callable[[str], PullState | None],
    ) -> None:
        self._models = models
        self._table = table
        self._pull = pull
        self._state_of = state_of
        self._open: dict[str, Repair] = {}
        self._refused_until = 0.0

    async def open(self) -> None:
        """Loads what an earlier run had not done. Raises StorageFailed."""
        self._open = await self._table.load()

    def etags(self) -> set[str]:
        """Blobs to be replaced: what is still right of them waits for a pull."""
        return set(self._open)

    async def begin(self, etag: str) -> None:
        """Remembers the blob; of too many at a time, those that follow are tried once only. Raises StorageFailed."""
        self._open[etag] = Repair()
        await self._save()

    async def is_shown(self, etag: str) -> bool:
        """Whether any snapshot has the blob."""
        return bool(await self._holders(etag))

    async def tell(self, etag: str, actual: str, lost: str) -> None:
        """Names the files that rotted, in the log."""
        holders = await self._holders(etag)
        if not holders:
            log.error("blob %s rotted on the disk (%s): removed, no snapshot has it", etag, actual)
        for held in holders:
            paths = await self._models.paths_of(held, etag)
            log.error(
                "%s@%s: %s rotted on the disk (%s instead of %s): %s fetched anew",
                held.repo,
                held.record.commit[:12],
                ", ".join(paths[:TOLD_PATHS_MAX]),
                actual,
                etag,
                lost,
                extra={"event": "rotten", "repo": held.repo.id},
            )

    async def go_on(self) -> None:
        """Begins what is to be begun, and forgets what is done. A pull that is refused is asked for again later. Raises StorageFailed."""
        for etag, repair in list(self._open.items()):
            decided = verdict([self._state_of(pull) for pull in repair.pulls], repair.tried_at, time.time())
            if decided == "done":
                await self._forget(etag)
            elif decided == "try" and time.monotonic() >= self._refused_until:
                try:
                    await self._try(etag)
                except Conflict as refusal:  # this node drains, or has too many pulls
                    log.warning("%s is not replaced yet: %s", etag, refusal)
                    self._refused_until = time.monotonic() + REFUSED_S

    async def _try(self, etag: str) -> None:
        pulls = []
        for held in await self._holders(etag):
            paths = await self._models.paths_of(held, etag)
            pulls.append((await self._pull(_of_one_file(held, paths[0]))).id)  # all paths of it are one blob
        if not pulls:
            await self._forget(etag)
            return
        self._open[etag] = Repair(pulls=tuple(pulls), tried_at=time.time())
        await self._save()

    async def _forget(self, etag: str) -> None:
        del self._open[etag]
        await self._save()

    async def _holders(self, etag: str) -> list[HeldSnapshot]:
        return [held for held in await self._models.held() if etag in held.etags]

    async def _save(self) -> None:
        await self._table.save(dict(list(self._open.items())[:REPAIRS_MAX]))


def _of_one_file(held: HeldSnapshot, path: str) -> PullRequest:
    exact = "".join(f"[{char}]" if char in "*?[" else char for char in path)
    return PullRequest(
        repo=held.repo.id, type=held.repo.type, revision=held.record.commit, include=(exact,), weights="all"
    )
