"""`GET /` for a browser: the dashboard's page, and the files it consists of.

They are the same for everybody and tell nothing of the node, so they need no token: a browser cannot send one with the
address somebody typed. What the page shows it asks of the other routes, with the token that its reader enters.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

from aiohttp import web

from distd.api.answers import Route
from distd.errors import NotFound

PAGE = "index.html"
CONTENT_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        # The browser itself refuses to turn a string into markup, should the page ever try.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)


class Dashboard:
    """The files are read once: they are small and change only with the program."""

    def __init__(self) -> None:
        self._files = _files()

    def routes(self) -> list[Route]:
        return [Route("GET", "/dashboard/{file}", self.file, "the dashboard's scripts and styles")]

    def page(self) -> web.Response:
        return self._answer(PAGE)

    async def file(self, request: web.Request) -> web.Response:
        name = request.match_info["file"]
        if name not in self._files or name == PAGE:
            raise NotFound(f"the dashboard has no file {name!r}")
        return self._answer(name)

    def _answer(self, name: str) -> web.Response:
        kind = CONTENT_TYPES[name.rpartition(".")[2]]
        charset = None if kind.startswith("image/") else "utf-8"
        headers = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
        return web.Response(body=self._files[name], content_type=kind, charset=charset, headers=headers)


def _files() -> Mapping[str, bytes]:
    folder = resources.files("distd.dashboard")
    return {
        entry.name: entry.read_bytes()
        for entry in folder.iterdir()
        if entry.name.rpartition(".")[2] in CONTENT_TYPES
    }
