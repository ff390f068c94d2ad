"""Parameters as `openapi.json` describes them: what a path, a query and a header may carry.

A pattern lets through all that the daemon takes. It may let through more: that a repo is not named `a--b` is said by
the daemon's refusal, in words.
"""

from __future__ import annotations

from typing import Any, get_args

from distd.api.paging import CURSOR_LENGTH_MAX, LIMIT_MAX
from distd.api.pull_routes import LINKS_MAX, PULL_STATES
from distd.api.schema import PATTERNS_MAX
from distd.core.refs import REPO_PART, REPO_PART_LENGTH_MAX, REPO_TYPES, REVISION, REVISION_LENGTH_MAX
from distd.core.selection import Weights

Schema = dict[str, Any]

PULL_ID = "[0-9]+-[0-9a-f]+"
PREFETCH_ID = "[0-9a-f]+"
EVENT_ID = "[0-9a-f]+-[0-9]+"
MEMBER_LENGTH_MAX = 255


def text(pattern: str = "", **more: Any) -> Schema:
    return {"type": "string", **({"pattern": f"^{pattern}$"} if pattern else {}), **more}


def several(schema: Schema, most: int | None = None) -> Schema:
    return {"type": "array", "items": schema, **({"maxItems": most} if most else {})}


REPO = text(f"{REPO_PART}(?:/{REPO_PART})?", maxLength=2 * REPO_PART_LENGTH_MAX + 1)
GLOB = text(minLength=1, maxLength=1000)
SCHEMAS: dict[str, Schema] = {
    "type": text(enum=list(REPO_TYPES)),
    "org": text(REPO_PART, maxLength=REPO_PART_LENGTH_MAX, description="_ for a repo without one"),
    "repo": REPO,
    "revision": text(REVISION, maxLength=REVISION_LENGTH_MAX),
    "use": text(REVISION, maxLength=REVISION_LENGTH_MAX),
    "limit": {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX},
    "cursor": text("[A-Za-z0-9_=-]+", maxLength=CURSOR_LENGTH_MAX, description="`next` of the page before"),
    "include": several(GLOB, PATTERNS_MAX),
    "exclude": several(GLOB, PATTERNS_MAX),
    "weights": text(enum=list(get_args(Weights))),
    "link": several(text(minLength=1, examples=["1 Gbit/s"]), LINKS_MAX),
    "state": several(text(enum=list(PULL_STATES))),
    "nodes": several(text(minLength=1, examples=["all"])),
    "zone": text(minLength=1),
    "timeout": text(minLength=1, examples=["1s"]),
    "since": text(minLength=1, examples=["24h", "2026-01-31T22:00:00Z"]),
    "Last-Event-ID": text(examples=["5d1f0a3c-42"], description="`id` of the last event that was received"),
}
IN_PATHS: dict[str, dict[str, Schema]] = {
    "/v1/pulls/": {"id": text(PULL_ID, examples=["41-7be2"])},
    "/v1/prefetch/": {"id": text(PREFETCH_ID)},
    "/v1/models/": {"name": text(REPO_PART, maxLength=REPO_PART_LENGTH_MAX)},
    "/v1/peers/": {
        "name": text(minLength=1, maxLength=MEMBER_LENGTH_MAX, description="a member's node.name")
    },
    "/dashboard/": {"file": text(r"[a-z]+\.[a-z]+")},
}
"""By the beginning of the route's path, where the same name means different things."""


def parameter(name: str, where: str, path: str) -> dict[str, Any]:
    """`where` is `path`, `query` or `header`; `path` is that of the route."""
    schema = SCHEMAS.get(name)
    if where == "path" and schema is None:
        schema = next(named[name] for begin, named in IN_PATHS.items() if path.startswith(begin))
    return {
        "name": name,
        "in": where,
        "required": where == "path" or name == "repo",
        "schema": schema or {"type": "string"},
    }
