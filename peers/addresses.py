"""Addresses as ``host:port``, with IPv6 hosts in brackets: reading, writing, resolving.

A name in `cluster.join` stands for all its addresses, and is resolved anew each time, because in most clusters the name
outlives the hosts behind it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from typing import TypeAlias

Resolve: TypeAlias = Callable[[str], Awaitable[list[str]]]
"""All numeric addresses of a host name; empty when it has none now."""

ADDRESSES_MAX = 256
"""Of one name: a name of more is not a list of seeds."""

_SOMEWHERE = ("192.0.2.1", "2001:db8::1")
"""Documentation addresses (RFC 5737, RFC 3849): asking the kernel for the way there sends nothing."""


def split(address: str) -> tuple[str, int]:
    """Host without brackets, and port. Raises ValueError."""
    host, separator, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if (
        not separator
        or not host
        or not port.isdecimal()
        or int(port) > 65_535
        or (":" in host and not bracketed)
    ):
        raise ValueError(f"{address!r} is not host:port (an IPv6 host stands in brackets)")
    return (host[1:-1] if bracketed else host), int(port)


def join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether no other host can reach a listener there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def resolve(host: str) -> list[str]:
    """Ask the system's resolver, off the loop."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))[:ADDRESSES_MAX]


def outward(host: str) -> str | None:
    """This host's own address as others see it, when it listens on all: that of the default route. None without one."""
    family, target = (socket.AF_INET6, _SOMEWHERE[1]) if ":" in host else (socket.AF_INET, _SOMEWHERE[0])
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return None
