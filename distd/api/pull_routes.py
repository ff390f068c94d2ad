"""Pulls over HTTP: start, look, steer, and read their story; and the dry run."""

from __future__ import annotations

from typing import get_args

from aiohttp import web

from distd.api.answers import Route, answer
from distd.api.bodies import json_body, only_parameters, query_as
from distd.api.paging import page_after, page_cursor, page_limit
from distd.api.ports import Pulls
from distd.api.schema import Page, PullRequest
from distd.core.pull import PullState
from distd.errors import InvalidRequest
from distd.units import parse_rate

SELECTION = ("repo", "type", "revision", "include", "exclude", "weights")
LINKS_DEFAULT = tuple(parse_rate(text) for text in ("100 Mbit/s", "1 Gbit/s", "10 Gbit/s"))
LINKS_MAX = 20
"""More columns than anybody reads."""
PULL_STATES: tuple[PullState, ...] = get_args(PullState)


class PullRoutes:
    def __init__(self, pulls: Pulls) -> None:
        self._pulls = pulls

    def routes(self) -> list[Route]:
        one = "/v1/pulls/{id}"
        return [
            Route(
                "POST", "/v1/pulls", self.submit, "start a pull; the body names repo and selection", "pull"
            ),
            Route("GET", "/v1/pulls", self.list, "pulls, newest first; ?state= selects"),
            Route("GET", one, self.get, "one pull with its files"),
            Route("DELETE", one, self.cancel, "cancel it; the record stays", "cancel"),
            Route("POST", one + "/pause", self.pause, "pause it", "pause"),
            Route("POST", one + "/resume", self.resume, "resume it", "resume"),
            Route("GET", one + "/story", self.story, "its events, oldest first"),
            Route("GET", "/v1/plan", self.plan, "what a pull of ?repo= would do; changes nothing"),
            Route(
                "GET",
                "/v1/estimate",
                self.estimate,
                "how long a pull of ?repo= would take; ?link= adds links",
            ),
        ]

    async def submit(self, request: web.Request) -> web.Response:
        only_parameters(request)
        pull = await self._pulls.submit(await json_body(request, PullRequest))
        return answer(pull, status=202, headers={"Location": f"/v1/pulls/{pull.id}"})

    async def list(self, request: web.Request) -> web.Response:
        only_parameters(request, "state", "limit", "cursor")
        pulls, after = self._pulls.page(_states(request), page_after(request, "pulls"), page_limit(request))
        return answer(Page(pulls, page_cursor("pulls", after)))

    async def get(self, request: web.Request) -> web.Response:
        only_parameters(request)
        return answer(self._pulls.get(request.match_info["id"]))

    async def cancel(self, request: web.Request) -> web.Response:
        return await self._control(request, "cancel")

    async def pause(self, request: web.Request) -> web.Response:
        return await self._control(request, "pause")

    async def resume(self, request: web.Request) -> web.Response:
        return await self._control(request, "resume")

    async def story(self, request: web.Request) -> web.Response:
        only_parameters(request, "limit", "cursor")
        after, limit = page_after(request, "story"), page_limit(request)
        if after is not None and not after.isdecimal():
            raise InvalidRequest("cursor is not one that this list gave: pass `next` of the page before")
        # One more than asked for, to know whether this page is the last.
        entries = await self._pulls.story(request.match_info["id"], int(after or 0), limit + 1)
        shown = entries[:limit]
        more = str(shown[-1].seq) if len(entries) > limit else None
        return answer(Page(shown, page_cursor("story", more)))

    async def plan(self, request: web.Request) -> web.Response:
        only_parameters(request, *SELECTION)
        return answer(await self._pulls.plan(query_as(request, PullRequest, ("include", "exclude"))))

    async def estimate(self, request: web.Request) -> web.Response:
        only_parameters(request, *SELECTION, "link")
        links = _links(request)
        wanted = query_as(request, PullRequest, ("include", "exclude"), besides=("link",))
        return answer(await self._pulls.estimate(wanted, links))

    async def _control(self, request: web.Request, verb: str) -> web.Response:
        only_parameters(request)
        return answer(await self._pulls.control(request.match_info["id"], verb))


def _links(request: web.Request) -> tuple[int, ...]:
    """`?link=1 Gbit/s&link=500 MB/s` in bytes per second. Raises InvalidRequest."""
    texts = request.query.getall("link", [])
    if len(texts) > LINKS_MAX:
        raise InvalidRequest(f"at most {LINKS_MAX} links at a time")
    try:
        links = tuple(parse_rate(text) for text in texts)
    except ValueError as error:
        raise InvalidRequest(str(error)) from None
    if 0 in links:
        raise InvalidRequest('a link of 0 never ends: write for instance "1 Gbit/s"')
    return links or LINKS_DEFAULT


def _states(request: web.Request) -> frozenset[PullState]:
    """`?state=a,b` or `?state=a&state=b`. Raises InvalidRequest naming the states that exist."""
    named = {word for value in request.query.getall("state", []) for word in value.split(",")}
    if unknown := sorted(named - set(PULL_STATES)):
        raise InvalidRequest(f"no state {unknown[0]!r}: one of {', '.join(PULL_STATES)}")
    return frozenset(state for state in PULL_STATES if state in named)
