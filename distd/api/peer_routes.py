"""Operators' words on members over HTTP: ban, unban, forget."""

from __future__ import annotations

from aiohttp import web

from distd.actors import actor
from distd.api.answers import Route, answer
from distd.api.audience import AUDIENCE, audience
from distd.api.bodies import json_body, only_parameters
from distd.api.paging import page_after, page_cursor, page_limit
from distd.api.peer_schema import BanRequest, BanWord, ForgottenView
from distd.api.ports import Nodes, Peering
from distd.api.schema import Page


class PeerRoutes:
    def __init__(self, peering: Peering, nodes: Nodes) -> None:
        self._peering = peering
        self._nodes = nodes

    def routes(self) -> list[Route]:
        one = "/v1/peers/{name}"
        return [
            Route("GET", "/v1/bans", self.bans, "members that are banned here, by whom and why"),
            Route("PUT", one + "/ban", self.ban, "have nothing to do with it; on ?nodes= or ?zone=", "ban"),
            Route("DELETE", one + "/ban", self.unban, "let it back; on ?nodes= or ?zone=", "unban"),
            Route("GET", one + "/drain", self.drain_view, "how far the member is on its way out of service"),
            Route("PUT", one + "/drain", self.drain, "take the member out of service", "drain"),
            Route("DELETE", one + "/drain", self.undrain, "take it back into service", "undrain"),
            Route("POST", one + "/recheck", self.recheck, "ask a member banned on evidence again", "recheck"),
            Route("DELETE", one, self.forget, "drop a dead member from everybody's list", "forget"),
        ]

    async def bans(self, request: web.Request) -> web.Response:
        only_parameters(request, "limit", "cursor")
        after, limit = page_after(request, "bans"), page_limit(request)
        found = [ban for ban in self._peering.bans() if after is None or ban.member > after]
        more = found[limit - 1].member if len(found) > limit else None
        return answer(Page(list(found[:limit]), page_cursor("bans", more)))

    async def ban(self, request: web.Request) -> web.Response:
        only_parameters(request, *AUDIENCE)
        member = request.match_info["name"]
        body = await json_body(request, BanRequest) if request.can_read_body else BanRequest()
        if (meant := audience(request)) is not None:
            return answer(Page(list(await self._nodes.ban(*meant, member, body.reason)), None))
        return answer(BanWord(await self._peering.ban(member, body.reason, actor())))

    async def unban(self, request: web.Request) -> web.Response:
        only_parameters(request, *AUDIENCE)
        member = request.match_info["name"]
        if (meant := audience(request)) is not None:
            return answer(Page(list(await self._nodes.unban(*meant, member)), None))
        await self._peering.unban(member, actor())
        return answer(BanWord(None))

    async def recheck(self, request: web.Request) -> web.Response:
        only_parameters(request)
        return answer(await self._peering.recheck(request.match_info["name"], actor()))

    async def drain_view(self, request: web.Request) -> web.Response:
        return await self._drain(request, None)

    async def drain(self, request: web.Request) -> web.Response:
        return await self._drain(request, True)

    async def undrain(self, request: web.Request) -> web.Response:
        return await self._drain(request, False)

    async def _drain(self, request: web.Request, wanted: bool | None) -> web.Response:
        only_parameters(request)
        return answer(await self._nodes.drain(request.match_info["name"], wanted))

    async def forget(self, request: web.Request) -> web.Response:
        only_parameters(request)
        member = request.match_info["name"]
        await self._peering.forget(member, actor())
        return answer(ForgottenView(member))
