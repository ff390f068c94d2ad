"""The audit over HTTP."""

from __future__ import annotations

from aiohttp import web

from distd.api.answers import Route, answer
from distd.api.bodies import only_parameters, query_value
from distd.api.moments import since
from distd.api.paging import page_after, page_cursor, page_limit
from distd.api.ports import Audit
from distd.api.schema import Page


class AuditRoutes:
    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/v1/audit", self.list, "who changed what, newest first: ?since= ?deed= ?text="),
        ]

    async def list(self, request: web.Request) -> web.Response:
        only_parameters(request, "limit", "cursor", "since", "deed", "text")
        entries, after = await self._audit.page(
            page_after(request, "audit"),
            page_limit(request),
            since=since(request, "0s") if "since" in request.query else 0.0,
            deed=query_value(request, "deed") or "",
            text=query_value(request, "text") or "",
        )
        return answer(Page(list(entries), page_cursor("audit", after)))
