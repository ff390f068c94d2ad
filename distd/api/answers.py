"""JSON answers and the table of routes: how a handler states what it serves and what it returns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One route of the API. `summary` is a sentence for people; `GET /` lists them all.

    `deed` is what the audit calls it, of routes that change something.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    deed: str = ""


def answer(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A schema value (or anything msgspec encodes) as `application/json`."""
    return web.Response(
        body=msgspec.json.encode(value),
        status=status,
        headers=headers,
        content_type="application/json",
    )
