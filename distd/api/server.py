"""The API's application and its listeners: TCP, a unix socket, or both, over one set of routes."""

from __future__ import annotations

import logging
import socket as sockets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from distd import __version__
from distd.api.access import ACCESS, Access, access
from distd.api.archive_routes import ArchiveRoutes
from distd.api.audit_routes import AuditRoutes
from distd.api.auditing import audited
from distd.api.bodies import BODY_BYTES_MAX
from distd.api.browsers import known_host, same_origin
from distd.api.dashboard import Dashboard
from distd.api.event_routes import EventRoutes
from distd.api.housekeeping_routes import HousekeepingRoutes
from distd.api.index import Index
from distd.api.limit_routes import LimitRoutes
from distd.api.metrics import MetricRoutes
from distd.api.model_routes import ModelRoutes
from distd.api.node_routes import NodeRoutes
from distd.api.openapi import OpenApiRoutes
from distd.api.peer_routes import PeerRoutes
from distd.api.ports import Ports
from distd.api.prefetch_routes import PrefetchRoutes
from distd.api.problems import problems
from distd.api.pull_routes import PullRoutes
from distd.api.unixsocket import unix_listener
from distd.api.wait_routes import WaitRoutes
from distd.errors import DistdError

logger = logging.getLogger(__name__)

SHUTDOWN_TIMEOUT_S = 2.0
"""Time that requests in progress get to end. aiohttp may wait it twice; the daemon has 10 s for all."""

BAD_HTTP_CHARACTERS_MAX = 200
"""Of a message about what is not HTTP: enough to see what it was."""


@dataclass
class ListenFailed(DistdError):
    """A listener could not be opened; the daemon cannot start with this configuration."""

    address: str
    reason: str
    title = "Cannot listen"

    def __str__(self) -> str:
        return f"cannot listen on {self.address}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Bound:
    """Where the API answers: `host:port` of each TCP socket with real port numbers, and the unix socket."""

    tcp: tuple[str, ...]
    socket: str

    @property
    def url(self) -> str:
        """Base URL of the first TCP listener; empty when there is none."""
        return f"http://{self.tcp[0]}" if self.tcp else ""


def build_app(ports: Ports, *, writable: bool, token: str) -> web.Application:
    """The routes over the ports. Serve it with `serve`.

    `token` empty: none is asked for, and TCP clients may change things only when `writable`, which is
    for listeners on loopback. The unix socket needs neither. `app[ACCESS].replace_token` later replaces it.
    """
    events, described = EventRoutes(ports.events), OpenApiRoutes()
    index = Index(
        NodeRoutes(ports.node, ports.nodes).routes()
        + PeerRoutes(ports.peering, ports.nodes).routes()
        + AuditRoutes(ports.audit).routes()
        + WaitRoutes(ports.waits).routes()
        + MetricRoutes(ports.monitoring).routes()
        + PullRoutes(ports.pulls).routes()
        + events.routes()
        + described.routes()
        + ModelRoutes(ports.models, ports.nodes).routes()
        + LimitRoutes(ports.limits).routes()
        + PrefetchRoutes(ports.prefetch).routes()
        + HousekeepingRoutes(ports.housekeeping).routes()
        + ArchiveRoutes(ports.archives, ports.adoption).routes(),
        Dashboard(),
    )
    routes = tuple(index.routes())
    described.describe(routes)
    app = web.Application(
        client_max_size=BODY_BYTES_MAX,
        middlewares=[problems, known_host(ports.node), same_origin, access, audited(ports.audit, routes)],
    )
    app[ACCESS] = Access(writable, token, on_new_token=events.end_all)
    for route in routes:
        app.router.add_route(route.method, route.path, route.handler)
        if route.method == "GET":
            app.router.add_route("HEAD", route.path, route.handler)
    app.on_response_prepare.append(_add_headers)

    async def end_streams(_: web.Application) -> None:
        events.end_all()

    app.on_shutdown.append(end_streams)
    return app


@asynccontextmanager
async def serve(app: web.Application, listen: str, socket: str = "") -> AsyncIterator[Bound]:
    """Answers on `listen` (`host:port`, port 0 for any free one) and on the unix socket path `socket`.

    Either may be empty. Leaving the context stops accepting, lets requests end for a bounded time, and
    removes the socket file. Raises ListenFailed.
    """
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
    async with AsyncExitStack() as stack:
        # Entered first, so that the runner has let go of the socket before its file is removed.
        listener = stack.enter_context(_unix_listener(socket)) if socket else None
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        if listen:
            host, port = split_listen(listen)
            await _start(web.TCPSite(runner, host or None, port), listen)
        tcp = tuple(_text_of(address) for address in runner.addresses)
        if listener is not None:
            await _start(web.SockSite(runner, listener), socket)
        yield Bound(tcp, socket)


def bad_http_is_no_error(record: logging.LogRecord) -> bool:
    """A filter of aiohttp's log: what a client sent wrongly is a line at most, not a traceback among the errors."""
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, HttpProcessingError):
        return True
    logger.debug("%s", f"{record.getMessage()}: {error.message}"[:BAD_HTTP_CHARACTERS_MAX])
    return False


logging.getLogger("aiohttp.server").addFilter(bad_http_is_no_error)


def split_listen(listen: str) -> tuple[str, int]:
    """`"127.0.0.1:7070"`, `"[::1]:7070"`, `":7070"` -> host and port. Raises ListenFailed."""
    host, colon, port = listen.rpartition(":")
    if not colon or not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        raise ListenFailed(listen, 'not an address: write host:port, as "127.0.0.1:7070" or "[::1]:7070"')
    return host.removeprefix("[").removesuffix("]"), int(port)


@contextmanager
def _unix_listener(path: str) -> Iterator[sockets.socket]:
    with ExitStack() as stack:
        try:
            listener = stack.enter_context(unix_listener(path))
        except OSError as error:
            raise ListenFailed(path, error.strerror or str(error)) from error
        yield listener


async def _start(site: web.BaseSite, address: str) -> None:
    try:
        await site.start()
    except OSError as error:
        raise ListenFailed(address, error.strerror or str(error)) from error


def _text_of(address: Any) -> str:
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Every answer is of the moment, is what it says it is, and does not name the libraries."""
    response.headers["Server"] = f"distd/{__version__}"
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
