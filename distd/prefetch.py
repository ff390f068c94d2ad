"""Repos that are kept present: declared in the configuration or added at run time, looked at when they are due.

`distd/core/prefetch.py` decides what is due and who runs it. Here members are asked, pulls are started and awaited, and
what came of them is kept in the database before anything follows from it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

import msgspec

from distd.api.ports import Models, Pulls
from distd.api.schema import PrefetchView, PullRequest, PullView
from distd.config.sections import PrefetchEntry
from distd.core import prefetch as core
from distd.core.pull import FINISHED
from distd.core.refs import is_commit, parse_ref, parse_repo
from distd.errors import Conflict, DistdError, InvalidRequest, NotFound
from distd.pulls.views import rfc3339
from distd.schedule import cron_fires
from distd.state.prefetch import PrefetchTable

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
MEETING_S = 5.0
"""For a member that starts to hear of the others: some rounds of gossip."""
LEFT_S = 30.0
"""How long an entry is left to the member that runs it before it is looked at again."""
POLL_S = 1.0
RUNS_AT_ONCE = 2
"""Entries in work; more would only fill the same link with pulls that end later."""
ENTRIES_MAX = 500
"""Declared and added ones: each is looked at every second."""
PRIORITY = -10
"""Pulls that somebody waits for go first."""
GIVE_UP_S = 7 * 86_400.0
"""A pull that is not finished after a week (paused, and forgotten) is not waited for any longer."""


class Colleagues(Protocol):
    """The other members, as far as prefetch needs them."""

    me: str
    zone: str

    async def ask(self, key: str) -> Mapping[str, core.Told]:
        """What the live members that declare the entry say; those that do not answer in time are left out."""

    def order(self, key: str, members: Iterable[str]) -> Sequence[str]:
        """First choice first, the same on every member."""

    def answer(self, told: Callable[[str], core.Told | None]) -> None:
        """From now on `told` answers others' questions; None: not declared here."""


class Nobody:
    """The colleagues of a node without a cluster."""

    def __init__(self, me: str, zone: str) -> None:
        self.me = me
        self.zone = zone

    async def ask(self, key: str) -> Mapping[str, core.Told]:
        return {}

    def order(self, key: str, members: Iterable[str]) -> Sequence[str]:
        return [self.me]

    def answer(self, told: Callable[[str], core.Told | None]) -> None:
        pass


@dataclass(eq=False)
class _Kept:
    """An entry with what is remembered of it. `running`: the pull that is awaited, "" before it has one."""

    id: str
    entry: PrefetchEntry
    fires: core.Fires
    record: core.Record
    declared: bool
    running: str | None = None
    left_to: str = ""
    look_at: float = 0.0


class PrefetchService:
    """Implements the API's `PrefetchPort`. `open` first; `watch` is a task beside the API."""

    def __init__(
        self,
        declared: Sequence[PrefetchEntry],
        table: PrefetchTable,
        pulls: Pulls,
        models: Models,
        colleagues: Colleagues,
        wall: Callable[[], float] = time.time,
        held_back: Callable[[], bool] = lambda: False,
    ) -> None:
        self._held_back = held_back
        self._declared = declared
        self._table = table
        self._pulls = pulls
        self._models = models
        self._colleagues = colleagues
        self._wall = wall
        self._kept: dict[str, _Kept] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def open(self) -> None:
        """Loads what was added and what is remembered, and answers other members. Raises StorageFailed."""
        stored = await self._table.load()
        for id_, (entry, record) in stored.items():
            if entry is not None:
                self._kept[id_] = _Kept(id_, entry, fires_of(entry), record, declared=False)
        self._declare({id_: record for id_, (_, record) in stored.items()})
        for id_ in stored.keys() - self._kept.keys():
            await self._table.delete(id_)  # the configuration declares it no longer
        self._colleagues.answer(self._told)

    async def close(self) -> None:
        """Leaves pulls under way as they are; the next start waits for them again."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def watch(self, begin_after_s: float = 0.0) -> NoReturn:
        await asyncio.sleep(begin_after_s)
        while True:
            self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    def look(self) -> None:
        """Starts what is due by the clock, as far as there is room; nothing while the node is out of service."""
        if self._held_back():
            return
        now = self._wall()
        ready = []
        for kept in self._kept.values():
            due = self._due(kept, now)
            if kept.running is None and due is not None and max(due.at, kept.look_at) <= now:
                ready.append((due.at, kept.id, kept, due))
        for _, _, kept, due in sorted(ready, key=lambda each: each[:2]):
            if len(self._tasks) >= RUNS_AT_ONCE:
                return
            self._start(kept, due, asked=False)

    def reload(self, declared: Sequence[PrefetchEntry]) -> None:
        """The configuration was read again. Pulls of entries that are gone go on."""
        self._declared = declared
        self._declare({id_: kept.record for id_, kept in self._kept.items()})

    # The API's prefetch.

    def list(self) -> list[PrefetchView]:
        now = self._wall()
        return [self._view(kept, now) for kept in sorted(self._kept.values(), key=lambda each: each.id)]

    async def add(self, entry: PrefetchEntry) -> PrefetchView:
        """Idempotent: an entry that is there is answered as it is. Raises InvalidRequest and Conflict."""
        id_, now = id_of(entry), self._wall()
        if id_ not in self._kept:
            if len(self._kept) >= ENTRIES_MAX:
                raise Conflict(f"there are {ENTRIES_MAX} prefetch entries already: remove some")
            fires = fires_of(entry)
            record = core.first_record(bool(entry.schedule), now)
            if core.next_due(id_, fires, record, now) is None:
                raise InvalidRequest(f"the schedule {entry.schedule!r} never comes")
            await self._table.save(id_, entry, record)
            self._kept[id_] = _Kept(id_, entry, fires, record, declared=False)
        return self._view(self._kept[id_], now)

    async def remove(self, id_: str) -> PrefetchView:
        """What it brought stays; answers what it was. Raises NotFound, and Conflict for one that the configuration declares."""
        kept = self._find(id_)
        if kept.declared:
            raise Conflict(
                f"{id_} is declared in the configuration: take its [[prefetch]] table out and reload"
            )
        view = self._view(kept, self._wall())
        await self._table.delete(id_)
        del self._kept[id_]
        return view

    async def run(self, id_: str) -> PrefetchView:
        """Runs it now, for all members that declare it. Answers at once. Raises NotFound."""
        kept, now = self._find(id_), self._wall()
        if kept.running is None:
            self._start(kept, core.Due(now, now, "asked for"), asked=True)
        return self._view(kept, now)

    # Running.

    def _start(self, kept: _Kept, due: core.Due, *, asked: bool) -> None:
        kept.running = ""
        task = asyncio.create_task(self._act(kept, due, asked=asked), name=f"prefetch {kept.id}")
        self._tasks[kept.id] = task
        task.add_done_callback(lambda _: self._ended(kept))

    def _ended(self, kept: _Kept) -> None:
        kept.running = None
        self._tasks.pop(kept.id, None)

    async def _act(self, kept: _Kept, due: core.Due, *, asked: bool) -> None:
        began = self._wall()
        try:
            told = await self._colleagues.ask(kept.id)
            me = self._colleagues.me
            order = [me] if asked else self._colleagues.order(kept.id, {*told, me})
            decision = core.decide(me, due, {} if asked else told, order)
            match decision:
                case core.Run():
                    await self._run(kept, due, began, tuple(sorted({*told, me})))
                case core.LeftTo(member):
                    kept.left_to, kept.look_at = member, began + LEFT_S
                case core.CoveredBy(member, word):
                    await self._take_over(kept, due, member, word)
        except DistdError as error:
            await self._failed(kept, str(error), None)
        except Exception as error:
            log.exception("prefetch of %s failed", kept.entry.repo)
            await self._failed(kept, f"{type(error).__name__}: {error}", None)

    async def _run(self, kept: _Kept, due: core.Due, began: float, members: tuple[str, ...]) -> None:
        entry = kept.entry
        nodes = members if len(members) > 1 and not entry.zone else ()
        log.info("prefetch of %s@%s: %s", entry.repo, entry.revision, due.why)
        view = await self._pull(kept, nodes, entry.zone or None)
        if view.state == "complete":
            await self._covered(kept, due, began, view.commit, view.id)
        elif view.state == "cancelled":
            await self._keep(kept, core.cancelled(kept.record, due, began, view.id))
        else:
            detail = view.error.detail if view.error else f"the pull is {view.state}"
            await self._failed(kept, detail, view.id)

    async def _take_over(self, kept: _Kept, due: core.Due, member: str, told: core.Told) -> None:
        """Another member's run covered it; this one may have been away, and then has its own to do."""
        entry = kept.entry
        elsewhere = bool(entry.zone) and entry.zone != self._colleagues.zone
        if elsewhere or await self._holds(entry, told.commit):
            await self._covered(kept, due, told.covered_until, told.commit, None)
            return
        log.info("prefetch of %s@%s: %s ran it while this node was away", entry.repo, entry.revision, member)
        await self._run(kept, due, told.covered_until, (self._colleagues.me,))

    async def _pull(self, kept: _Kept, nodes: tuple[str, ...], zone: str | None) -> PullView:
        """The pull at its end."""
        entry = kept.entry
        request = PullRequest(
            repo=entry.repo,
            type=entry.type,
            revision=entry.revision,
            include=entry.include,
            exclude=entry.exclude,
            # What is given by globs is meant as it is written, as in a request that says nothing of weights.
            weights=None if entry.weights == "auto" and entry.include else entry.weights,
            priority=PRIORITY,
            nodes=nodes,
            zone=zone,
            pin=entry.pin,
        )
        view = await self._pulls.submit(request)
        kept.running = view.id
        give_up_at = self._wall() + GIVE_UP_S
        while view.state not in FINISHED and self._wall() < give_up_at:
            await asyncio.sleep(POLL_S)
            view = self._pulls.get(view.id)
        return view

    async def _covered(
        self, kept: _Kept, due: core.Due, until: float, commit: str | None, pull_id: str | None
    ) -> None:
        before = kept.record.last_commit
        await self._keep(kept, core.covered(kept.record, due, until, commit, pull_id))
        if kept.entry.pin and before and commit and before != commit and not is_commit(kept.entry.revision):
            await self._unpin(kept.entry, before)

    async def _unpin(self, entry: PrefetchEntry, commit: str) -> None:
        """The pin goes with the branch: what it pointed to before is kept only while there is room."""
        try:
            await self._models.pin(parse_repo(entry.repo, entry.type), commit, False)
        except NotFound:
            pass  # removed meanwhile

    async def _failed(self, kept: _Kept, detail: str, pull_id: str | None) -> None:
        log.warning("prefetch of %s@%s failed: %s", kept.entry.repo, kept.entry.revision, detail)
        await self._keep(kept, core.failed(kept.record, self._wall(), detail, pull_id))

    async def _keep(self, kept: _Kept, record: core.Record) -> None:
        kept.record, kept.left_to = record, ""
        if kept.id not in self._kept:
            return  # removed meanwhile
        try:
            await self._table.save(kept.id, None if kept.declared else kept.entry, record)
        except (
            DistdError
        ) as error:  # it will be done once more after a restart, which costs a question to the Hub
            log.warning("prefetch: %s", error)

    async def _holds(self, entry: PrefetchEntry, commit: str | None) -> bool:
        try:
            model = await self._models.get(parse_repo(entry.repo, entry.type))
        except NotFound:
            return False
        return any(revision.commit == commit for revision in model.revisions)

    # Odds and ends.

    def _declare(self, records: Mapping[str, core.Record]) -> None:
        now = self._wall()
        declared = {id_of(entry): entry for entry in self._declared}
        for id_ in [each.id for each in self._kept.values() if each.declared and each.id not in declared]:
            del self._kept[id_]
        for id_, entry in declared.items():
            if id_ in self._kept:
                self._kept[id_].declared = True
            else:
                record = records.get(id_) or core.first_record(bool(entry.schedule), now)
                self._kept[id_] = _Kept(id_, entry, fires_of(entry), record, declared=True)

    def _due(self, kept: _Kept, now: float) -> core.Due | None:
        return core.next_due(kept.id, kept.fires, kept.record, now)

    def _told(self, key: str) -> core.Told | None:
        kept = self._kept.get(key)
        return core.Told(kept.record.covered_until, kept.record.last_commit) if kept else None

    def _find(self, id_: str) -> _Kept:
        kept = self._kept.get(id_)
        if kept is None:
            raise NotFound(f"there is no prefetch entry {id_}: distctl prefetch ls lists them")
        return kept

    def _view(self, kept: _Kept, now: float) -> PrefetchView:
        due, record = self._due(kept, now), kept.record
        why = due.why if due else "its schedule has no further time"
        if kept.running is not None:
            why = f"running as pull {kept.running}" if kept.running else "running"
        elif kept.left_to:
            why = f"{kept.left_to} runs it for all members that declare it"
        return PrefetchView(
            id=kept.id,
            **msgspec.structs.asdict(kept.entry),
            declared=kept.declared,
            running=kept.running is not None,
            last_run_at=rfc3339(record.last_run_at),
            last_outcome=record.last_outcome,
            last_detail=record.last_detail,
            last_commit=record.last_commit,
            last_pull_id=record.last_pull_id,
            next_run_at=rfc3339(max(due.at, kept.look_at)) if due else None,
            why=why,
        )


def id_of(entry: PrefetchEntry) -> str:
    """The same on every member that declares the same: all of it but `pin`."""
    same = msgspec.structs.replace(entry, pin=False)
    return hashlib.blake2b(msgspec.json.encode(same), digest_size=6).hexdigest()


def fires_of(entry: PrefetchEntry) -> core.Fires:
    """Checks the entry. Raises InvalidRequest."""
    parse_ref(entry.repo, entry.type, entry.revision)
    if not entry.schedule:
        return core.keep_fires
    try:
        return cron_fires(entry.schedule)
    except ValueError as error:
        raise InvalidRequest(str(error)) from None
