"""Waiting over HTTP: one request that is answered when a repo is published."""

from __future__ import annotations

from aiohttp import web

from distd.api.answers import Route, answer
from distd.api.audience import AUDIENCE, audience
from distd.api.bodies import query_value
from distd.api.model_routes import repo_of, revision_of
from distd.api.ports import Waits
from distd.errors import InvalidRequest
from distd.units import parse_duration

TIMEOUT_DEFAULT = "30s"
TIMEOUT_MAX_S = 3600.0
"""Proxies and clients give up long before; who wants to wait longer asks again."""


class WaitRoutes:
    def __init__(self, waits: Waits) -> None:
        self._waits = waits

    def routes(self) -> list[Route]:
        return [
            Route(
                "GET",
                "/v1/models/{type}/{org}/{name}/wait",
                self.wait,
                "answered once it is published, else 408: ?revision= ?timeout= ?nodes= ?zone=",
            )
        ]

    async def wait(self, request: web.Request) -> web.Response:
        repo, revision = repo_of(request), revision_of(request, "timeout", *AUDIENCE)
        nodes, zone = audience(request) or ((), None)
        view = await self._waits.published(repo, revision or "main", nodes, zone, _timeout_s(request))
        return answer(view)


def _timeout_s(request: web.Request) -> float:
    text = query_value(request, "timeout") or TIMEOUT_DEFAULT
    try:
        timeout_s = parse_duration(text)
    except ValueError as error:
        raise InvalidRequest(f"timeout: {error}") from None
    if timeout_s > TIMEOUT_MAX_S:
        raise InvalidRequest(f"timeout is {text}: at most {TIMEOUT_MAX_S:.0f}s; ask again after a 408")
    return timeout_s
