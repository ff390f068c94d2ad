"""Every request that changes something is written down: who asked, for what, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from distd.actors import acting
from distd.api.access import READING_METHODS
from distd.api.answers import Handler, Route
from distd.api.callers import caller
from distd.api.ports import Audit
from distd.api.problems import Refused
from distd.errors import DistdError
from distd.redaction import redacted


def audited(audit: Audit, routes: tuple[Route, ...]) -> Middleware:
    """Innermost: whoever was not let in has asked for nothing."""
    deeds = {(route.method, route.path): route.deed or f"{route.method} {route.path}" for route in routes}

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method in READING_METHODS:
            return await handler(request)
        resource = request.match_info.route.resource
        deed = deeds.get((request.method, resource.canonical)) if resource else None
        if deed is None:
            return await handler(request)
        with acting(await caller(request)):
            outcome = "internal"
            try:
                response = await handler(request)
                outcome = "done"
                return response
            except (DistdError, Refused) as error:
                outcome = error.code
                raise
            finally:
                # What is not understood asks for nothing; it would only fill the table.
                if outcome != "invalid_request":
                    subject, detail = await _words(request)
                    await audit.note(deed, subject, outcome, detail)

    return middleware


async def _words(request: web.Request) -> tuple[str, str]:
    """What it is about, and the request's own words."""
    was_read = request.body_exists and not request.can_read_body  # else it is not waited for here
    body = (await request.read()).decode("utf-8", "replace") if was_read else ""
    detail = " ".join(filter(None, [request.query_string, " ".join(body.split())]))
    return _subject(request.match_info, request.query.get("revision", ""), body), redacted(detail)


def _subject(path: Mapping[str, str], revision: str, body: str) -> str:
    if "org" in path:
        repo = path["name"] if path["org"] == "_" else f"{path['org']}/{path['name']}"
        return f"{repo}@{revision}" if revision else repo
    if path:
        return next(iter(path.values()))
    try:
        named = msgspec.json.decode(body, type=_Named)
    except (msgspec.MsgspecError, UnicodeError):
        return ""
    return f"{named.repo}@{named.revision}" if named.revision else named.repo


class _Named(msgspec.Struct):
    repo: str = ""
    revision: str = ""
