"""Which problems each route may answer, with their statuses: what `openapi.json` tells, and tests hold the daemon to."""

from __future__ import annotations

from collections.abc import Iterable

from distd.api.access import OPEN_FOLDER, OPEN_PATHS
from distd.errors import HTTP_STATUS

Refusal = tuple[int, str]
"""A status and the code that goes with it."""

MODEL = "/v1/models/{type}/{org}/{name}"
PULL = "/v1/pulls/{id}"
PEER = "/v1/peers/{name}"
ENTRY = "/v1/prefetch/{id}"

OF_THE_HUB = (
    "repo_not_found",
    "revision_not_found",
    "file_not_found",
    "access_denied",
    "hub_unreachable",
    "rate_limited",
    "hash_mismatch",
)
"""What comes of asking the Hub at once; `hash_mismatch` is a list of files that cannot be."""

OWN: dict[str, tuple[str, ...]] = {
    "GET /dashboard/{file}": ("not_found",),
    f"DELETE {PEER}": ("not_found", "conflict"),
    f"PUT {PEER}/ban": ("not_found", "conflict"),
    f"DELETE {PEER}/ban": ("not_found",),
    f"POST {PEER}/recheck": ("not_found", "conflict"),
    f"GET {PEER}/drain": ("not_found", "conflict"),
    f"PUT {PEER}/drain": ("not_found", "conflict"),
    f"DELETE {PEER}/drain": ("not_found", "conflict"),
    "POST /v1/pulls": ("conflict",),
    f"GET {PULL}": ("not_found",),
    f"DELETE {PULL}": ("not_found", "conflict"),
    f"POST {PULL}/pause": ("not_found", "conflict"),
    f"POST {PULL}/resume": ("not_found", "conflict"),
    f"GET {PULL}/story": ("not_found",),
    f"GET {PULL}/events": ("not_found", "rate_limited"),
    "GET /v1/events": ("rate_limited",),
    "GET /v1/plan": OF_THE_HUB,
    "GET /v1/estimate": OF_THE_HUB,
    f"GET {MODEL}": ("not_found",),
    f"GET {MODEL}/wait": ("timed_out", "conflict"),
    f"DELETE {MODEL}": ("not_found", "conflict"),
    f"PUT {MODEL}/pin": ("not_found",),
    f"DELETE {MODEL}/pin": ("not_found",),
    f"POST {MODEL}/verify": ("not_found",),
    f"POST {MODEL}/export": ("not_found",),
    "POST /v1/prefetch": ("conflict",),
    f"DELETE {ENTRY}": ("not_found", "conflict"),
    f"POST {ENTRY}/run": ("not_found",),
    "POST /v1/import": ("hash_mismatch", "no_space"),
}
"""Beside what `refusals` adds to every route of a kind."""

UNCHECKED = OPEN_PATHS | {"/", "/openapi.json", OPEN_FOLDER + "{file}"}
"""Take any query, as probes and browsers may add one: nothing about a request is invalid."""


def refusals(name: str, *, takes_json: bool) -> tuple[Refusal, ...]:
    """All of the route `name` (`"GET /v1/status"`), in order of status and code."""
    path = name.partition(" ")[2]
    found = {(HTTP_STATUS[code], code) for code in OWN.get(name, ())}
    # A Host or an Origin that is another site's, and a change over a listener that takes none; a bug.
    found |= {(403, "access_denied"), (500, "internal")}
    if path not in OPEN_PATHS and path != "/" and not path.startswith(OPEN_FOLDER):
        found.add((401, "not_authenticated"))
    if path not in UNCHECKED:
        found.add((422, "invalid_request"))
    if takes_json:
        found |= {(400, "invalid_request"), (413, "invalid_request")}
    return tuple(sorted(found))


def by_status(found: Iterable[Refusal]) -> dict[int, list[str]]:
    statuses: dict[int, list[str]] = {}
    for status, code in found:
        statuses.setdefault(status, []).append(code)
    return statuses
