"""Listeners: what is bound, what a unix socket's file may look like, and how long leaving takes."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import time
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from distd.api.server import ListenFailed, serve
from tests.api.memory import MemoryDaemon


@pytest.fixture
def app(daemon: MemoryDaemon) -> web.Application:
    return daemon.app()


async def alive(path: str) -> bool:
    connector = aiohttp.UnixConnector(path)
    async with (
        aiohttp.ClientSession("http://localhost", connector=connector) as session,
        session.get("/livez") as response,
    ):
        return response.status == 200


async def test_port_zero_is_answered_with_the_port_taken(app: web.Application) -> None:
    async with serve(app, "127.0.0.1:0") as bound:
        host, port = bound.tcp[0].split(":")
        assert (host, bound.url) == ("127.0.0.1", f"http://127.0.0.1:{port}")
        assert int(port) > 0
        async with aiohttp.ClientSession() as session, session.get(f"{bound.url}/livez") as response:
            assert response.status == 200


async def test_the_unix_socket_is_open_to_owner_and_group_only(app: web.Application, tmp_path: Path) -> None:
    path = str(tmp_path / "d.sock")
    async with serve(app, "", path) as bound:
        assert (bound.tcp, bound.url, bound.socket) == ((), "", path)
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
        assert await alive(path)
    assert os.listdir(tmp_path) == []


async def test_a_stale_socket_is_replaced(app: web.Application, tmp_path: Path) -> None:
    path = str(tmp_path / "d.sock")
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(path)
    async with serve(app, "", path):
        assert await alive(path)


async def test_a_socket_that_another_daemon_answers_is_left_alone(
    app: web.Application, daemon: MemoryDaemon, tmp_path: Path
) -> None:
    path = str(tmp_path / "d.sock")
    second = daemon.app()
    async with serve(app, "", path):
        with pytest.raises(ListenFailed, match="already running"):
            async with serve(second, "", path):
                pass
        assert await alive(path)


async def test_a_file_in_the_way_is_not_deleted(app: web.Application, tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    path.write_text("precious")
    with pytest.raises(ListenFailed, match="not a socket"):
        async with serve(app, "", str(path)):
            pass
    assert path.read_text() == "precious"


async def test_leaving_does_not_remove_the_socket_of_a_successor(
    app: web.Application, tmp_path: Path
) -> None:
    path = str(tmp_path / "d.sock")
    async with serve(app, "", path):
        os.unlink(path)
        with socket.socket(socket.AF_UNIX) as successor:
            successor.bind(path)
    assert os.path.exists(path)


@pytest.mark.parametrize("path", ["/nowhere/d.sock", "/tmp/" + "x" * 100])
async def test_a_socket_path_that_cannot_be_says_why(app: web.Application, path: str) -> None:
    with pytest.raises(ListenFailed) as caught:
        async with serve(app, "", path):
            pass
    assert caught.value.reason in ("No such file or directory", "a socket path has at most 98 bytes")


async def test_a_port_in_use_is_named(app: web.Application, daemon: MemoryDaemon) -> None:
    second = daemon.app()
    async with serve(app, "127.0.0.1:0") as bound:
        with pytest.raises(ListenFailed) as caught:
            async with serve(second, bound.tcp[0]):
                pass
    assert caught.value.address == bound.tcp[0]


@pytest.mark.parametrize("listen", ["127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:70000", "x:-1"])
async def test_a_malformed_address_is_refused(app: web.Application, listen: str) -> None:
    with pytest.raises(ListenFailed, match="write host:port"):
        async with serve(app, listen):
            pass


async def test_leaving_is_bounded_while_a_request_hangs(daemon: MemoryDaemon) -> None:
    entered = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        entered.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody sets the event")

    app = daemon.app()
    app.router.add_get("/hang", hang)
    async with aiohttp.ClientSession() as session:
        async with serve(app, "127.0.0.1:0") as bound:
            request = asyncio.create_task(session.get(f"{bound.url}/hang"))
            await asyncio.wait_for(entered.wait(), 5)
            left_at = time.monotonic()
        assert time.monotonic() - left_at < 6
        with pytest.raises(aiohttp.ClientError):
            await request
