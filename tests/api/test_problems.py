"""Whatever goes wrong, the answer is a problem with one of the contract's codes."""

from __future__ import annotations

import asyncio
import json
import logging

import aiohttp
import pytest

from distd.api.bodies import BODY_BYTES_MAX
from distd.api.schema import PullView
from distd.errors import HTTP_STATUS, RateLimited
from tests.api.memory import MemoryDaemon

Client = aiohttp.ClientSession


async def problem_of(response: aiohttp.ClientResponse) -> dict[str, object]:
    assert response.content_type == "application/problem+json"
    problem = json.loads(await response.read())
    assert set(problem) == {"type", "title", "status", "detail", "code", "retryable"}
    assert problem["status"] == response.status
    assert problem["code"] in HTTP_STATUS
    assert problem["type"] == f"urn:distd:problem:{problem['code']}"
    return problem


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b'{"repo": "a/\xff"}', 400, "not JSON"),
        (b"[" * 100_000, 422, "Expected `object`"),
        (b'{"repo": ' + b"[" * 100_000, 422, "$.repo"),
        (b"[]", 422, "Expected `object`, got `array`"),
        (b"{}", 422, "repo"),
        (b'{"repo": 1}', 422, "$.repo"),
        (b'{"repo": ""}', 422, "$.repo"),
        (b'{"repo": "a/b", "priority": "1"}', 422, "$.priority"),
        (b'{"repo": "a/b", "priority": 101}', 422, "<= 100"),
        (b'{"repo": "a/b", "include": "*.json"}', 422, "$.include"),
        (b'{"repo": "a/b", "weigths": "all"}', 422, "did you mean 'weights'?"),
        (b'{"repo": "a/b", "weights": "best"}', 422, "one of auto, all, safetensors, gguf, bin, pth"),
        (b'{"repo": "a/b", "type": "models"}', 422, "one of model, dataset, space"),
        (b'{"repo": "../b"}', 422, "not a repo name"),
        (json.dumps({"repo": "a/b", "include": ["*"] * 101}).encode(), 422, "<= 100"),
    ],
)
async def test_a_wrong_body_says_what_is_wrong(client: Client, body: bytes, status: int, says: str) -> None:
    async with client.post("/v1/pulls", data=body) as response:
        assert response.status == status
        problem = await problem_of(response)
    assert problem["code"] == "invalid_request"
    assert says in str(problem["detail"])


async def test_a_body_that_announces_too_much_is_refused_before_it_is_sent(
    client: Client, daemon: MemoryDaemon
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", client._base_url.port)  # type: ignore[union-attr]  # the fixture sets it
    head = f"POST /v1/pulls HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BODY_BYTES_MAX + 1}\r\n\r\n"
    writer.write(head.encode())
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in answer
    writer.close()
    await writer.wait_closed()


async def test_a_chunked_body_is_cut_off_at_the_limit(client: Client) -> None:
    async def endless() -> object:
        for _ in range(40):
            yield b" " * 65536

    async with client.post("/v1/pulls", data=endless()) as response:
        assert response.status == 413
        await problem_of(response)


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("GET", "/nowhere", 404, "no route /nowhere"),
        ("GET", "/v1/pulls/", 404, "no route"),
        ("GET", "/v1/pulls/p9", 404, "no pull p9"),
        ("PATCH", "/v1/pulls", 405, "it takes GET, HEAD, POST"),
        ("OPTIONS", "/v1/pulls", 405, "it takes"),
        ("GET", "/v1/pulls?limit=0", 422, "1 to 1000"),
        ("GET", "/v1/pulls?limit=1001", 422, "1 to 1000"),
        ("GET", "/v1/pulls?limit=-1", 422, "1 to 1000"),
        ("GET", "/v1/pulls?limit=1e2", 422, "1 to 1000"),
        ("GET", "/v1/pulls?limit=٣", 422, "1 to 1000"),
        ("GET", "/v1/pulls?limit=", 422, "limit is empty"),
        ("GET", "/v1/pulls?limit=1&limit=2", 422, "given 2 times"),
        ("GET", "/v1/pulls?limt=1", 422, "did you mean 'limit'?"),
        ("GET", "/v1/pulls?cursor=x", 422, "cursor is not one"),
        ("GET", "/v1/pulls?cursor=%C3%A9", 422, "cursor is not one"),
        ("GET", "/v1/pulls?cursor=WzEsMl0%3D", 422, "cursor is not one"),
        ("GET", "/v1/pulls?cursor=WyJtb2RlbHMiLCAiYSJd", 422, "cursor is not one"),
        ("GET", "/v1/pulls?cursor=" + "A" * 2000, 422, "cursor is not one"),
        ("GET", "/v1/doctor?x=1", 422, "takes none"),
        ("GET", "/v1/plan", 422, "repo"),
        ("GET", "/v1/plan?repo=a/b&weights=best", 422, "one of auto"),
        ("GET", "/v1/plan?repo=a/b&repo=c/d", 422, "given 2 times"),
        ("GET", "/v1/plan?repo=a/b&pin=true", 422, "unknown parameter"),
    ],
)
async def test_a_wrong_request_is_a_problem(
    client: Client, method: str, path: str, status: int, says: str
) -> None:
    async with client.request(method, path) as response:
        problem = await problem_of(response)
        assert response.status == status
        assert says in str(problem["detail"])
        assert ("Allow" in response.headers) == (status == 405)


async def test_a_cursor_of_another_list_is_refused(client: Client, daemon: MemoryDaemon) -> None:
    for priority in range(2):
        async with client.post("/v1/pulls", json={"repo": "acme/tiny", "priority": priority}):
            pass
    async with client.get("/v1/pulls?limit=1") as response:
        cursor = (await response.json())["next"]
    async with client.get("/v1/models", params={"cursor": cursor}) as response:
        assert response.status == 422


async def test_a_bug_is_logged_with_its_traceback_and_answered_without_details(
    client: Client, daemon: MemoryDaemon, caplog: pytest.LogCaptureFixture
) -> None:
    def break_it(pull: PullView) -> None:
        raise RuntimeError("the secret cause")

    daemon.pulls.on_submit = break_it
    with caplog.at_level(logging.ERROR, "distd.api"):
        async with client.post("/v1/pulls", json={"repo": "acme/tiny"}) as response:
            assert response.status == 500
            problem = await problem_of(response)
    assert problem["code"] == "internal"
    assert "secret" not in json.dumps(problem)
    (record,) = caplog.records
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "the secret cause"
    assert str(problem["detail"]).split()[-1] in record.getMessage()


async def test_a_rate_limit_says_when_to_come_back(client: Client, daemon: MemoryDaemon) -> None:
    daemon.pulls.refusal = RateLimited("https://huggingface.co", 41.2)
    async with client.get("/v1/plan", params={"repo": "acme/tiny"}) as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "42")
        assert (await problem_of(response))["retryable"] is True
