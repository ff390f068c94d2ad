"""What the cache holds, over HTTP: list, show, remove, pin and verify."""

from __future__ import annotations

from aiohttp import web

from distd.api.answers import Route, answer
from distd.api.audience import AUDIENCE, audience
from distd.api.bodies import only_parameters, query_value
from distd.api.paging import page_after, page_cursor, page_limit
from distd.api.ports import Models, Nodes
from distd.api.schema import Page
from distd.core.refs import Repo, parse_repo, parse_revision


class ModelRoutes:
    def __init__(self, models: Models, nodes: Nodes) -> None:
        self._models = models
        self._nodes = nodes

    def routes(self) -> list[Route]:
        one = "/v1/models/{type}/{org}/{name}"
        return [
            Route("GET", "/v1/models", self.list, "repos held, with their revisions; on ?nodes= or ?zone="),
            Route("GET", one, self.get, "one repo held; _ stands for no org"),
            Route("GET", one + "/nodes", self.on_nodes, "which members have it at ?revision= (main)"),
            Route("DELETE", one, self.remove, "remove it, or only ?revision=", "remove"),
            Route("PUT", one + "/pin", self.pin, "protect it (or ?revision=) from removal", "pin"),
            Route("DELETE", one + "/pin", self.unpin, "take the pin away", "unpin"),
            Route("POST", one + "/verify", self.verify, "hash its files again", "verify"),
        ]

    async def list(self, request: web.Request) -> web.Response:
        if (meant := audience(request)) is not None:
            only_parameters(request, *AUDIENCE)  # a row a node: no pages
            return answer(Page(list(await self._nodes.models(*meant)), None))
        only_parameters(request, "limit", "cursor", *AUDIENCE)
        models, after = await self._models.page(page_after(request, "models"), page_limit(request))
        return answer(Page(models, page_cursor("models", after)))

    async def get(self, request: web.Request) -> web.Response:
        only_parameters(request, "use")
        use = query_value(request, "use")
        return answer(await self._models.get(repo_of(request), None if use is None else parse_revision(use)))

    async def on_nodes(self, request: web.Request) -> web.Response:
        nodes = await self._models.on_nodes(repo_of(request), revision_of(request) or "main")
        return answer(Page(list(nodes), None))

    async def remove(self, request: web.Request) -> web.Response:
        repo, revision = repo_of(request), revision_of(request, *AUDIENCE)
        if (meant := audience(request)) is not None:
            return answer(Page(list(await self._nodes.remove(*meant, repo, revision)), None))
        return answer(await self._models.remove(repo, revision))

    async def pin(self, request: web.Request) -> web.Response:
        return await self._pin(request, True)

    async def unpin(self, request: web.Request) -> web.Response:
        return await self._pin(request, False)

    async def _pin(self, request: web.Request, pinned: bool) -> web.Response:
        repo, revision = repo_of(request), revision_of(request, *AUDIENCE)
        if (meant := audience(request)) is not None:
            return answer(Page(list(await self._nodes.pin(*meant, repo, revision, pinned)), None))
        return answer(await self._models.pin(repo, revision, pinned))

    async def verify(self, request: web.Request) -> web.Response:
        return answer(await self._models.verify(repo_of(request), revision_of(request)))


def repo_of(request: web.Request) -> Repo:
    """The repo that the path names. Raises InvalidRequest."""
    org, name = request.match_info["org"], request.match_info["name"]
    return parse_repo(name if org == "_" else f"{org}/{name}", request.match_info["type"])


def revision_of(request: web.Request, *besides: str) -> str | None:
    only_parameters(request, "revision", *besides)
    revision = query_value(request, "revision")
    return None if revision is None else parse_revision(revision)
