"""Who may do what: token, read-only listener, unix socket, and pages of other sites."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from distd.api.access import ACCESS
from distd.api.server import serve
from tests.api.memory import MemoryDaemon

BODY = {"repo": "acme/tiny"}


class Listening:
    """One application behind TCP and a unix socket, and clients of both."""

    def __init__(self, daemon: MemoryDaemon, tmp_path: Path, *, writable: bool, token: str) -> None:
        self.app = daemon.app(writable=writable, token=token)
        self._socket = str(tmp_path / "d.sock")
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Listening:
        bound = await self._stack.enter_async_context(serve(self.app, "127.0.0.1:0", self._socket))
        enter = self._stack.enter_async_context
        self.tcp = await enter(aiohttp.ClientSession(bound.url))
        connector = aiohttp.UnixConnector(self._socket)
        self.unix = await enter(aiohttp.ClientSession("http://anything", connector=connector))
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()


async def status(client: aiohttp.ClientSession, method: str, path: str, **options: object) -> int:
    async with client.request(method, path, **options) as response:  # type: ignore[arg-type]  # passed through
        if response.status >= 400 and method != "HEAD":
            assert response.content_type in ("application/problem+json", "text/plain")
        return response.status


async def test_a_token_guards_everything_but_health(daemon: MemoryDaemon, tmp_path: Path) -> None:
    async with Listening(daemon, tmp_path, writable=True, token="s3cret") as api:
        for path in ("/livez", "/healthz", "/readyz", "/readyz?verbose"):
            assert await status(api.tcp, "GET", path) == 200
        for path in ("/", "/dashboard/app.js", "/dashboard/style.css"):
            assert await status(api.tcp, "GET", path) == 200
        assert await status(api.tcp, "POST", "/", json=BODY) == 401
        for path in ("/v1/status", "/v1/pulls", "/nowhere", "/v1/doctor", "/livez/"):
            assert await status(api.tcp, "GET", path) == 401
            assert await status(api.tcp, "HEAD", path) == 401
        assert await status(api.tcp, "POST", "/v1/pulls", json=BODY) == 401
        right = {"Authorization": "Bearer s3cret"}
        assert await status(api.tcp, "GET", "/v1/status", headers=right) == 200
        assert await status(api.tcp, "POST", "/v1/pulls", json=BODY, headers=right) == 202


@pytest.mark.parametrize(
    "header", ["Bearer wrong", "Bearer", "Bearer s3cret2", "Basic s3cret", "s3cret", "Bearer é"]
)
async def test_a_wrong_token_is_refused(daemon: MemoryDaemon, tmp_path: Path, header: str) -> None:
    async with (
        Listening(daemon, tmp_path, writable=True, token="s3cret") as api,
        api.tcp.get("/v1/status", headers={"Authorization": header}) as response,
    ):
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert (await response.json(content_type=None))["code"] == "not_authenticated"


async def test_a_token_replaced_while_serving_holds_at_once(daemon: MemoryDaemon, tmp_path: Path) -> None:
    async with Listening(daemon, tmp_path, writable=False, token="old") as api:
        api.app[ACCESS].replace_token("new")
        assert await status(api.tcp, "GET", "/v1/status", headers={"Authorization": "Bearer old"}) == 401
        assert await status(api.tcp, "GET", "/v1/status", headers={"Authorization": "Bearer new"}) == 200


async def test_a_listener_that_is_not_writable_answers_but_changes_nothing(
    daemon: MemoryDaemon, tmp_path: Path
) -> None:
    async with Listening(daemon, tmp_path, writable=False, token="") as api:
        assert await status(api.tcp, "GET", "/v1/status") == 200
        assert await status(api.tcp, "GET", "/v1/plan?repo=acme/tiny") == 200
        for method, path in [
            ("POST", "/v1/pulls"),
            ("DELETE", "/v1/pulls/p1"),
            ("PUT", "/v1/models/model/acme/tiny/pin"),
            ("DELETE", "/v1/models/model/acme/tiny"),
            ("POST", "/v1/models/model/acme/tiny/verify"),
        ]:
            assert await status(api.tcp, method, path) == 403
        assert daemon.pulls.requests == []
        assert await status(api.unix, "POST", "/v1/pulls", json=BODY) == 202


async def test_the_unix_socket_needs_no_token_and_no_certain_host(
    daemon: MemoryDaemon, tmp_path: Path
) -> None:
    async with Listening(daemon, tmp_path, writable=False, token="s3cret") as api:
        assert await status(api.unix, "POST", "/v1/pulls", json=BODY) == 202


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("https://evil.example", 403),
        ("null", 403),
        ("http://localhost:1", 403),
        ("http://[", 403),
        ("http://gpu-01:7070", 202),
        ("http://GPU-01:7070", 202),
    ],
)
async def test_a_page_of_another_site_cannot_change_anything(
    daemon: MemoryDaemon, tmp_path: Path, origin: str, expected: int
) -> None:
    async with Listening(daemon, tmp_path, writable=True, token="") as api:
        headers = {"Origin": origin, "Host": "gpu-01:7070", "Content-Type": "text/plain"}
        assert await status(api.tcp, "POST", "/v1/pulls", json=BODY, headers=headers) == expected
        assert await status(api.tcp, "GET", "/v1/pulls", headers=headers) == 200


@pytest.mark.parametrize(
    ("site", "mode", "reading", "changing"),
    [
        ("cross-site", "no-cors", 403, 403),
        ("cross-site", "cors", 403, 403),
        ("Cross-Site", "cors", 403, 403),
        ("same-site", "cors", 403, 403),
        ("cross-site", "navigate", 200, 403),
        ("same-origin", "cors", 200, 202),
        ("none", "navigate", 200, 202),
    ],
)
async def test_a_browser_that_names_another_site_may_only_follow_a_link(
    daemon: MemoryDaemon, tmp_path: Path, site: str, mode: str, reading: int, changing: int
) -> None:
    async with Listening(daemon, tmp_path, writable=True, token="") as api:
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}
        assert await status(api.tcp, "GET", "/v1/status", headers=headers) == reading
        assert await status(api.tcp, "POST", "/v1/pulls", json=BODY, headers=headers) == changing
        assert bool(daemon.pulls.requests) == (changing == 202)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:7070", 200),
        ("[::1]:7070", 200),
        ("192.168.1.2", 200),
        ("localhost", 200),
        ("LOCALHOST:80", 200),
        ("gpu-01:7070", 200),
        ("evil.example", 403),
        ("evil.example:7070", 403),
        ("gpu-01.evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("[", 403),
    ],
)
async def test_on_loopback_a_foreign_host_name_is_refused(
    daemon: MemoryDaemon, tmp_path: Path, host: str, expected: int
) -> None:
    async with Listening(daemon, tmp_path, writable=True, token="") as api:
        assert await status(api.tcp, "GET", "/v1/status", headers={"Host": host}) == expected
