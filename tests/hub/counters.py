"""What the Hub was asked and what it sent: the evidence tests assert on. Sizes are bytes."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

from tests.hub.wire import Kind

LAST_REQUESTS = 10_000
"""Requests remembered with their headers' names: enough for any test, bounded for benchmarks."""


@dataclass(frozen=True, slots=True)
class Request:
    """One answered request. `path` is `org/name/path` for files, the route for the API; `range` as sent.
    `status` is 0 when the connection was closed without an answer."""

    kind: Kind
    method: str
    path: str
    status: int
    header_names: tuple[str, ...]
    range: str | None
    agent: str
    target: str
    authenticated: bool


class Counters:
    """Counts since the start or the last `reset`.

    `requests` counts by (kind, path, status). `sent` holds body bytes by path, counted when handed to the socket.
    `streams` are the file bodies being sent now, `max_streams` the most there were at once.
    A token leak is a request on the data origin that carries an Authorization header.
    """

    def __init__(self) -> None:
        self.streams = 0
        self._answers = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.reset()

    def reset(self) -> None:
        self.requests: Counter[tuple[Kind, str, int]] = Counter()
        self.sent: Counter[str] = Counter()
        self.token_leaks = 0
        self.max_streams = self.streams
        self.last: deque[Request] = deque(maxlen=LAST_REQUESTS)

    def count(
        self, kind: Kind | None = None, path: str = "*", status: int | None = None, method: str | None = None
    ) -> int:
        """Requests that match; `path` is a glob over `Request.path`. With `method` only the remembered ones."""
        if method is not None:
            return len([r for r in self.find(kind, path, status) if r.method == method])
        return sum(
            number
            for (its_kind, its_path, its_status), number in self.requests.items()
            if kind in (None, its_kind) and status in (None, its_status) and path_matches(path, its_path)
        )

    def find(self, kind: Kind | None = None, path: str = "*", status: int | None = None) -> list[Request]:
        """The remembered requests that match, oldest first."""
        return [
            request
            for request in self.last
            if kind in (None, request.kind)
            and status in (None, request.status)
            and path_matches(path, request.path)
        ]

    def body_bytes(self, path: str = "*") -> int:
        """File bytes sent, of the paths that match: a glob over `org/name/path` or over the path in the repo."""
        return sum(count for its_path, count in self.sent.items() if path_matches(path, its_path))

    def finished(self, request: Request) -> None:
        self.requests[request.kind, request.path, request.status] += 1
        self.last.append(request)

    @contextmanager
    def sending(self, *, is_file: bool) -> Iterator[None]:
        """Around the sending of an answer; those with a file's bytes are the streams."""
        self._answers += 1
        self._idle.clear()
        self.streams += is_file
        self.max_streams = max(self.max_streams, self.streams)
        try:
            yield
        finally:
            self.streams -= is_file
            self._answers -= 1
            if self._answers == 0:
                self._idle.set()

    async def idle(self) -> None:
        """Returns when no answer is being sent: what was asked so far is then counted to the last byte."""
        await self._idle.wait()

    def as_json(self, last: int = 100) -> dict[str, Any]:
        """The same for another process; `last` bounds the requests listed."""
        return {
            "body_bytes": self.sent.total(),
            "body_bytes_by_path": dict(self.sent),
            "requests": [
                {"kind": kind, "path": path, "status": status, "count": count}
                for (kind, path, status), count in self.requests.items()
            ],
            "requests_total": self.requests.total(),
            "token_leaks": self.token_leaks,
            "streams": self.streams,
            "max_streams": self.max_streams,
            "last": [asdict(request) for request in list(self.last)[len(self.last) - last :]] if last else [],
        }


def path_matches(pattern: str, path: str, names: Sequence[str] = ()) -> bool:
    """Whether a glob names the path: the whole of it, or a file's path inside its repo (`*` also matches `/`)."""
    return any(
        fnmatchcase(name, pattern) for name in (path, *names, *(_in_repo(path) if path[:1] != "/" else ()))
    )


def _in_repo(path: str) -> tuple[str, ...]:
    # A legacy name has one segment, so both readings are tried.
    parts = path.split("/")
    return tuple("/".join(parts[skip:]) for skip in (1, 2) if len(parts) > skip)
