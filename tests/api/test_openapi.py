"""The OpenAPI document and the daemon: each route is described as it is served."""

from __future__ import annotations

import re
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distd.api import parameters
from distd.api.openapi import ROUTES, Says, refusals_of
from distd.api.schema import ProblemView
from distd.core.event_log import EventLog
from distd.core.refs import Repo, parse_repo, parse_revision
from distd.errors import InvalidRequest
from tests.api.memory import MemoryDaemon

Client = aiohttp.ClientSession
VALUES = {"type": "model", "org": "acme", "name": "tiny", "id": "p0001", "file": "app.js"}


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


CHECKED = sorted(name for name in ROUTES if (422, "invalid_request") in refusals_of(name))


async def test_only_what_probes_and_browsers_ask_takes_any_parameter(client: Client) -> None:
    unchecked = ROUTES.keys() - set(CHECKED)
    assert len(unchecked) == 7
    for name in unchecked:
        async with client.get(filled(name.split()[1]), params={"zzqqxx": "1"}) as response:
            assert response.status == 200, name


@pytest.mark.parametrize("name", CHECKED)
async def test_the_described_parameters_are_those_that_the_route_takes(
    client: Client, daemon: MemoryDaemon, name: str
) -> None:
    daemon.models.hold(Repo("model", "acme/tiny"))
    method, path = name.split()
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
    path = path.replace("/peers/{name}", "/peers/gpu-01")
    async with client.get(filled(path), params=query) as response:
        body = await response.read()
    assert (response.status, response.content_type) == (says.status, "application/json"), body
    kind = says.one or page_of(says.items)  # type: ignore[arg-type]  # one of the two is there
    msgspec.json.decode(body, type=kind)


def matches(schema: dict[str, Any], value: str) -> bool:
    return (
        re.search(schema.get("pattern", ""), value) is not None
        and schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
        and value in schema.get("enum", [value])
    )


async def schemas_of(client: Client, name: str) -> dict[str, dict[str, Any]]:
    method, path = name.split()
    parameters = (await described(client))["paths"][path][method.lower()]["parameters"]
    return {each["name"]: each["schema"] for each in parameters}


REPOS = st.from_regex(r"\A[a-zA-Z0-9._-]{1,5}(/[a-zA-Z0-9._-]{1,5}){0,2}\Z") | st.sampled_from(
    ["gpt2", "acme/tiny", "a" * 96, "a" * 97, "b/" + "a" * 96, "-a/b", "a/b-", "a.b/c_d", "a/ä", "a b", ""]
)


@given(REPOS)
@settings(max_examples=200)
def test_the_pattern_of_a_repo_lets_through_whatever_the_daemon_takes(name: str) -> None:
    try:
        repo = parse_repo(name)
    except InvalidRequest:
        # The pattern does not tell what else is said in words: no two dashes or dots, no .git at the end.
        said = (
            "--" in name or ".." in name or name.endswith(".git") or len(max(name.split("/"), key=len)) > 96
        )
        assert said or not matches(parameters.REPO, name)
        return
    assert matches(parameters.REPO, name)
    in_path = parameters.parameter("name", "path", "/v1/models/{type}/{org}/{name}")["schema"]
    assert matches(parameters.SCHEMAS["org"], repo.org)
    assert matches(in_path, repo.name)


@given(
    st.text(alphabet="ab01/.+@=-_ ä", max_size=8)
    | st.sampled_from(["refs/pr/1", "v1.0", "a" * 250, "a" * 251])
)
@settings(max_examples=200)
def test_the_pattern_of_a_revision_lets_through_whatever_the_daemon_takes(revision: str) -> None:
    try:
        parse_revision(revision)
    except InvalidRequest:
        return
    assert matches(parameters.SCHEMAS["revision"], revision)


async def test_ids_are_as_their_patterns_say(client: Client, daemon: MemoryDaemon) -> None:
    """Those of pulls are held to it by tests/daemon, whose daemons give them."""
    entry = (await schemas_of(client, "POST /v1/prefetch/{id}/run"))["id"]
    assert all(matches(entry, view.id) for view in daemon.prefetch.list())
    event = (await schemas_of(client, "GET /v1/events"))["Last-Event-ID"]
    assert not any(each["pattern"] == "" for each in (entry, event) if "pattern" in each)
    assert matches(event, EventLog("5d1f0a3c").id_of(42))


@pytest.mark.parametrize("name", ["GET /v1/events", "GET /v1/pulls/{id}/events"])
async def test_streams_say_that_they_go_on_after_an_event(
    client: Client, daemon: MemoryDaemon, name: str
) -> None:
    path = name.split()[1]
    (header,) = (
        each
        for each in (await described(client))["paths"][path]["get"]["parameters"]
        if each["in"] == "header"
    )
    assert (header["name"], header["required"]) == ("Last-Event-ID", False)
