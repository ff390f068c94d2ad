"""Who may do what: the token, and listeners that only answer questions.

A client on the unix socket has passed the socket's file permission and may do everything. Over TCP a
configured token guards all but the health and metrics routes; without one, only a listener that was
opened as writable (on loopback) takes changes.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from distd.api.answers import Handler
from distd.api.problems import Refused

OPEN_PATHS = frozenset({"/livez", "/healthz", "/readyz", "/metrics"})
"""Answered without a token, for probes and monitoring."""
OPEN_FOLDER = "/dashboard/"
"""So are the dashboard's files, and `/`: they tell nothing of the node (see `dashboard.py`)."""
READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(slots=True)
class Access:
    """The rules in force; an empty token means none.

    `writable`: TCP clients may change things when no token is configured. `on_new_token` ends what an old one opened.
    """

    writable: bool
    token: str
    on_new_token: Callable[[], None] = lambda: None

    def replace_token(self, token: str) -> None:
        """While serving; in force at once, also for answers that are still going on."""
        if token != self.token:
            self.token = token
            self.on_new_token()


ACCESS: web.AppKey[Access] = web.AppKey("access", Access)


@web.middleware
async def access(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuses with 401 without the right token, with 403 a change over a read-only listener."""
    rules = request.app[ACCESS]
    if is_open(request) or is_unix(request):
        return await handler(request)
    if rules.token:
        _check_token(request.headers.get("Authorization", ""), rules.token)
    elif request.method not in READING_METHODS and not rules.writable:
        raise Refused(
            403,
            "access_denied",
            "this listener is read-only: set api.token_file, listen on 127.0.0.1, or use the unix socket",
        )
    return await handler(request)


def is_open(request: web.Request) -> bool:
    """Whether it is for everybody, a token configured or not."""
    reads = request.method in READING_METHODS
    return request.path in OPEN_PATHS or (
        reads and (request.path == "/" or request.path.startswith(OPEN_FOLDER))
    )


def is_unix(request: web.Request) -> bool:
    """Whether the request came over the unix socket."""
    connection = request.get_extra_info("socket")
    return connection is not None and connection.family == socket.AF_UNIX


def _check_token(header: str, token: str) -> None:
    scheme, _, given = header.partition(" ")
    right = secrets.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.encode())
    if scheme.lower() == "bearer" and right:
        return
    wrong = "the token is wrong" if given else "a token is needed"
    raise Refused(
        401,
        "not_authenticated",
        f"{wrong}: send Authorization: Bearer TOKEN, with the content of the daemon's api.token_file"
        " (distctl reads it from $DISTD_TOKEN)",
        {"WWW-Authenticate": "Bearer"},
    )
