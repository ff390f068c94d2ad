"""The Hub itself: its repos, its listeners, and how it goes away and comes back.

What happens to one request is in `exchange`. Two origins on two ports, as the real Hub has: this Hub's own, and
the one that holds the data, where an Authorization header is a leak.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl

from aiohttp import web

from tests.hub.body import BodySender
from tests.hub.control import Control
from tests.hub.counters import Counters
from tests.hub.exchange import Exchange, Origin
from tests.hub.faults import Faults
from tests.hub.hubstate import Clock, HubState, Settings, Signer
from tests.hub.limits import Quotas
from tests.hub.repo import Gate, Registry, Repo, RepoType, Source, files_of
from tests.hub.wire import Ask

SHUTDOWN_S = 0.1
"""Stopping does not wait for bodies in flight: a Hub that goes away goes away."""

BACKLOG = 1024


class HubServer:
    """A Hub on two local ports; an async context manager. See README.md for the whole interface.

    `quotas` (resource to requests per window) makes 429 real; without it the headers are sent and nobody is refused.
    The remaining keyword arguments are the fields of `Settings`, which may also be changed while the Hub runs.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        data_port: int = 0,
        tls: ssl.SSLContext | None = None,
        quotas: dict[str, int] | None = None,
        **settings: int | float | bool | None,
    ) -> None:
        self.settings = Settings(**settings)  # type: ignore[arg-type]  # names and types are Settings' own
        self.registry = Registry()
        self.counters = Counters()
        self.faults = Faults()
        self._clock = Clock()
        self._state = HubState(
            settings=self.settings,
            registry=self.registry,
            signer=Signer(secrets.token_bytes(32)),
            clock=self._clock,
            counters=self.counters,
            faults=self.faults,
            quotas=Quotas(quotas),
        )
        self._host = host
        self._ports: dict[Origin, int] = {"hub": port, "data": data_port}
        self._tls = tls
        self._sender = BodySender(self.settings, self.counters)
        self._runners: dict[Origin, web.ServerRunner] = {}
        self._moving: asyncio.Task[None] | None = None
        self._control = Control(self)

    # Repos

    def add_repo(
        self,
        repo_id: str,
        files: Path | Mapping[str, Source],
        *,
        type: RepoType = "model",
        private: bool = False,
        gated: Gate = False,
        disabled: bool = False,
        readers: Collection[str] = (),
        pending: Collection[str] = (),
    ) -> Repo:
        """Adds a repo whose first commit, on `main`, holds a directory's files or the given ones.

        `readers` and `pending` are tokens; they become known to the Hub. The files are served from where they are.
        """
        repo = Repo(type, repo_id, private, gated, disabled, set(readers), set(pending))
        if isinstance(files, Path):
            repo.commit_files(files_of(files), title="Initial commit")
        else:
            repo.commit(files, title="Initial commit")
        self.registry.add(repo)
        return repo

    def repo(self, repo_id: str, type: RepoType = "model") -> Repo:
        """The repo of that (or formerly that) name; UnknownRepoError when there is none."""
        return self.registry.require(type, repo_id)

    def add_token(self, token: str, user: str) -> None:
        """Makes a token valid. It reads public repos, and those that list it."""
        self.registry.users[token] = user

    def rename(self, old_id: str, new_id: str, *, type: RepoType = "model") -> None:
        self.registry.rename(type, old_id, new_id)

    # Running

    @property
    def url(self) -> str:
        """The Hub's origin: what a client uses as endpoint."""
        return self._url("hub")

    @property
    def data_url(self) -> str:
        """The origin that LFS files are redirected to."""
        return self._url("data")

    async def start(self) -> None:
        """Listens on both ports; a port of 0 becomes a free one and stays it."""
        for origin in ("hub", "data"):
            await self._listen(origin)

    async def stop(self) -> None:
        """Closes listeners and connections. Idempotent."""
        if self._moving is not None:
            self._moving.cancel()
            self._moving = None
        for origin in list(self._runners):
            await self._close(origin)

    async def start_control(self) -> str:
        """Opens one more port that answers only `/_hub/...`, also while the Hub is gone; returns its URL."""
        await self._listen("control")
        return self._url("control")

    async def go_away(self) -> None:
        """Refuses connections from now on and drops those there are."""
        await self._close("hub")
        await self._close("data")

    async def come_back(self) -> None:
        """Listens again on the ports it had."""
        await self.start()

    def vanish(self, seconds: float | None) -> None:
        """Goes away soon, and comes back after so many seconds (None: when `come_back` is called)."""
        self._moving = asyncio.create_task(self._be_away(seconds))

    def advance(self, seconds: float) -> None:
        """Moves the Hub's clock: signed URLs expire, quota windows pass."""
        self._clock.advance(seconds)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _be_away(self, seconds: float | None) -> None:
        await self.go_away()
        if seconds is not None:
            await asyncio.sleep(seconds)
            await self.come_back()

    async def _listen(self, origin: Origin) -> None:
        if origin in self._runners:
            return

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            return await self._handle(request, origin)

        server = web.Server(handle, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.create_server(
            (self._host, self._ports.get(origin, 0)),
            family=family,
            backlog=BACKLOG,
            dualstack_ipv6=self._host == "::",
        )
        self._ports[origin] = listener.getsockname()[1]
        tls = None if origin == "control" else self._tls
        await web.SockSite(runner, listener, ssl_context=tls, backlog=BACKLOG).start()
        self._runners[origin] = runner

    async def _close(self, origin: Origin) -> None:
        runner = self._runners.pop(origin, None)
        if runner is not None:
            await runner.cleanup()

    def _url(self, origin: Origin) -> str:
        scheme = "https" if self._tls and origin != "control" else "http"
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{scheme}://{host}:{self._ports[origin]}"

    async def _handle(self, request: web.BaseRequest, origin: Origin) -> web.StreamResponse:
        if request.path.startswith("/_hub/") and origin != "data":
            return await self._control.answer(request)
        if origin == "control":
            return web.Response(status=404)
        ask = await self._ask(request)
        try:
            return await Exchange(self._state, self._sender, request, ask, origin, self.vanish).run()
        except ConnectionError:
            if request.transport is not None:
                request.transport.close()
            # Goes nowhere; aiohttp would log the error of a handler that has no response to return.
            return web.Response()

    async def _ask(self, request: web.BaseRequest) -> Ask:
        form: list[tuple[str, str]] = []
        if request.method == "POST" and request.content_type == "application/json":
            body = await request.json()
            form = [("paths", path) for path in body["paths"]] + [("expand", str(body.get("expand")))]
        elif request.method == "POST":
            form = parse_qsl((await request.read()).decode())
        host = request.headers.get("Host", f"{self._host}:{self._ports['hub']}")
        return Ask(
            method=request.method,
            target=request.raw_path,
            headers=request.headers,
            base_url=f"{request.scheme}://{host}",
            data_url=f"{request.scheme}://{host.rpartition(':')[0] or host}:{self._ports['data']}",
            remote=request.remote or "",
            form=tuple(form),
        )
