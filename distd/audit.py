"""Who pulled, removed, pinned or banned what: kept in the database, and in the log with fields of their own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from distd.actors import actor
from distd.api.audit_schema import AuditView
from distd.errors import DistdError
from distd.pulls.views import rfc3339
from distd.state.audit import AuditEntry

log = logging.getLogger(__name__)

DONE = "done"
WORD_CHARS_MAX = 300
"""Of a name or a subject; a repo's has at most 96."""
DETAIL_CHARS_MAX = 500
"""Enough for the words of a pull; a request with a hundred globs is cut."""


class Table(Protocol):
    async def add(
        self, time: float, actor: str, deed: str, subject: str, outcome: str, detail: str
    ) -> None: ...

    async def page(
        self, before: int | None, limit: int, *, since: float, deed: str, text: str
    ) -> list[AuditEntry]: ...


class AuditService:
    """Implements the API's `Audit`. Hand `note` to whatever changes something on somebody's word."""

    def __init__(self, table: Table, wall: Callable[[], float] = time.time) -> None:
        self._table = table
        self._wall = wall

    async def note(self, deed: str, subject: str, outcome: str = DONE, detail: str = "") -> None:
        """Writes down what the present actor did or was refused. What cannot be kept is in the log, and nothing fails."""
        who, subject = actor()[:WORD_CHARS_MAX], subject[:WORD_CHARS_MAX]
        fields = {"event": "audit", "actor": who, "deed": deed, "subject": subject, "outcome": outcome}
        log.info("%s: %s %s: %s", who, deed, subject, outcome, extra=fields)
        try:
            await self._table.add(self._wall(), who, deed, subject, outcome, detail[:DETAIL_CHARS_MAX])
        except DistdError as error:
            log.error("the audit has no entry of this: %s", error)

    async def page(
        self, after: str | None, limit: int, *, since: float, deed: str, text: str
    ) -> tuple[list[AuditView], str | None]:
        before = int(after) if after is not None else None
        found = await self._table.page(before, limit + 1, since=since, deed=deed, text=text)
        views = [
            AuditView(
                entry.seq,
                rfc3339(entry.time) or "",
                entry.actor,
                entry.deed,
                entry.subject,
                entry.outcome,
                entry.detail,
            )
            for entry in found[:limit]
        ]
        return views, str(views[-1].seq) if len(found) > limit else None
