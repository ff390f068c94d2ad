"""Housekeeping over HTTP: making room."""

from __future__ import annotations

from aiohttp import web

from distd.api.answers import Route, answer
from distd.api.bodies import json_body, only_parameters
from distd.api.housekeeping_schema import GcRequest
from distd.api.ports import Housekeeping


class HousekeepingRoutes:
    def __init__(self, housekeeping: Housekeeping) -> None:
        self._housekeeping = housekeeping

    def routes(self) -> list[Route]:
        return [Route("POST", "/v1/gc", self.gc, "make room, or with dry_run say what would go", "gc")]

    async def gc(self, request: web.Request) -> web.Response:
        only_parameters(request)
        wanted = await json_body(request, GcRequest) if request.body_exists else GcRequest()
        return answer(await self._housekeeping.gc(dry_run=wanted.dry_run, free_bytes=wanted.free_bytes))
