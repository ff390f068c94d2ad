"""Speaks to the daemon: HTTP over TCP or its unix socket, with the standard library only.

Every failure leaves as DaemonUnreachable or ProblemAnswered. One connection a request: the daemon is
near, and a restarted one is simply reached by the next request.
"""

from __future__ import annotations

import http.client
import json
import select
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlencode

from distd.cli.failures import DaemonUnreachable, ProblemAnswered
from distd.cli.target import Target
from distd.core.refs import Repo

TIMEOUT_S = 30.0
"""For the connection and for each read. Routes that ask the Hub, or hash files, get their own."""
HUB_TIMEOUT_S = 300.0
"""For routes in which the daemon asks the Hub, with its own retries, before it answers."""
ANSWER_BYTES_MAX = 256 * 1024 * 1024
"""Largest answer read: a pull with the 200,000 files of the largest manifest takes some 60 MB."""

LINE_BYTES_MAX = 64 * 1024 * 1024
"""Of an event stream: one event is a line, and has all unfinished pulls."""
SILENCE_MAX_S = 40.0
"""An event stream says something every 15 s, or its daemon is gone without a word."""

Query = Mapping[str, str | int | list[str]]


class Client:
    def __init__(self, target: Target) -> None:
        self._target = target

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        timeout_s: float | None = TIMEOUT_S,
    ) -> Any:
        """The answer's JSON value. `timeout_s` None waits for as long as the daemon works."""
        return self._value(*self._exchange(method, path, query, body, timeout_s))

    def _value(self, status: int, media: str, raw: bytes) -> Any:
        try:
            value = json.loads(raw)
        except ValueError:
            value = None
        if status < 400 and media == "application/json" and value is not None:
            return value
        if media == "application/problem+json" and isinstance(value, dict) and "code" in value:
            raise ProblemAnswered(
                str(value["code"]), str(value.get("title", "Error")), str(value.get("detail", "")), status
            )
        raise DaemonUnreachable(
            f"{self._target} answered, but not as distd does (HTTP {status}): check the address"
        )

    def get(self, path: str, query: Query | None = None, timeout_s: float | None = TIMEOUT_S) -> Any:
        return self.call("GET", path, query=query, timeout_s=timeout_s)

    def text(self, path: str) -> tuple[int, str]:
        """Status and text of a route that answers in plain text, whatever the status."""
        status, _, raw = self._exchange("GET", path, None, None, TIMEOUT_S)
        return status, raw.decode("utf-8", "replace")

    def items(self, path: str, query: Query | None = None, limit: int | None = None) -> Iterator[Any]:
        """The items of a list over all its pages, at most `limit`."""
        cursor: str | None = None
        given = 0
        while True:
            page = self.get(path, {**(query or {}), **({"cursor": cursor} if cursor else {})})
            for item in page["items"]:
                if given == limit:
                    return
                given += 1
                yield item
            cursor = page["next"]
            if cursor is None:
                return

    def stream(self, method: str, path: str, query: Query | None = None) -> Streamed:
        """The answer's body, to be read as it comes. Raises as `call`; close it."""
        connection = _connection(self._target, TIMEOUT_S)
        try:
            connection.request(method, self._url(path, query), headers=self._headers())
            answer = connection.getresponse()
            if answer.status >= 400:
                raw = answer.read(ANSWER_BYTES_MAX)
                self._value(answer.status, answer.headers.get_content_type(), raw)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise DaemonUnreachable(self._target.unreachable(_reason(error))) from error
        except BaseException:
            connection.close()
            raise
        return Streamed(connection, answer)

    def events(self, path: str, last_id: str, timeout_s: float) -> EventLines | None:
        """An event stream after the event `last_id` (empty: from the start); None when nothing will follow.

        `timeout_s` is for the first line. Raises as `call`; close it.
        """
        connection = _connection(self._target, timeout_s)
        try:
            headers = self._headers() | {"Accept": "text/event-stream"}
            connection.request(
                "GET",
                self._url(path, None),
                headers=headers | ({"Last-Event-ID": last_id} if last_id else {}),
            )
            answer = connection.getresponse()
            if answer.status == 200 and answer.headers.get_content_type() == "text/event-stream":
                return EventLines(connection, answer)
            raw = answer.read(ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise DaemonUnreachable(self._target.unreachable(_reason(error))) from error
        except BaseException:
            connection.close()
            raise
        connection.close()
        if answer.status != 204:
            self._value(answer.status, answer.headers.get_content_type(), raw)
        return None

    def upload(self, path: str, parts: Iterable[bytes], size_bytes: int | None) -> Any:
        """Sends `parts` as the body and returns the answer's JSON value; stops when the daemon answers before the end.

        Without `size_bytes` the length is not told. Raises as `call`.
        """
        connection = _connection(self._target, None)
        try:
            connection.putrequest("POST", self._url(path, None))
            for name, value in (self._headers() | {"Content-Type": "application/x-tar"}).items():
                connection.putheader(name, value)
            if size_bytes is None:
                connection.putheader("Transfer-Encoding", "chunked")
            else:
                connection.putheader("Content-Length", str(size_bytes))
            connection.endheaders()
            for part in parts:
                if select.select([connection.sock], [], [], 0)[0]:
                    break
                connection.send(part if size_bytes is not None else b"%x\r\n%b\r\n" % (len(part), part))
            else:
                if size_bytes is None:
                    connection.send(b"0\r\n\r\n")
            answer = connection.getresponse()
            raw = answer.read(ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            raise DaemonUnreachable(self._target.unreachable(_reason(error))) from error
        finally:
            connection.close()
        return self._value(answer.status, answer.headers.get_content_type(), raw)

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        if self._target.token:
            headers["Authorization"] = f"Bearer {self._target.token}"
        return headers

    def _url(self, path: str, query: Query | None) -> str:
        return self._target.base_path + path + (f"?{urlencode(query, doseq=True)}" if query else "")

    def _exchange(
        self, method: str, path: str, query: Query | None, body: Any, timeout_s: float | None
    ) -> tuple[int, str, bytes]:
        headers = self._headers()
        payload = None
        if body is not None:
            payload = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        connection = _connection(self._target, timeout_s)
        try:
            connection.request(method, self._url(path, query), payload, headers)
            answer = connection.getresponse()
            raw = answer.read(ANSWER_BYTES_MAX + 1)
        except TimeoutError:
            raise DaemonUnreachable(f"{self._target} gave no answer within {timeout_s:.0f} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise DaemonUnreachable(self._target.unreachable(_reason(error))) from error
        finally:
            connection.close()
        if len(raw) > ANSWER_BYTES_MAX:
            raise DaemonUnreachable(f"{self._target} answered with over {ANSWER_BYTES_MAX} bytes")
        return answer.status, answer.headers.get_content_type(), raw


class Streamed:
    """An answer that is read part by part; a context manager that closes the connection."""

    def __init__(self, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._answer = answer
        self.size_bytes = int(answer.headers.get("Content-Length", "0"))

    def parts(self, part_bytes: int) -> Iterator[bytes]:
        """Raises DaemonUnreachable when it ends before its announced length."""
        left = self.size_bytes
        try:
            while left and (part := self._answer.read(min(part_bytes, left))):
                left -= len(part)
                yield part
        except (OSError, http.client.HTTPException) as error:
            raise DaemonUnreachable(f"the answer broke off: {_reason(error)}") from error
        if left:
            raise DaemonUnreachable(
                f"the answer broke off, {left} bytes before its end: the daemon's log says why"
            )

    def __enter__(self) -> Streamed:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


class EventLines:
    """An event stream, line by line, which another thread may end."""

    def __init__(self, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._answer = answer
        self._sock = connection.sock

    def lines(self) -> Iterator[bytes]:
        """Raises DaemonUnreachable when the connection breaks, or is silent for too long. To be read to its end."""
        try:
            while line := self._answer.readline(LINE_BYTES_MAX):
                self._sock.settimeout(SILENCE_MAX_S)
                yield line
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DaemonUnreachable("the event stream broke off") from error
        finally:
            self._connection.close()

    def close(self) -> None:
        """Ends it for whoever reads it, in another thread too. That one closes the connection."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)


def pull_path(pull_id: str, rest: str = "") -> str:
    return f"/v1/pulls/{quote(pull_id, safe='')}{rest}"


def model_path(repo: Repo, rest: str = "") -> str:
    return f"/v1/models/{repo.type}/{repo.org}/{repo.name}{rest}"


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"it does not speak HTTP ({type(error).__name__})"


def _connection(target: Target, timeout_s: float | None) -> http.client.HTTPConnection:
    if target.socket:
        return _UnixConnection(target.socket, timeout_s)
    kind = http.client.HTTPSConnection if target.tls else http.client.HTTPConnection
    return kind(target.host, target.port, timeout=timeout_s)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float | None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path
        self._timeout_s = timeout_s

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._timeout_s)
        self.sock.connect(self._path)
