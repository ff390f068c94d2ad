"""Keeps web pages of other sites from using the API through a visitor's browser.

Two ways in exist. A page may send a request across sites: browsers then name the page's site in
`Origin`, and a change whose Origin is not this host is refused; newer ones say `Sec-Fetch-Site` with every request, and then
only following a link is allowed, so that a page cannot keep streams open or the Hub asked either. Or a page's own name may be pointed at
127.0.0.1 (DNS rebinding), which makes it same-site: on loopback the `Host` must therefore be an address,
localhost or the node's name, none of which such a page can have.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from distd.api.access import READING_METHODS, is_unix
from distd.api.answers import Handler
from distd.api.ports import Node
from distd.api.problems import Refused

FOREIGN = frozenset({"cross-site", "same-site"})
"""What `Sec-Fetch-Site` says of another site's page; `same-site` is another port or name below the same domain."""


@web.middleware
async def same_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuses what a page of another site asks for: changes, and all but following a link where the browser tells."""
    origin = request.headers.get("Origin")
    reads = request.method in READING_METHODS
    follows_link = reads and request.headers.get("Sec-Fetch-Mode") == "navigate"
    if request.headers.get("Sec-Fetch-Site", "").lower() in FOREIGN and not follows_link:
        raise Refused(403, "access_denied", "a page of another site may not use this node")
    if origin is not None and not reads:
        host = request.headers.get("Host", "")
        if urlsplit_netloc(origin) != host.lower():
            raise Refused(403, "access_denied", f"a page of {origin!r} may not change this node")
    return await handler(request)


def known_host(node: Node) -> Middleware:
    """A middleware that refuses, on loopback, a `Host` that another site could have chosen."""

    @web.middleware
    async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host")
        if host and not is_unix(request) and _on_loopback(request) and not _is_own(host, node):
            raise Refused(
                403,
                "access_denied",
                f"the name {host!r} is not this node's: use its address, localhost or node.name",
            )
        return await handler(request)

    return check_host


def urlsplit_netloc(origin: str) -> str:
    """Host and port of an Origin, lower case; empty for `null` and for what is not a URL."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _on_loopback(request: web.Request) -> bool:
    local = request.get_extra_info("sockname")
    return bool(local) and ipaddress.ip_address(str(local[0]).partition("%")[0]).is_loopback


def _is_own(host: str, node: Node) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost" or name.endswith(".localhost") or name == node.status().node.lower()
    return True
