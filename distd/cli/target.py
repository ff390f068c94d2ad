"""Which daemon: from the flags, else the environment, else the local one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_SOCKET = "/run/distd/distd.sock"
DEFAULT_URL = "http://127.0.0.1:7070"


class BadTarget(ValueError):
    """The address or the token cannot be one; the message says what is allowed."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the daemon listens: a unix socket path, or host and port."""

    socket: str = ""
    tls: bool = False
    host: str = ""
    port: int = 0
    base_path: str = ""
    token: str = ""
    closed_socket: str = ""
    """The default socket, where it exists and this user may not use it."""

    def __str__(self) -> str:
        if self.socket:
            return self.socket
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.base_path}"

    def unreachable(self, reason: str) -> str:
        """What to tell a person whose daemon does not answer."""
        said = f"the daemon does not answer at {self} ({reason})"
        if self.closed_socket:
            return f"{said}; {self.closed_socket} exists, but this user may not use it: join its group"
        return f"{said}: is distd running (systemctl status distd)? --url and --socket name another"


def choose_target(url: str | None, socket: str | None, environment: Mapping[str, str]) -> Target:
    """Flags win over the environment, a socket over a URL. Raises BadTarget."""
    if url and socket:
        raise BadTarget("--url and --socket name two daemons: give one")
    if not url and not socket:
        socket, url = environment.get("DISTD_SOCKET"), environment.get("DISTD_URL")
    token = _checked_token(environment.get("DISTD_TOKEN", ""))
    if socket:
        return Target(socket=socket, token=token)
    if url:
        return _from_url(url, token)
    closed = ""
    if os.path.exists(DEFAULT_SOCKET):
        if os.access(DEFAULT_SOCKET, os.R_OK | os.W_OK):
            return Target(socket=DEFAULT_SOCKET, token=token)
        closed = DEFAULT_SOCKET
    return _from_url(DEFAULT_URL, token, closed)


def _from_url(url: str, token: str, closed_socket: str = "") -> Target:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadTarget(f"{url!r} is not a URL: {error}") from None
    # The path goes into a request line as it is: what does not print, or a blank, would break it.
    plain = url.isascii() and url.isprintable() and " " not in url
    if not plain or parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise BadTarget(f"{url!r} is not the URL of a daemon: write it as {DEFAULT_URL}")
    tls = parts.scheme == "https"
    return Target(
        tls=tls,
        host=parts.hostname,
        port=port or (443 if tls else 80),
        base_path=parts.path.rstrip("/"),
        token=token,
        closed_socket=closed_socket,
    )


def _checked_token(text: str) -> str:
    token = text.strip()
    if not (token.isascii() and (not token or token.isprintable())):
        raise BadTarget("$DISTD_TOKEN has characters that no token has")
    return token
