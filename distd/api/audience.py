"""The parameters `nodes` and `zone`: which members of the cluster a request is for."""

from __future__ import annotations

from aiohttp import web

from distd.api.bodies import query_value
from distd.errors import InvalidRequest

AUDIENCE = ("nodes", "zone")
NODES_MAX = 4096
"""Names in one request: the members that a cluster may have."""


def audience(request: web.Request) -> tuple[tuple[str, ...], str | None] | None:
    """`?nodes=all` or `?nodes=a,b` (also repeated) and `?zone=`; None when the request is for this node alone.

    Raises InvalidRequest.
    """
    zone = query_value(request, "zone")
    if "nodes" not in request.query:
        return None if zone is None else ((), zone)
    words = [word.strip() for given in request.query.getall("nodes") for word in given.split(",")]
    if not words or not all(words) or len(words) > NODES_MAX:
        raise InvalidRequest(
            f"nodes is {','.join(words)[:100]!r}: all, or names of members with commas between"
        )
    return tuple(dict.fromkeys(words)), zone
