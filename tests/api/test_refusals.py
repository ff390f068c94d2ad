"""Every refusal that the OpenAPI document names can be had: each is provoked, on each route that has it."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from distd import prefetch
from distd.api import event_routes
from distd.api.bodies import BODY_BYTES_MAX
from distd.api.openapi import ROUTES, refusals_of
from distd.api.server import serve
from distd.core import bans
from distd.core.refs import Repo
from distd.errors import (
    HTTP_STATUS,
    AccessDenied,
    Conflict,
    DistdError,
    FileNotFound,
    HashMismatch,
    HubUnreachable,
    NoSpace,
    RateLimited,
    RepoNotFound,
    RevisionNotFound,
)
from distd.nodes import waiting
from tests.api.memory import MemoryDaemon, peer

Client = aiohttp.ClientSession
HUB = "https://huggingface.co"
MODEL = "/v1/models/{type}/{org}/{name}"
THERE = {"type": "model", "org": "acme", "name": "tiny", "id": "p0001", "file": "app.js"}
NOWHERE = {"type": "model", "org": "acme", "name": "nothing", "id": "p9999", "file": "no.js"}
BODIES: dict[str, Any] = {
    "POST /v1/pulls": {"repo": "acme/tiny"},
    "POST /v1/prefetch": {"repo": "acme/tiny"},
    "PUT /v1/limits": {},
    "POST /v1/adopt": {"path": "/cache"},
}
OF_ALL = {(500, "internal")}
"""A bug, in any route; tests/api/test_problems.py plants one."""
SAID: dict[str, DistdError] = {
    error.code: error
    for error in (
        RepoNotFound("acme/tiny", HUB, False),
        RevisionNotFound("acme/tiny", "main"),
        FileNotFound("acme/tiny", "main", "a.bin"),
        AccessDenied("acme/tiny", "it is gated", "accept its terms"),
        HubUnreachable(HUB, "refused"),
        RateLimited(HUB, 7.0),
        HashMismatch("a.bin", "aa", "bb"),
        NoSpace(10, 5, 0, "/var/lib/distd"),
        Conflict("1000 pulls are unfinished already"),
    )
}


def url_of(name: str, values: dict[str, str]) -> str:
    path = re.sub(r"{(\w+)}", lambda found: values[found[1]], name.partition(" ")[2])
    if name in ("GET /v1/plan", "GET /v1/estimate"):
        path += "?repo=acme/tiny"
    return path


async def answered(client: Client, name: str, values: dict[str, str] = THERE, **more: Any) -> tuple[int, str]:
    """Status and code of a refusal, in the shape that all have."""
    more.setdefault("json", BODIES.get(name))
    async with client.request(name.partition(" ")[0], url_of(name, values), **more) as response:
        body = await response.read()
        if response.status == 429:
            assert int(response.headers["Retry-After"]) >= 1
        assert response.content_type == "application/problem+json", (response.status, body)
        return response.status, (await response.json(content_type=None))["code"]


def all_of(status: int, code: str) -> list[str]:
    return [name for name in ROUTES if (status, code) in refusals_of(name)]


@pytest.fixture
async def guarded(daemon: MemoryDaemon) -> AsyncIterator[Client]:
    """Of a daemon with a token, which it does not send."""
    async with serve(daemon.app(token="s3cret"), "127.0.0.1:0") as bound, Client(bound.url) as session:
        yield session


async def test_without_the_token_exactly_what_is_said_to_need_it_is_refused(guarded: Client) -> None:
    assert len(all_of(401, "not_authenticated")) > 30
    for name in ROUTES:
        if (401, "not_authenticated") in refusals_of(name):
            assert await answered(guarded, name) == (401, "not_authenticated"), name
        else:
            async with guarded.request(*name.split(" ")[:1], url_of(name, THERE)) as response:
                assert response.status == 200, name


async def test_a_page_that_calls_this_node_by_its_own_name_is_refused_everywhere(client: Client) -> None:
    assert all_of(403, "access_denied") == list(ROUTES)
    for name in ROUTES:
        assert await answered(client, name, headers={"Host": "evil.example"}) == (403, "access_denied"), name


async def test_what_is_no_json_or_too_long_is_refused_where_a_body_is_taken(client: Client) -> None:
    takers = [name for name, says in ROUTES.items() if says.takes]
    assert all_of(400, "invalid_request") == all_of(413, "invalid_request") == takers
    for name in takers:
        for body, status in ((b"{", 400), (b" " * (BODY_BYTES_MAX + 1), 413)):
            assert await answered(client, name, json=None, data=io.BytesIO(body)) == (
                status,
                "invalid_request",
            ), name


async def test_what_is_nowhere_is_not_found(client: Client) -> None:
    for name in all_of(404, "not_found"):
        assert await answered(client, name, NOWHERE) == (404, "not_found"), name


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (name, code)
        for name in ("GET /v1/plan", "GET /v1/estimate", "POST /v1/import", "POST /v1/pulls")
        for status, code in refusals_of(name)
        if code in SAID
    ],
)
async def test_what_the_hub_or_the_disk_says_is_passed_on_with_its_status(
    client: Client, daemon: MemoryDaemon, name: str, code: str
) -> None:
    daemon.pulls.refusal = daemon.archives.refusal = SAID[code]
    assert await answered(client, name) == (HTTP_STATUS[code], code)


async def test_what_the_state_of_things_forbids_is_a_conflict(
    client: Client, daemon: MemoryDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client.post("/v1/pulls", json={"repo": "acme/tiny"}) as response:
        assert response.status == 202
    daemon.pulls.complete("p0001")
    daemon.models.hold(Repo("model", "acme/tiny"))
    await daemon.models.pin(Repo("model", "acme/tiny"), None, True)
    daemon.node.others = [peer("gpu-02"), peer("gpu-03")]
    await daemon.peering.ban("gpu-03", "", "alice")
    (declared,) = daemon.prefetch.list()
    for module, bound in ((prefetch, "ENTRIES_MAX"), (waiting, "WAITERS_MAX"), (bans, "BANS_MAX")):
        monkeypatch.setattr(module, bound, 0)
    conflicts = all_of(409, "conflict")
    assert len(conflicts) == 14
    for name in conflicts:
        values = THERE | {"id": declared.id} if "prefetch" in name else THERE
        values = values | {"name": "gpu-02"} if "peers" in name else values
        if name == "POST /v1/pulls":
            continue  # by what the port says, above
        if name in ("GET /v1/peers/{name}/drain", "DELETE /v1/peers/{name}/drain"):
            continue  # what another node refuses, which there is none of here
        if name == "POST /v1/peers/{name}/recheck":
            values = values | {"name": "gpu-03"}  # banned by a person, which nothing but a person undoes
        if name == "PUT /v1/peers/{name}/drain":
            values = values | {"name": "gpu-01"}
        assert await answered(client, name, values) == (409, "conflict"), name


async def test_what_is_not_there_in_time_has_timed_out(client: Client) -> None:
    assert all_of(408, "timed_out") == [f"GET {MODEL}/wait"]
    async with client.get(f"{url_of(f'GET {MODEL}/wait', NOWHERE)}?timeout=0s") as response:
        assert (response.status, (await response.json(content_type=None))["code"]) == (408, "timed_out")


async def test_streams_beyond_what_there_may_be_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        event_routes.EventRoutes.__init__, "__kwdefaults__", {"streams_max": 0, "send_timeout_s": 1}
    )
    daemon = MemoryDaemon()
    async with serve(daemon.app(), "127.0.0.1:0") as bound, Client(bound.url) as client:
        for name in ("GET /v1/events", "GET /v1/pulls/{id}/events"):
            assert await answered(client, name) == (429, "rate_limited")


def test_every_refusal_that_is_named_is_provoked_here() -> None:
    provoked = {401, 403, 400, 413, 422, 404, 409, 408}
    left = {
        (name, status, code)
        for name in ROUTES
        for status, code in refusals_of(name)
        if status not in provoked and (status, code) not in OF_ALL
    }
    hub = ("GET /v1/plan", "GET /v1/estimate", "POST /v1/import")
    assert {name for name, _, _ in left} == {*hub, "GET /v1/events", "GET /v1/pulls/{id}/events"}
    assert {code for name, _, code in left if name in hub} <= SAID.keys()
