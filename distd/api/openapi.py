"""`GET /openapi.json`: what every route takes and answers, from the types that validate and phrase it.

One row a route; a test holds the rows equal to the routes that are served.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from distd import __version__
from distd.api.answers import Route, answer
from distd.api.audience import AUDIENCE
from distd.api.audit_schema import AuditView
from distd.api.housekeeping_schema import AdoptRequest, AdoptView, GcRequest, GcView, ImportedView
from distd.api.node_schema import NodeModelsView, NodePinView, NodeRemovedView, NodeStatusView, WaitView
from distd.api.parameters import parameter
from distd.api.peer_schema import (
    BanRequest,
    BanView,
    BanWord,
    DrainView,
    ForgottenView,
    NodeBanView,
    RecheckView,
)
from distd.api.pull_routes import SELECTION
from distd.api.rate_schema import EstimateView, RateView
from distd.api.refusals import MODEL, Refusal, by_status, refusals
from distd.api.schema import (
    Finding,
    LimitsChange,
    LimitsView,
    ModelView,
    NodeHoldingView,
    PeerView,
    PlanView,
    PrefetchRequest,
    PrefetchView,
    ProblemView,
    PullRequest,
    PullView,
    RemovedView,
    StatusView,
    StoryEntry,
    VerifyView,
)

Kind = type[msgspec.Struct]
PAGE = ("limit", "cursor")
RESUMING = ("Last-Event-ID",)
REFERENCE = "#/components/schemas/{name}"


@dataclass(frozen=True, slots=True)
class Says:
    """One route: answers `one` value, or a page of `items`, or what is not described further, of the type `media`.

    `rows`: the page's items instead, one a node, when `nodes` or `zone` is given.
    """

    one: Kind | None = None
    items: Kind | None = None
    rows: Kind | None = None
    media: str = ""
    takes: Kind | None = None
    takes_media: str = ""
    query: Sequence[str] = ()
    status: int = 200
    headers: Sequence[str] = ()
    is_located: bool = False
    """Whether the answer says in `Location` where what was made is."""
    also: Mapping[int, str] = field(default_factory=dict)
    """Other statuses and what they mean; their body has the same type, and 204 none."""


ROUTES: dict[str, Says] = {
    "GET /livez": Says(media="text/plain"),
    "GET /healthz": Says(media="text/plain"),
    "GET /readyz": Says(media="text/plain", query=("verbose",), also={503: "not ready"}),
    "GET /metrics": Says(media="text/plain"),
    "GET /": Says(media="application/json"),
    "GET /openapi.json": Says(media="application/json"),
    "GET /dashboard/{file}": Says(media="*/*"),
    "GET /v1/status": Says(StatusView, rows=NodeStatusView, query=AUDIENCE),
    "GET /v1/peers": Says(items=PeerView, query=PAGE),
    "DELETE /v1/peers/{name}": Says(ForgottenView),
    "PUT /v1/peers/{name}/ban": Says(BanWord, rows=NodeBanView, takes=BanRequest, query=AUDIENCE),
    "DELETE /v1/peers/{name}/ban": Says(BanWord, rows=NodeBanView, query=AUDIENCE),
    "POST /v1/peers/{name}/recheck": Says(RecheckView),
    "GET /v1/peers/{name}/drain": Says(DrainView),
    "PUT /v1/peers/{name}/drain": Says(DrainView),
    "DELETE /v1/peers/{name}/drain": Says(DrainView),
    "GET /v1/bans": Says(items=BanView, query=PAGE),
    "GET /v1/audit": Says(items=AuditView, query=(*PAGE, "since", "deed", "text")),
    "GET /v1/rates": Says(items=RateView, query=("since", "peer")),
    "GET /v1/doctor": Says(items=Finding),
    "POST /v1/pulls": Says(PullView, takes=PullRequest, status=202, is_located=True),
    "GET /v1/pulls": Says(items=PullView, query=("state", *PAGE)),
    "GET /v1/pulls/{id}": Says(PullView),
    "DELETE /v1/pulls/{id}": Says(PullView),
    "POST /v1/pulls/{id}/pause": Says(PullView),
    "POST /v1/pulls/{id}/resume": Says(PullView),
    "GET /v1/pulls/{id}/story": Says(items=StoryEntry, query=PAGE),
    "GET /v1/pulls/{id}/events": Says(
        media="text/event-stream",
        headers=RESUMING,
        also={204: "nothing will follow: the pull has finished, and its end was told"},
    ),
    "GET /v1/events": Says(media="text/event-stream", headers=RESUMING),
    "GET /v1/plan": Says(PlanView, query=SELECTION),
    "GET /v1/estimate": Says(EstimateView, query=(*SELECTION, "link")),
    "GET /v1/models": Says(items=ModelView, rows=NodeModelsView, query=(*PAGE, *AUDIENCE)),
    f"GET {MODEL}": Says(ModelView, query=("use",)),
    f"GET {MODEL}/nodes": Says(items=NodeHoldingView, query=("revision",)),
    f"GET {MODEL}/wait": Says(WaitView, query=("revision", "timeout", *AUDIENCE)),
    f"DELETE {MODEL}": Says(RemovedView, rows=NodeRemovedView, query=("revision", *AUDIENCE)),
    f"PUT {MODEL}/pin": Says(ModelView, rows=NodePinView, query=("revision", *AUDIENCE)),
    f"DELETE {MODEL}/pin": Says(ModelView, rows=NodePinView, query=("revision", *AUDIENCE)),
    f"POST {MODEL}/verify": Says(VerifyView, query=("revision",)),
    f"POST {MODEL}/export": Says(media="application/x-tar", query=("revision",)),
    "GET /v1/limits": Says(LimitsView),
    "PUT /v1/limits": Says(LimitsView, takes=LimitsChange),
    "GET /v1/prefetch": Says(items=PrefetchView, query=PAGE),
    "POST /v1/prefetch": Says(PrefetchView, takes=PrefetchRequest, status=201, is_located=True),
    "DELETE /v1/prefetch/{id}": Says(PrefetchView),
    "POST /v1/prefetch/{id}/run": Says(PrefetchView, status=202),
    "POST /v1/gc": Says(GcView, takes=GcRequest),
    "POST /v1/import": Says(ImportedView, takes_media="application/x-tar", status=201),
    "POST /v1/adopt": Says(AdoptView, takes=AdoptRequest),
}
OPTIONAL_BODIES = frozenset({"PUT /v1/peers/{name}/ban", "POST /v1/gc"})
"""Whose body may be left out."""


UNREADABLE = "400"
"""The name of the answer that every route has, because it comes of the HTTP server itself."""


class OpenApiRoutes:
    def __init__(self) -> None:
        self._document: dict[str, Any] | None = None

    def routes(self) -> list[Route]:
        return [Route("GET", "/openapi.json", self.show, "what every route takes and answers")]

    def describe(self, routes: Iterable[Route]) -> None:
        """To be called with all routes, before the first request. Raises KeyError for one without a row in `ROUTES`."""
        self._document = document(routes)

    async def show(self, request: web.Request) -> web.Response:
        return answer(self._document)


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """OpenAPI 3.1 of these routes."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        name = f"{route.method} {route.path}"
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, name, ROUTES[name])
    kinds: set[Kind] = {ProblemView}
    for says in ROUTES.values():
        kinds.update(kind for kind in (says.one, says.items, says.rows, says.takes) if kind is not None)
    ordered = sorted(kinds, key=lambda kind: kind.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template=REFERENCE)
    return {
        "openapi": "3.1.0",
        "info": {"title": "distd", "version": __version__, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": _refusals(ROUTES),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def refusals_of(name: str) -> tuple[Refusal, ...]:
    """What the route may refuse, with its statuses."""
    return refusals(name, takes_json=ROUTES[name].takes is not None)


def _operation(route: Route, name: str, says: Says) -> dict[str, Any]:
    described = {
        "summary": route.summary,
        "parameters": [
            *(parameter(each, "path", route.path) for each in re.findall(r"{(\w+)}", route.path)),
            *(parameter(each, "query", route.path) for each in says.query),
            *(parameter(each, "header", route.path) for each in says.headers),
        ],
        "responses": {str(status): told for status, told in _answers(name, says).items()},
    }
    if says.takes or says.takes_media:
        schema = _ref(says.takes) if says.takes else {}
        media = says.takes_media or "application/json"
        described["requestBody"] = {
            "required": name not in OPTIONAL_BODIES,
            "content": {media: {"schema": schema}},
        }
    return described


def _answers(name: str, says: Says) -> dict[int, dict[str, Any]]:
    found = {says.status: _answer(says)}
    if says.is_located:
        found[says.status]["headers"] = {
            "Location": {"schema": {"type": "string", "format": "uri-reference"}}
        }
    for status, meaning in says.also.items():
        found[status] = {"description": meaning}
        if status != 204:
            found[status]["content"] = {says.media: {"schema": {}}}
    found[400] = {"$ref": f"#/components/responses/{UNREADABLE}"}
    for status, codes in by_status(refusals_of(name)).items():
        found[status] = {"$ref": f"#/components/responses/{_refusal_name(status, codes)}"}
    return found


def _refusals(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Each kind of refusal once, as the routes refer to it."""
    kinds = {
        _refusal_name(status, codes): (status, codes)
        for name in names
        for status, codes in by_status(refusals_of(name)).items()
    }
    unreadable = (
        "not HTTP, or a line or header of more than 8190 bytes: answered before any route is looked for"
    )
    found = {UNREADABLE: _response(unreadable, "text/plain", {})}
    for kind, (status, codes) in sorted(kinds.items()):
        narrowed = {"properties": {"status": {"const": status}, "code": {"enum": codes}}}
        schema = {"allOf": [_ref(ProblemView), narrowed]}
        found[kind] = _response(", ".join(codes), "application/problem+json", schema)
        if status == 400:
            found[kind]["content"] |= found[UNREADABLE]["content"]
        if status == 429:
            found[kind]["headers"] = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}}
    return found


def _refusal_name(status: int, codes: Sequence[str]) -> str:
    return f"{status}.{'.'.join(codes)}"


def _answer(says: Says) -> dict[str, Any]:
    if says.media:
        return _response("OK", says.media, {})
    choices = [_ref(says.one)] if says.one else []
    choices += [_page(kind) for kind in (says.items, says.rows) if kind]
    # Not oneOf: an empty list is of either kind.
    return _response("OK", "application/json", choices[0] if len(choices) == 1 else {"anyOf": choices})


def _response(description: str, media: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {media: {"schema": schema}}}


def _ref(kind: Kind) -> dict[str, Any]:
    return {"$ref": REFERENCE.format(name=kind.__name__)}


def _page(kind: Kind) -> dict[str, Any]:
    following = {"type": ["string", "null"], "description": "the cursor of the next page; null on the last"}
    return {
        "type": "object",
        "required": ["items", "next"],
        "properties": {"items": {"type": "array", "items": _ref(kind)}, "next": following},
    }
