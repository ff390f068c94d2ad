"""`GET /`: the dashboard for a browser, and for everything else every route with a sentence, as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from distd import __version__
from distd.api.answers import Route, answer
from distd.api.dashboard import Dashboard


class Index:
    def __init__(self, routes: Sequence[Route], dashboard: Dashboard) -> None:
        self._dashboard = dashboard
        own = Route("GET", "/", self.show, "this list, or the dashboard for a browser")
        self._routes = [*routes, *dashboard.routes(), own]

    def routes(self) -> list[Route]:
        return self._routes

    async def show(self, request: web.Request) -> web.Response:
        if "text/html" in request.headers.get("Accept", ""):
            return self._dashboard.page()
        listed = [{"method": r.method, "path": r.path, "summary": r.summary} for r in self._routes]
        return answer({"name": "distd", "version": __version__, "routes": listed})
