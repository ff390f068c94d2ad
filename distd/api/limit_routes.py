"""Bandwidth limits over HTTP: what holds and why, and setting them."""

from __future__ import annotations

from aiohttp import web

from distd.api.answers import Route, answer
from distd.api.bodies import json_body, only_parameters
from distd.api.ports import LimitPort
from distd.api.schema import LimitsChange


class LimitRoutes:
    def __init__(self, limits: LimitPort) -> None:
        self._limits = limits

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/v1/limits", self.show, "bandwidth limits in force, where from, and until when"),
            Route(
                "PUT",
                "/v1/limits",
                self.change,
                "set limits at run time, or take that back with null",
                "limits set",
            ),
        ]

    async def show(self, request: web.Request) -> web.Response:
        only_parameters(request)
        return answer(self._limits.view())

    async def change(self, request: web.Request) -> web.Response:
        only_parameters(request)
        return answer(await self._limits.change(await json_body(request, LimitsChange)))
