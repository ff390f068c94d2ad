"""Prefetch over HTTP: list, add, remove, run now."""

from __future__ import annotations

from aiohttp import web

from distd.api.answers import Route, answer
from distd.api.bodies import json_body, only_parameters
from distd.api.paging import page_after, page_cursor, page_limit
from distd.api.ports import PrefetchPort
from distd.api.schema import Page, PrefetchRequest


class PrefetchRoutes:
    def __init__(self, prefetch: PrefetchPort) -> None:
        self._prefetch = prefetch

    def routes(self) -> list[Route]:
        one = "/v1/prefetch/{id}"
        return [
            Route("GET", "/v1/prefetch", self.list, "what is kept present: last run, next run, and why"),
            Route("POST", "/v1/prefetch", self.add, "keep a repo present from now on", "prefetch add"),
            Route("DELETE", one, self.remove, "no longer; what it brought stays", "prefetch rm"),
            Route("POST", one + "/run", self.run, "run an entry now", "prefetch run"),
        ]

    async def list(self, request: web.Request) -> web.Response:
        only_parameters(request, "limit", "cursor")
        after, limit = page_after(request, "prefetch"), page_limit(request)
        found = [view for view in self._prefetch.list() if after is None or view.id > after]
        more = found[limit - 1].id if len(found) > limit else None
        return answer(Page(list(found[:limit]), page_cursor("prefetch", more)))

    async def add(self, request: web.Request) -> web.Response:
        only_parameters(request)
        wanted = await json_body(request, PrefetchRequest)
        view = await self._prefetch.add(wanted.entry())
        return answer(view, status=201, headers={"Location": f"/v1/prefetch/{view.id}"})

    async def remove(self, request: web.Request) -> web.Response:
        only_parameters(request)
        return answer(await self._prefetch.remove(request.match_info["id"]))

    async def run(self, request: web.Request) -> web.Response:
        only_parameters(request)
        return answer(await self._prefetch.run(request.match_info["id"]), status=202)
