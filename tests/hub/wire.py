"""What a handler sees of a request and says in answer, without sockets.

`Ask` in, `Reply` out: the handlers in `api`, `resolve` and `data` are functions of these and of the Hub's state, so
that one place (`server`) sends, paces, counts and breaks answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

from tests.hub.repo import RepoType, Source

Kind = Literal["api", "head", "resolve", "body"]
"""`head`: HEAD of a file anywhere; `resolve`: GET of `/resolve/`; `body`: GET of data after the redirect; else `api`."""

KINDS: tuple[Kind, ...] = ("api", "head", "resolve", "body")

REPO_OPERATIONS = frozenset(
    {"revision", "tree", "paths-info", "refs", "commits", "auth-check", "xet-read-token"}
)
TYPES: dict[str, RepoType] = {"models": "model", "datasets": "dataset", "spaces": "space"}


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `target` is path and query as sent, still quoted; `base_url` is the origin as the caller named it,
    `data_url` the data origin under the same host name."""

    method: str
    target: str
    headers: Mapping[str, str]
    base_url: str
    data_url: str
    remote: str = ""
    form: tuple[tuple[str, str], ...] = ()

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    @property
    def token(self) -> str | None:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" and token.strip() else None

    @property
    def agent(self) -> str:
        return self.headers.get("User-Agent", "")

    def flag(self, name: str) -> bool:
        return self.query.get(name, "").lower() in ("true", "1")


@dataclass(frozen=True, slots=True)
class Content:
    """`count` bytes of a source from `start`."""

    source: Source
    start: int
    count: int


@dataclass(slots=True)
class Reply:
    """An answer. `data` (a JSON value) becomes `content` once nothing changes it any more."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    data: Any = None
    content: Content | None = None

    def settle(self) -> None:
        """Renders `data` into `content`. Idempotent."""
        if self.data is not None:
            self.set_body(json.dumps(self.data).encode(), "application/json; charset=utf-8")
            self.data = None

    def set_body(self, body: bytes, content_type: str) -> None:
        self.content = Content(body, 0, len(body))
        self.headers.setdefault("Content-Type", content_type)


def text_reply(status: int, text: str, headers: Mapping[str, str] | None = None) -> Reply:
    reply = Reply(status, dict(headers or {}))
    reply.set_body(text.encode(), "text/plain; charset=utf-8")
    return reply


@dataclass(frozen=True, slots=True)
class Route:
    """What a path asks for. `operation` is `info` or one of REPO_OPERATIONS under `/api/`, `resolve`, `raw` or
    `resolve-cache` for files, or a whole path such as `/api/whoami-v2` that concerns no repo."""

    operation: str
    repo_type: RepoType = "model"
    repo_id: str = ""
    revision: str = ""
    path: str = ""

    @property
    def is_file(self) -> bool:
        return self.operation in ("resolve", "raw", "resolve-cache")


def parse_route(path: str, has_repo: Callable[[str, str], bool]) -> Route | None:
    """Reads a Hub path; None for one the Hub does not have. A trailing slash is tolerated, as clients send it.

    `has_repo(type, id)` decides where a repo named like an operation (`acme/refs`) and an operation on a legacy name
    (`gpt2/refs`) look the same.
    """
    segments = path.split("/")[1:]
    if segments and segments[-1] == "":
        segments.pop()
    match segments:
        case ["api", "resolve-cache", kind, *rest] if kind in TYPES:
            return _cached_file(TYPES[kind], rest)
        case ["api", kind, first, *rest] if kind in TYPES:
            return _api_route(TYPES[kind], first, rest, has_repo)
        case ["api", *_]:
            return Route("/" + "/".join(segments))
        case [kind, *rest] if kind in ("datasets", "spaces"):
            return _file_route(TYPES[kind], rest)
        case _:
            return _file_route("model", segments)


def _api_route(
    repo_type: RepoType, first: str, rest: list[str], has_repo: Callable[[str, str], bool]
) -> Route | None:
    repo_id = unquote(first)
    if "/" not in repo_id and rest:
        with_organisation = f"{repo_id}/{unquote(rest[0])}"
        if rest[0] not in REPO_OPERATIONS or has_repo(repo_type, with_organisation):
            repo_id = with_organisation
            rest = rest[1:]
    if not rest:
        return Route("info", repo_type, repo_id)
    operation, *rest = rest
    if operation not in REPO_OPERATIONS:
        return None
    revision, path = _revision_and_path(rest)
    return Route(operation, repo_type, repo_id, revision or "main", path)


def _file_route(repo_type: RepoType, segments: list[str]) -> Route | None:
    for at in (1, 2):
        if len(segments) > at + 2 and segments[at] in ("resolve", "raw"):
            revision, path = _revision_and_path(segments[at + 1 :])
            return Route(segments[at], repo_type, unquote("/".join(segments[:at])), revision, path)
    return None


def _cached_file(repo_type: RepoType, segments: list[str]) -> Route | None:
    for at in (1, 2):
        if len(segments) > at + 1 and len(segments[at]) == 40:
            repo_id = unquote("/".join(segments[:at]))
            return Route(
                "resolve-cache", repo_type, repo_id, segments[at], unquote("/".join(segments[at + 1 :]))
            )
    return None


def _revision_and_path(segments: list[str]) -> tuple[str, str]:
    if segments[:1] == ["refs"] and len(segments) >= 3:
        return unquote("/".join(segments[:3])), unquote("/".join(segments[3:]))
    return unquote("".join(segments[:1])), unquote("/".join(segments[1:]))


class UnsatisfiableRange(Exception):
    """A range that starts beyond the end: the answer is 416."""


def parse_range(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """`(start, count)` of a single byte range (RFC 9110 section 14); None to send the whole, which is also the
    permitted answer to several ranges and to what does not parse."""
    unit, _, spec = (header or "").partition("=")
    first, dash, last = spec.strip().partition("-")
    if unit.strip().lower() != "bytes" or not dash or "," in spec:
        return None
    if not all(part.strip().isdecimal() for part in (first, last) if part.strip()) or not (first or last):
        return None
    if not first:
        count = min(int(last), size_bytes)
        if count == 0:
            raise UnsatisfiableRange
        return size_bytes - count, count
    start = int(first)
    if start >= size_bytes or (last and int(last) < start):
        raise UnsatisfiableRange
    end = min(int(last), size_bytes - 1) if last else size_bytes - 1
    return start, end - start + 1


def file_reply(ask: Ask, source: Source, size_bytes: int, headers: Mapping[str, str]) -> Reply:
    """200, 206 or 416 for the bytes of a file, by the request's Range."""
    reply = Reply(200, {"Accept-Ranges": "bytes", **headers})
    if_range = ask.headers.get("If-Range")
    asked = ask.headers.get("Range") if if_range in (None, headers.get("ETag")) else None
    try:
        span = parse_range(asked, size_bytes)
    except UnsatisfiableRange:
        return text_reply(416, "Range Not Satisfiable", {"Content-Range": f"bytes */{size_bytes}"})
    start, count = span or (0, size_bytes)
    if span:
        reply.status = 206
        reply.headers["Content-Range"] = f"bytes {start}-{start + count - 1}/{size_bytes}"
    reply.content = Content(source, start, count)
    return reply
