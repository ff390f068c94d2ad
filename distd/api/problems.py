"""Errors as RFC 9457 `application/problem+json`, each with one of the contract's codes.

Nothing leaves the API in another shape: an unknown route, a wrong method and a bug look alike to a
client. A bug is logged with its traceback under a number; the client gets the number and no details.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Mapping

import msgspec
from aiohttp import web

from distd.api.answers import Handler
from distd.api.schema import ProblemView
from distd.errors import HTTP_STATUS, DistdError, Problem, RateLimited

logger = logging.getLogger(__name__)

PROBLEM_TYPE = "urn:distd:problem:"
"""Prefix of the `type` member: with the code it names the kind of problem, and never changes."""


class Refused(Exception):
    """A request that is refused for its HTTP rather than its meaning: status, code and what is allowed."""

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.headers = dict(headers or {})


_TITLES = {
    400: "Malformed request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    413: "Request too large",
}


def problem_response(problem: Problem, status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    view = ProblemView(
        type=PROBLEM_TYPE + problem.code,
        title=problem.title,
        status=status,
        detail=problem.detail,
        code=problem.code,
        retryable=problem.retryable,
    )
    return web.Response(
        body=msgspec.json.encode(view),
        status=status,
        headers=headers,
        content_type="application/problem+json",
    )


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Outermost: turns every exception of the layers below into a problem."""
    try:
        return await handler(request)
    except DistdError as error:
        headers = {}
        if isinstance(error, RateLimited):
            headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
        return problem_response(error.problem(), HTTP_STATUS[error.code], headers)
    except Refused as refused:
        return _refusal(refused.status, refused.code, str(refused), refused.headers)
    except web.HTTPException as error:
        return _http_problem(request, error)
    except Exception:
        number = secrets.token_hex(4)
        logger.exception("%s %s failed, error %s", request.method, request.path, number)
        detail = f"an unexpected error; the daemon's log has it under {number}"
        return problem_response(Problem("internal", "Internal error", detail, False), 500)


def _refusal(status: int, code: str, detail: str, headers: Mapping[str, str]) -> web.Response:
    title = _TITLES.get(status, "Invalid request")
    return problem_response(Problem(code, title, detail, False), status, headers)


def _http_problem(request: web.Request, error: web.HTTPException) -> web.Response:
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        detail = f"{request.path} does not take {request.method}: it takes {allowed}"
        return _refusal(405, "invalid_request", detail, {"Allow": allowed})
    if error.status == 404:
        return _refusal(404, "not_found", f"no route {request.path}: GET / lists all routes", {})
    if error.status == 413:
        return _refusal(413, "invalid_request", error.text or "the body is too large", {})
    return _refusal(error.status, "invalid_request", error.text or error.reason, {})
