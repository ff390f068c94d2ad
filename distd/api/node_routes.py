"""The node itself over HTTP: is it alive, can it serve, how does it stand, what is wrong with it."""

from __future__ import annotations

from aiohttp import web

from distd.api.answers import Route, answer
from distd.api.audience import AUDIENCE, audience
from distd.api.bodies import only_parameters, query_value
from distd.api.moments import since
from distd.api.paging import page_after, page_cursor, page_limit
from distd.api.ports import Node, Nodes
from distd.api.schema import Page


class NodeRoutes:
    def __init__(self, node: Node, nodes: Nodes) -> None:
        self._node = node
        self._nodes = nodes

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/livez", self.live, "200 while the daemon runs"),
            Route("GET", "/healthz", self.live, "the same as /livez"),
            Route("GET", "/readyz", self.ready, "200 when it can serve, else 503; ?verbose gives reasons"),
            Route(
                "GET", "/v1/status", self.status, "node, cache, rates and active pulls; of ?nodes= or ?zone="
            ),
            Route(
                "GET", "/v1/peers", self.peers, "members of the cluster, this node included, and what flows"
            ),
            Route(
                "GET", "/v1/rates", self.rates, "rates per source and member, and by the hour: ?since= ?peer="
            ),
            Route("GET", "/v1/doctor", self.doctor, "what the daemon finds wrong with itself, and the fix"),
        ]

    async def live(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(self, request: web.Request) -> web.Response:
        """Plain text, as probes expect; without `verbose` no reason, because this route takes no token."""
        reasons = self._node.unready_reasons()
        lines = reasons if "verbose" in request.query else []
        text = "".join(f"{line}\n" for line in ["not ready" if reasons else "ready", *lines])
        return web.Response(text=text, status=503 if reasons else 200)

    async def status(self, request: web.Request) -> web.Response:
        only_parameters(request, *AUDIENCE)
        if (meant := audience(request)) is not None:
            return answer(Page(list(await self._nodes.status(*meant)), None))
        return answer(self._node.status())

    async def peers(self, request: web.Request) -> web.Response:
        only_parameters(request, "limit", "cursor")
        after, limit = page_after(request, "peers"), page_limit(request)
        found = [peer for peer in await self._node.peers() if after is None or peer.name > after]
        more = found[limit - 1].name if len(found) > limit else None
        return answer(Page(found[:limit], page_cursor("peers", more)))

    async def rates(self, request: web.Request) -> web.Response:
        only_parameters(request, "since", "peer")
        rates = await self._node.rates(since(request, "24h"), query_value(request, "peer"))
        return answer(Page(list(rates), None))

    async def doctor(self, request: web.Request) -> web.Response:
        only_parameters(request)
        return answer(Page(list(await self._node.diagnose()), None))
