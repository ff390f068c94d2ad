"""Event streams: what a client is told, where it goes on, and that neither slow nor many clients cost more than they may."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import aiohttp
import pytest

from distd.api.access import ACCESS
from distd.api.event_routes import EventRoutes
from distd.api.server import serve
from distd.core.event_log import EventLog
from distd.pulls.changes import PullChanges
from tests.api.memory import MemoryDaemon

Client = aiohttp.ClientSession
PATIENCE_S = 20.0
"""For what takes milliseconds, on a machine that does something else."""


@pytest.fixture(autouse=True)
async def _watched(daemon: MemoryDaemon) -> AsyncIterator[None]:
    watching = asyncio.create_task(daemon.changes.watch())
    yield
    watching.cancel()


class Told(NamedTuple):
    id: str
    kind: str
    data: Any


class Stream:
    """Reads events as a browser does; comments are skipped."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def next(self) -> Told | None:
        """None at the end of the stream."""
        async with asyncio.timeout(PATIENCE_S):
            fields: dict[str, str] = {}
            async for line in self._response.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                elif "data" in fields:
                    return Told(fields["id"], fields["event"], json.loads(fields["data"]))
                else:
                    fields.clear()
        return None

    async def until(self, state: str) -> Told:
        while (told := await self.next()) is not None:
            if told.kind == "pull" and told.data["state"] == state:
                return told
        raise AssertionError(f"the stream ended before {state}")


@contextlib.asynccontextmanager
async def stream(client: Client, path: str, last: str | None = None) -> AsyncIterator[Stream]:
    headers = {"Last-Event-ID": last} if last is not None else {}
    async with client.get(path, headers=headers) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        yield Stream(response)


async def submitted(client: Client, repo: str = "acme/tiny") -> str:
    async with client.post("/v1/pulls", json={"repo": repo}) as response:
        assert response.status == 202
        id_: str = (await response.json())["id"]
        return id_


async def test_a_stream_begins_with_what_there_is_and_goes_on_with_what_changes(
    client: Client, daemon: MemoryDaemon
) -> None:
    pull = await submitted(client)
    async with stream(client, "/v1/events") as events:
        first = await events.next()
        assert first is not None
        assert (first.kind, first.data["reason"]) == ("reset", "start")
        assert [view["id"] for view in first.data["pulls"]] == [pull]
        daemon.pulls.download(pull, 0.5)
        told = await events.until("downloading")
        assert told.data["bytes_done"] > 0
        assert told.data["files"] == []
        daemon.pulls.complete(pull)
        assert (await events.until("complete")).data["snapshot_path"]


async def test_progress_is_told_without_a_change_of_state_and_silence_where_nothing_changes(
    client: Client, daemon: MemoryDaemon
) -> None:
    pull = await submitted(client)
    async with stream(client, "/v1/events") as events:
        await events.next()
        daemon.pulls.download(pull, 0.1)
        await events.until("downloading")
        daemon.pulls.download(pull, 0.2)
        told = await events.next()
        assert told is not None
        assert told.data["bytes_done"] == daemon.pulls.get(pull).bytes_done
        before = daemon.log.last_seq
        await asyncio.sleep(0.2)  # ten rounds
        assert daemon.log.last_seq == before


async def test_a_client_that_comes_back_gets_what_it_missed(client: Client, daemon: MemoryDaemon) -> None:
    pull = await submitted(client)
    async with stream(client, "/v1/events") as events:
        await events.next()
        daemon.pulls.download(pull, 0.5)
        had = await events.until("downloading")
    daemon.pulls.complete(pull)
    async with stream(client, "/v1/events", last=had.id) as events:
        assert (await events.until("complete")).data["id"] == pull


@pytest.mark.parametrize(
    ("last", "reason"), [("run-1", "gap"), ("before-7", "restart"), ("; drop", "restart")]
)
async def test_a_client_that_cannot_go_on_where_it_was_is_told_so_and_gets_everything_anew(
    client: Client, daemon: MemoryDaemon, last: str, reason: str
) -> None:
    pull = await submitted(client)
    daemon.log.append("pull", pull, "{}")
    async with stream(client, "/v1/events", last=last) as events:
        first = await events.next()
        assert first is not None
        assert (first.kind, first.data["reason"]) == ("reset", reason)
        assert [view["id"] for view in first.data["pulls"]] == [pull]


async def test_the_stream_of_a_pull_tells_of_that_pull_and_ends_with_it(
    client: Client, daemon: MemoryDaemon
) -> None:
    pull, other = await submitted(client), await submitted(client, "gpt2")
    async with stream(client, f"/v1/pulls/{pull}/events") as events:
        first = await events.next()
        assert first is not None
        assert [view["id"] for view in first.data["pulls"]] == [pull]
        daemon.pulls.download(other, 0.5)
        daemon.pulls.complete(pull)
        last = await events.until("complete")
        assert last.data["id"] == pull
        assert await events.next() is None
    # An EventSource comes back by itself, and is told to stay away.
    async with client.get(f"/v1/pulls/{pull}/events", headers={"Last-Event-ID": last.id}) as response:
        assert response.status == 204
    async with stream(client, f"/v1/pulls/{pull}/events") as events:
        only = await events.next()
        assert only is not None
        assert only.data["pulls"][0]["state"] == "complete"
        assert await events.next() is None


async def test_an_unknown_pull_has_no_stream(client: Client) -> None:
    async with client.get("/v1/pulls/nope/events") as response:
        assert response.status == 404
        assert response.content_type == "application/problem+json"


async def test_a_head_request_opens_no_stream(client: Client, daemon: MemoryDaemon) -> None:
    async with client.head("/v1/events") as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")


async def test_streams_end_with_the_token_that_they_were_opened_with(daemon: MemoryDaemon) -> None:
    app = daemon.app(token="old")
    async with (
        serve(app, "127.0.0.1:0") as bound,
        Client(bound.url, headers={"Authorization": "Bearer old"}) as client,
        stream(client, "/v1/events") as events,
    ):
        await events.next()
        app[ACCESS].replace_token("old")
        app[ACCESS].replace_token("new")
        assert await events.next() is None


async def test_the_daemon_does_not_wait_for_open_streams_when_it_stops(daemon: MemoryDaemon) -> None:
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client())
        async with serve(daemon.app(), "127.0.0.1:0") as bound:
            events = await stack.enter_async_context(stream(client, bound.url + "/v1/events"))
            await events.next()
        assert await events.next() is None


def served(daemon: MemoryDaemon, routes: EventRoutes) -> aiohttp.web.Application:
    app = daemon.app()
    other = aiohttp.web.Application(middlewares=[*app.middlewares])
    other[ACCESS] = app[ACCESS]
    for route in routes.routes():
        other.router.add_route(route.method, route.path, route.handler)
    return other


async def test_streams_are_bounded_in_number_and_a_place_becomes_free(daemon: MemoryDaemon) -> None:
    app = served(daemon, EventRoutes(daemon.changes, streams_max=2))
    async with serve(app, "127.0.0.1:0") as bound, Client(bound.url) as client:
        async with stream(client, "/v1/events") as one, stream(client, "/v1/events"):
            await one.next()
            async with client.get("/v1/events") as refused:
                assert refused.status == 429
                assert int(refused.headers["Retry-After"]) > 0
                assert (await refused.json(content_type=None))["code"] == "rate_limited"
        pull = await submitted_directly(daemon)
        async with asyncio.timeout(PATIENCE_S):
            while True:  # a client that left is noticed when it is written to
                daemon.pulls.advance(pull, bytes_done=daemon.pulls.get(pull).bytes_done + 1)
                async with client.get("/v1/events") as response:
                    if response.status == 200:
                        return
                await asyncio.sleep(0.02)


async def submitted_directly(daemon: MemoryDaemon) -> str:
    from distd.api.schema import PullRequest

    return (await daemon.pulls.submit(PullRequest("acme/tiny"))).id


async def test_a_client_that_does_not_read_is_cut_off_and_costs_no_memory(daemon: MemoryDaemon) -> None:
    log = EventLog("run", events_max=4)
    changes = PullChanges(lambda: daemon.pulls, log)
    app = served(daemon, EventRoutes(changes, send_timeout_s=0.2))
    async with serve(app, "127.0.0.1:0") as bound:
        host, port = bound.tcp[0].split(":")
        with socket.socket() as lazy:
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            lazy.connect((host, int(port)))
            lazy.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            async with asyncio.timeout(PATIENCE_S):
                while not changes.listeners:  # noqa: ASYNC110  # there is nothing to wait on
                    await asyncio.sleep(0.01)
                while changes.listeners:
                    log.append("pull", "x", "x" * 1_000_000)
                    changes.tell_listeners()
                    await asyncio.sleep(0.01)
        assert len(log) <= 4
