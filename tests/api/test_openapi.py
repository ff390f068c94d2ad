"""The OpenAPI document and the daemon: each route is described as it is served."""

from __future__ import annotations

import re
from typing import Any

import aiohttp
import msgspec
import pytest

from distd.api.openapi import ROUTES, Says
from distd.api.schema import ProblemView
from distd.core.refs import Repo
from tests.api.memory import MemoryDaemon

Client = aiohttp.ClientSession
VALUES = {"type": "model", "org": "acme", "name": "tiny", "id": "p0001", "file": "app.js"}
UNCHECKED = {"GET /livez", "GET /healthz", "GET /readyz", "GET /metrics", "GET /", "GET /openapi.json"}
"""Take any query, as probes and browsers may add one."""


def filled(path: str) -> str:
    return re.sub(r"{(\w+)}", lambda found: VALUES[found[1]], path)


async def described(client: Client) -> dict[str, Any]:
    async with client.get("/openapi.json") as response:
        assert response.status == 200
        found: dict[str, Any] = await response.json()
        return found


async def test_every_served_route_is_described_and_every_described_route_served(client: Client) -> None:
    paths = (await described(client))["paths"]
    of_document = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    async with client.get("/") as response:
        served = {f"{route['method']} {route['path']}" for route in (await response.json())["routes"]}
    assert of_document == served == set(ROUTES)


async def test_every_reference_leads_somewhere(client: Client) -> None:
    found = await described(client)
    references = set(re.findall(r'"\$ref":"#/([^"]+)"', msgspec.json.encode(found).decode()))
    assert len(references) > 20
    for reference in references:
        place: Any = found
        for step in reference.split("/"):
            place = place[step]
        assert place


@pytest.mark.parametrize("name", sorted(ROUTES.keys() - UNCHECKED))
async def test_the_described_parameters_are_those_that_the_route_takes(
    client: Client, daemon: MemoryDaemon, name: str
) -> None:
    daemon.models.hold(Repo("model", "acme/tiny"))
    method, path = name.split()
    if "dashboard" in path:
        return
    async with client.request(method, filled(path), params={"zzqqxx": "1"}) as response:
        problem = msgspec.json.decode(await response.read(), type=ProblemView)
    assert response.status == 422, problem
    _, _, known = problem.detail.partition(": known are ")
    assert tuple(known.split(", ") if known else ()) == tuple(ROUTES[name].query), problem.detail


def page_of(kind: type[msgspec.Struct]) -> Any:
    return msgspec.defstruct("Page", [("items", list[kind]), ("next", str | None)])  # type: ignore[valid-type]  # at run time


@pytest.mark.parametrize("name", [name for name, says in ROUTES.items() if says.one or says.items])
async def test_answers_are_of_the_described_type_and_status(
    client: Client, daemon: MemoryDaemon, name: str
) -> None:
    daemon.models.hold(Repo("model", "acme/tiny"))
    async with client.post("/v1/pulls", json={"repo": "acme/tiny"}) as response:
        assert response.status == ROUTES["POST /v1/pulls"].status
    method, path = name.split()
    if method != "GET":
        return
    says: Says = ROUTES[name]
    query = {"repo": "acme/tiny"} if "repo" in says.query else {}
    async with client.get(filled(path), params=query) as response:
        body = await response.read()
    assert (response.status, response.content_type) == (says.status, "application/json"), body
    kind = says.one or page_of(says.items)  # type: ignore[arg-type]  # one of the two is there
    msgspec.json.decode(body, type=kind)
