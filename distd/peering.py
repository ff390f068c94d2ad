"""This node's say over its cluster: whom it bans, and which dead members everybody forgets."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NoReturn, Protocol

from distd.api.peer_schema import BanView, RecheckView
from distd.core.audience import Node
from distd.core.bans import BANS_MAX, EVIDENCE_LINES_MAX, Ban, BanList, Checked
from distd.errors import Conflict, DistdError, NotFound
from distd.pulls.views import rfc3339

log = logging.getLogger(__name__)

BY_EVIDENCE = "distd"
"""Who banned, where no person did."""


Noted = Callable[[str, str, str, str], Awaitable[None]]
"""Writes down a deed, its subject, its outcome and a detail in the audit."""


Check = Callable[[str, Sequence[str]], Awaitable[Checked]]
"""Has a banned member send copies again; with the evidence against it."""

LOOK_EVERY_S = 60.0


class BanTable(Protocol):
    """Keeps the bans over restarts."""

    async def load(self) -> list[Ban]: ...

    async def save(self, bans: Iterable[Ban]) -> None:
        """Replaces what was saved before. Raises StorageFailed."""


class Circle(Protocol):
    """The cluster, as far as it obeys."""

    me: str

    def known(self) -> Sequence[Node]:
        """All members, in order of their names."""

    def ban(self, reasons: Mapping[str, str]) -> None:
        """These members and no others are banned from now on."""

    def forget(self, member: str) -> None:
        """Everybody drops a member that is dead or gone."""


class PeeringService:
    """Implements the API's `Peering`. Open before other members are asked anything."""

    def __init__(
        self, circle: Circle, table: BanTable, noted: Noted, wall: Callable[[], float] = time.time
    ) -> None:
        self._circle = circle
        self._table = table
        self._noted = noted
        self._wall = wall
        self._bans = BanList(circle.me)
        self._lifted: dict[str, int] = {}
        self.check: Check | None = None
        """Set where there is a cluster."""

    async def open(self) -> None:
        self._bans = BanList(self._circle.me, await self._table.load())
        self._circle.ban(self._bans.reasons())

    def bans(self) -> list[BanView]:
        return [_view(ban) for ban in self._bans]

    async def ban(self, member: str, reason: str, by: str, evidence: Sequence[str] = ()) -> BanView:
        """Bans at once, and keeps it over restarts. Idempotent: the first reason stays.

        Raises NotFound for a member that nobody knows, InvalidRequest for this node itself, Conflict when there are too
        many, StorageFailed when it would not outlive a restart; then nothing is changed.
        """
        self._find(member)
        before = self._lifted.get(member, 0) if by == BY_EVIDENCE else 0
        ban = Ban(member, reason or f"banned by {by}", by, self._wall(), tuple(evidence), before)
        if self._bans.add(ban):
            try:
                await self._table.save(self._bans)
            except DistdError:
                self._bans.lift(member)
                raise
            self._circle.ban(self._bans.reasons())
            if by == BY_EVIDENCE:  # a person's word is written down where it came in
                await self._noted("ban", member, "done", ban.reason)
            log.warning("%s is banned by %s: %s", member, by, ban.reason, extra={"event": "banned"})
        return _view(self._bans.get(member) or ban)

    async def unban(self, member: str, by: str) -> None:
        """At once, for good. Idempotent for members that are known. Raises NotFound, or StorageFailed; then nothing is changed."""
        lifted = self._bans.lift(member)
        if lifted is None:
            self._find(member)
            return
        try:
            await self._table.save(self._bans)
        except DistdError:
            self._bans.add(lifted)
            raise
        self._circle.ban(self._bans.reasons())
        log.warning("%s is not banned any more, by %s", member, by, extra={"event": "unbanned"})

    async def recheck(self, member: str, by: str) -> RecheckView:
        """Has a member that was banned on evidence send copies again: lets it back when all are right.

        Raises NotFound for one that is not banned, Conflict for one that a person banned or while there is no cluster,
        StorageFailed; then nothing is changed.
        """
        ban = self._bans.get(member)
        if ban is None:
            raise NotFound(f"{member} is not banned here: distctl peers bans lists who is")
        if ban.by != BY_EVIDENCE or self.check is None:
            raise Conflict(
                f"{member} was banned by {ban.by}, not on evidence: distctl peers unban lets it back"
            )
        checked = await self.check(member, ban.evidence)
        if self._bans.get(member) != ban:  # lifted or re-checked by somebody else meanwhile
            still = self._bans.get(member)
        elif checked.verdict == "clean":
            self._lifted.pop(member, None)
            self._lifted[member] = ban.checked + 1
            if len(self._lifted) > BANS_MAX:
                del self._lifted[next(iter(self._lifted))]
            await self.unban(member, by)
            await self._noted("unban", member, "done", f"re-checked: {checked.text}; was: {ban.reason}")
            still = None
        else:
            lines = (
                (*ban.evidence, f"{rfc3339(self._wall())}: {checked.text}")
                if checked.verdict == "wrong"
                else ban.evidence
            )
            kept = (*lines[:1], *lines[1:][-(EVIDENCE_LINES_MAX - 1) :])
            still = replace(ban, evidence=kept, checked=ban.checked + 1, checked_at=self._wall())
            self._bans.replace(still)
            await self._table.save(self._bans)
            log.warning(
                "%s was re-checked and stays banned: %s", member, checked.text, extra={"event": "rechecked"}
            )
        return RecheckView(
            member, checked.verdict, checked.copies, checked.text, _view(still) if still else None
        )

    async def watch(self) -> NoReturn:
        """Re-checks by itself, seldom, those whom nobody but the evidence banned."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            live = {node.name for node in self._circle.known() if node.state == "alive"}
            for ban in list(self._bans):
                if (
                    self.check
                    and ban.by == BY_EVIDENCE
                    and ban.member in live
                    and ban.recheck_at() <= self._wall()
                ):
                    try:
                        await self.recheck(ban.member, BY_EVIDENCE)
                    except DistdError as error:
                        log.warning("%s could not be re-checked: %s", ban.member, error)

    async def forget(self, member: str, by: str) -> None:
        """Drops a dead member from every member's table. Raises NotFound, or Conflict while it is there."""
        node = self._find(member)
        if node.state in ("alive", "suspect"):  # one that is banned is not live, and there all the same
            raise Conflict(f"{member} is {node.state}: stop its daemon first, or ban it (distctl peers ban)")
        self._circle.forget(member)
        log.warning("%s is forgotten, by %s", member, by, extra={"event": "forgotten"})

    def _find(self, member: str) -> Node:
        known = {node.name: node for node in self._circle.known()}
        if member not in known:
            raise NotFound(f"no member of the cluster is called {member!r}: distctl peers lists them")
        return known[member]


class LoneCircle:
    """Implements `Circle` for a daemon without a cluster."""

    def __init__(self, name: str, zone: str) -> None:
        self.me = name
        self._zone = zone

    def known(self) -> Sequence[Node]:
        return [Node(self.me, self._zone, True)]

    def ban(self, reasons: Mapping[str, str]) -> None:
        """Nobody is there to be banned."""

    def forget(self, member: str) -> None:
        """Nobody is there to be forgotten."""


def _view(ban: Ban) -> BanView:
    return BanView(ban.member, ban.reason, ban.by, rfc3339(ban.since) or "", ban.evidence)
