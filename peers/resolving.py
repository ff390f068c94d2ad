"""Asking the system about names and routes.

A name in `cluster.join` stands for all its addresses, and is resolved anew each time, because in most clusters the name
outlives the hosts behind it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from peers import addresses

Resolve: TypeAlias = Callable[[str], Awaitable[list[str]]]
"""All numeric addresses of a host name; empty when it has none now."""

ADDRESSES_MAX = 256
"""Of one name: a name of more is not a list of seeds."""

_SOMEWHERE_4, _SOMEWHERE_6 = "192.0.2.1", "2001:db8::1"
"""Documentation addresses (RFC 5737, RFC 3849): asking the kernel for the way there sends nothing."""

_DISCARD_PORT = 9

LISTEN_BACKLOG = 1024
"""Members of a large cluster that all call within a moment."""


async def resolve(host: str) -> list[str]:
    """Ask the system's resolver, off the loop."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))[:ADDRESSES_MAX]


def listener(host: str, port: int) -> socket.socket:
    """A bound TCP socket; on all addresses of IPv6 it hears IPv4 too. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = family == socket.AF_INET6 and addresses.is_wildcard(host) and socket.has_dualstack_ipv6()
    return socket.create_server((host, port), family=family, backlog=LISTEN_BACKLOG, dualstack_ipv6=both)


def outward(host: str) -> str | None:
    """This host's own address as others see it, for a listener on all addresses of the family of ``host``: that of the
    default route. A listener on all of IPv6 hears IPv4 too, so without a route there it is that of IPv4. None without any."""
    if ":" in host:
        return _source(socket.AF_INET6, _SOMEWHERE_6) or _source(socket.AF_INET, _SOMEWHERE_4)
    return _source(socket.AF_INET, _SOMEWHERE_4)


def _source(family: socket.AddressFamily, target: str) -> str | None:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, _DISCARD_PORT))
            return str(probe.getsockname()[0])
    except OSError:
        return None
