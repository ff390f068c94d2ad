"""One request on its way through the Hub: arrival faults, latency, quota, the handler, further faults, the answer.

All counting happens here, and nothing else is decided here.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal
from urllib.parse import unquote

from aiohttp import web
from multidict import CIMultiDict

from tests.hub.access import Refusal
from tests.hub.api import answer_api
from tests.hub.body import BodySender, Plan, mangle_body_headers, plan_body, read_source
from tests.hub.counters import Request
from tests.hub.faults import Phase, Rule, named
from tests.hub.hubstate import HubState
from tests.hub.mangle import arrival_reply, mangle_headers, mangle_json, mangle_tree
from tests.hub.resolve import answer_data, answer_file
from tests.hub.wire import Ask, Kind, Reply, parse_route

Origin = Literal["hub", "data", "control"]


class Exchange:
    """One request and its answer. `vanish(seconds)` takes the Hub off the network; it is called by the `gone` fault."""

    def __init__(
        self,
        state: HubState,
        sender: BodySender,
        request: web.BaseRequest,
        ask: Ask,
        origin: Origin,
        vanish: Callable[[float | None], None],
    ) -> None:
        self._state = state
        self._sender = sender
        self._request = request
        self._ask = ask
        self._origin = origin
        self._vanish = vanish
        self._recorded = False
        self._route = parse_route(ask.path, state.registry.has) if origin == "hub" else None
        self._kind, self._path = self._classify()

    async def run(self) -> web.StreamResponse:
        """Answers and counts. ConnectionError: the connection ended first, by the client or a fault."""
        try:
            arrived = self._take(Phase.ARRIVAL)
            await self._pause(arrived)
            self._hang_up(arrived)
            reply, headers = self._reply(arrived)
            reply.settle()
            reply.headers = {"X-Request-Id": secrets.token_hex(12), **headers, **reply.headers}
            return await self._send(reply)
        finally:
            self._record(0)

    def _classify(self) -> tuple[Kind, str]:
        """The request's kind, and the name it is counted under."""
        route, is_head = self._route, self._ask.method == "HEAD"
        if self._origin == "data":
            link = self._state.signer.link(self._ask)
            path = f"{link[0].id}/{link[1].path}" if link else unquote(self._ask.path)
            return ("head" if is_head else "body"), path
        if route is None or not route.is_file:
            return "api", unquote(self._ask.path)
        repo = self._state.registry.get(route.repo_type, route.repo_id)
        path = f"{repo.id if repo else route.repo_id}/{route.path}"
        if is_head:
            return "head", path
        return ("body" if route.operation == "resolve-cache" else "resolve"), path

    def _take(self, phase: Phase, span: tuple[int, int] | None = None) -> list[Rule]:
        return self._state.faults.take(phase, self._kind, self._path, self._ask.agent, span)

    async def _pause(self, arrived: list[Rule]) -> None:
        delay = named(arrived, "delay")
        pause_s = self._state.settings.latency_s + (delay["seconds"] if delay else 0)
        if pause_s:
            await asyncio.sleep(pause_s)

    def _hang_up(self, arrived: list[Rule]) -> None:
        """Closes without an answer when a fault says so; `gone` takes the whole Hub with it."""
        gone = named(arrived, "gone")
        if gone is None and named(arrived, "refuse") is None:
            return
        if self._request.transport is not None:
            self._request.transport.abort()
        if gone is not None:
            self._vanish(gone["seconds"])
        raise ConnectionAbortedError("closed by a fault")

    def _reply(self, arrived: list[Rule]) -> tuple[Reply, Mapping[str, str]]:
        """The answer, and the headers that every answer of the Hub's origin carries."""
        headers: dict[str, str] = {}
        refused = None
        if self._origin == "hub":
            headers, refused = self._count_quota()
        reply = next((reply for rule in arrived if (reply := arrival_reply(rule, self._ask))), refused)
        if reply is None:
            if named(arrived, "ignore_range"):
                kept = CIMultiDict(self._ask.headers)
                kept.popall("Range", None)
                self._ask = replace(self._ask, headers=kept)
            reply = self._answer()
            self._mangle(reply)
        return reply, headers

    def _count_quota(self) -> tuple[dict[str, str], Reply | None]:
        resource = "resolvers" if self._route and self._route.is_file else "api"
        caller = self._ask.token or self._ask.remote
        standing = self._state.quotas.count(resource, caller, self._state.clock.now())
        if not standing.exceeded:
            return standing.headers(), None
        message = f"We had to rate limit you: {standing.quota} requests per window."
        return standing.headers(), Refusal(429, message).reply(as_json=resource == "api")

    def _answer(self) -> Reply:
        state, ask, route = self._state, self._ask, self._route
        try:
            if self._origin == "data":
                return answer_data(state, ask)
            if route is None:
                raise Refusal(404, "Not Found")
            return answer_file(state, ask, route) if route.is_file else answer_api(state, ask, route)
        except Refusal as refusal:
            return refusal.reply(as_json=self._kind == "api")

    def _mangle(self, reply: Reply) -> None:
        """Faults of a good answer's entries, text and headers; those of its body follow when it is sent."""
        if reply.status >= 400:
            return
        if self._route is not None and self._route.operation == "tree" and isinstance(reply.data, list):
            mangle_tree(reply, self._take(Phase.TREE), self._ask)
        if reply.data is not None:
            reply.settle()
            mangle_json(reply, self._take(Phase.JSON))
        if self._route is not None and self._route.is_file:
            mangle_headers(reply, self._take(Phase.HEADERS))

    async def _send(self, reply: Reply) -> web.StreamResponse:
        content = reply.content
        assert content is not None, "every reply has a body, if an empty one"
        # Before the first byte, so that whoever has the answer finds it counted.
        self._record(reply.status)
        plan = Plan((), content.count)
        if self._ask.method != "HEAD":
            good = reply.status in (200, 206)
            rules = self._take(Phase.BODY, (content.start, content.count)) if good else []
            mangle_body_headers(reply, rules)
            plan = plan_body(content, rules, read_source)
        response = web.StreamResponse(status=reply.status, headers=reply.headers)
        if plan.length is None:
            response.enable_chunked_encoding()
        else:
            response.content_length = plan.length
        counted = self._path if reply.status in (200, 206) and self._kind != "api" else ""
        with self._state.counters.sending(is_file=counted != ""):
            await response.prepare(self._request)
            paced = self._origin == "data"
            await self._sender.send(self._request, response, content.source, plan, key=counted, paced=paced)
            await response.write_eof()
        return response

    def _record(self, status: int) -> None:
        """Counts the request, once; 0 is the status of one that got no answer."""
        if self._recorded:
            return
        self._recorded = True
        ask = self._ask
        authenticated = "Authorization" in ask.headers
        if self._origin == "data" and authenticated:
            self._state.counters.token_leaks += 1
        self._state.counters.finished(
            Request(
                kind=self._kind,
                method=ask.method,
                path=self._path,
                status=status,
                header_names=tuple(ask.headers),
                range=ask.headers.get("Range"),
                agent=ask.agent,
                target=ask.target,
                authenticated=authenticated,
            )
        )
