"""`GET /`: every route with a sentence, as HTML for a browser and as JSON for everything else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from aiohttp import web

from distd import __version__
from distd.api.answers import Route, answer

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>distd</title>
<h1>distd {version}</h1>
<table>
{rows}
</table>
</html>
"""


class Index:
    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = [*routes, Route("GET", "/", self.show, "this list")]

    def routes(self) -> list[Route]:
        return self._routes

    async def show(self, request: web.Request) -> web.Response:
        if "text/html" in request.headers.get("Accept", ""):
            return web.Response(text=self._html(), content_type="text/html")
        listed = [{"method": r.method, "path": r.path, "summary": r.summary} for r in self._routes]
        return answer({"name": "distd", "version": __version__, "routes": listed})

    def _html(self) -> str:
        rows = "\n".join(
            f"<tr><td>{escape(r.method)}<td><code>{_link(r)}</code><td>{escape(r.summary)}"
            for r in self._routes
        )
        return _PAGE.format(version=escape(__version__), rows=rows)


def _link(route: Route) -> str:
    path = escape(route.path)
    if route.method != "GET" or "{" in path:
        return path
    # Relative, so that the page also works behind a proxy's prefix.
    return f'<a href=".{path}">{path}</a>'
