"""File data from the Hub: exact spans of bytes, in order, into a sink. Offsets are bytes, times seconds.

A span is asked for at the Hub, whose answer is the content (small files) or a redirect to a signed URL of a data
server; the URL then serves all spans of that file. Redirects are followed by hand, because the token belongs to the
Hub's own origin (scheme, host and port) and is sent nowhere else. Nothing is repeated here but the request for a new
URL after a 403: when and from whom to fetch again is for those to decide who see all members.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from distd.core.faults import FaultKind, FetchFailed, FetchFault
from distd.core.refs import Repo
from distd.errors import DistdError
from distd.hub.answers import RemoteFile, Source, Span, content_fault, refused, surplus, vouched
from distd.hub.headers import bearer
from distd.hub.locations import LIFETIME_S_UNTOLD, Location, Locations, lifetime_s
from distd.hub.network import proxy_for, tls_context
from distd.hub.receiving import RECEIVE_BYTES, Gathering, ReceiveAhead
from distd.hub.urls import expires_unix, host_shown, origin, redirect_target, resolve_url
from distd.pacing import Pacer

__all__ = ["Fetcher", "RemoteFile"]

REDIRECTS_MAX = 5
"""The Hub needs two: to the new name of a repo, and to the data server."""

READ_BUFFER_BYTES = 2**20
"""Per connection; aiohttp stops reading from the socket at twice this. Larger ones did not raise the throughput."""

HEADER_BYTES_MAX = 16_384
"""Longest header field: a signed URL with a policy has about 2 kB, aiohttp's own limit is 8 kB."""

LIFETIME_S_MAX = 86_400.0
"""Longest use of a URL that somebody else named: the Hub's own live an hour."""

_CONTENT = (200, 206)
_REDIRECTS = (301, 302, 303, 307, 308)
_KEEP_URL = (FaultKind.RATE_LIMITED, FaultKind.RANGE_IGNORED)
"""Faults of a data server that another URL would not cure; after all others the Hub may name a better server."""

Sink = Callable[[bytes], Awaitable[None]]
Locate = Callable[[RemoteFile], Awaitable[tuple[str, float] | None]]
"""Asked for a file's signed URL, and the seconds it may be used, before the Hub is; None: ask the Hub. May raise FetchFailed."""
_Key = tuple[Repo, str, str]


@dataclass(frozen=True, slots=True)
class _Answer:
    """A 200 or 206 whose body is still to be read; whoever holds it leaves `response` as a context manager."""

    response: aiohttp.ClientResponse
    source: Source


class Fetcher:
    """Fetches from one endpoint over keep-alive connections, at most `connections` to each server.

    Use as an async context manager, or call `open` and `close`. `token` is called for every request to the Hub.
    `stall_s` is the longest silence of a server, `connect_s` the longest set-up of a connection. `on_wire` is called
    with the length of each received part of a body, `on_response` with the status of each answer, 0 for a request that got
    none. `locate`, which may be set later, knows URLs that somebody else has asked for. `pace` holds the bodies of all connections together to a
    rate; what else is asked and answered is small and not counted there.
    Raises ValueError for an endpoint that is no http or https URL.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        token: Callable[[], str | None],
        user_agent: str,
        connections: int,
        ca_file: str | None = None,
        stall_s: float = 20.0,
        connect_s: float = 10.0,
        on_wire: Callable[[int], None] | None = None,
        on_response: Callable[[int], None] | None = None,
        locate: Locate | None = None,
        pace: Pacer | None = None,
    ) -> None:
        self.locate = locate
        self._pace = pace or Pacer()
        self._ahead = ReceiveAhead(self._pace)
        self.endpoint = endpoint.rstrip("/")
        self._origin = origin(self.endpoint)
        self._token = token
        self._user_agent = user_agent
        self._connections = connections
        self._ca_file = ca_file
        self._stall_s = stall_s
        self._connect_s = connect_s
        self._on_wire = on_wire or _ignore
        self._on_response = on_response or _ignore
        self._session: aiohttp.ClientSession | None = None
        self._running: set[asyncio.Timeout] = set()
        self._locations = Locations()
        self._flights: dict[_Key, asyncio.Future[FetchFault | None]] = {}

    async def open(self) -> None:
        """Raises InvalidRequest for a CA file that cannot be used."""
        connector = aiohttp.TCPConnector(
            limit=0, limit_per_host=self._connections, ssl=tls_context(self._ca_file)
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_s, sock_read=self._stall_s),
            headers={"User-Agent": self._user_agent, "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=READ_BUFFER_BYTES,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
        )

    async def close(self) -> None:
        """Closes the connections; running fetches fail. Idempotent."""
        running, self._running = self._running, set()
        for scope in running:
            scope.reschedule(asyncio.get_running_loop().time())
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def fetch(self, remote: RemoteFile, start: int, end: int, sink: Sink) -> None:
        """Delivers bytes [start, end) of the file to `sink`, which is awaited for each part.

        Returns when the last byte was delivered. Raises FetchFailed; what was delivered before counts, so go on
        behind it. What `sink` raises passes through unchanged.
        """
        if not 0 <= start <= end <= remote.file.size_bytes:
            raise ValueError(f"[{start}, {end}) is no span of {remote.file}")
        if start == end:
            return
        span = Span(start, end)
        # No time limit, but a handle for `close`: aiohttp leaves the readers of a closed session waiting for ever.
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._running.add(scope)
                with self._pace.use():
                    answer = await self._open_body(remote, span)
                    held_bytes = min(self._ahead.held_bytes(), span.size_bytes)
                    async with answer.response:
                        with (
                            self._ahead.gathering(answer.response) as gathering,
                            self._pace.holding(held_bytes),
                        ):
                            await self._deliver(answer, remote, span, sink, gathering)
        except TimeoutError:
            if not scope.expired():
                raise
            raise FetchFailed(self._closed_fault()) from None
        finally:
            self._running.discard(scope)

    async def location(self, remote: RemoteFile) -> tuple[str, float] | None:
        """The file's signed URL and the seconds it may be used; None where the Hub serves the file itself.

        Asks the Hub, never `locate`, and only when it is not known. The URL is a secret: it is not to be logged.
        Raises FetchFailed.
        """
        key = _key(remote)
        if self._locations.find(key, time.monotonic()) is None:
            found = await self._locate(key, remote, Span(0, min(1, remote.file.size_bytes)))
            if isinstance(found, _Answer):
                found.response.close()
        location = self._locations.find(key, time.monotonic())
        if location is None or location.url is None:
            return None
        return location.url, location.use_until - time.monotonic()

    async def _open_body(self, remote: RemoteFile, span: Span) -> _Answer:
        key = _key(remote)
        found = await self._locate(key, remote, span, self.locate)
        if isinstance(found, _Answer):
            return found
        try:
            return await self._ask_data(found, remote, span)
        except FetchFailed as failed:
            if failed.fault.kind not in _KEEP_URL:
                self._locations.forget(key, found)
            if failed.fault.kind is not FaultKind.DENIED:
                raise
        # The URL expired by its server's clock, or was revoked: a new one helps, or nothing does.
        found = await self._locate(key, remote, span)
        return found if isinstance(found, _Answer) else await self._ask_data(found, remote, span)

    async def _locate(
        self, key: _Key, remote: RemoteFile, span: Span, others: Locate | None = None
    ) -> str | _Answer:
        """The file's signed URL; or the Hub's own answer for the span, where it serves the file itself.

        Spans that begin together ask the Hub once: the first asks, the others use what it learns or share its failure.
        `others` are asked before the Hub.
        """
        while (location := self._locations.find(key, time.monotonic())) is None and key in self._flights:
            flight = self._flights[key]
            await asyncio.wait([flight])
            if (fault := flight.result()) is not None:
                raise FetchFailed(fault)
        if location is not None:
            return location.url or await self._ask_hub(key, remote, span)
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        fault = None
        try:
            told = await others(remote) if others else None
            return self._take(key, *told) if told else await self._ask_hub(key, remote, span)
        except FetchFailed as failed:
            if self._locations.find(key, time.monotonic()) is None:
                fault = failed.fault  # else it is a fault of this span alone
            raise
        finally:
            del self._flights[key]
            flight.set_result(fault)

    def _take(self, key: _Key, told: str, left_s: float) -> str:
        """Remembers a URL from elsewhere, held to the rules for the Hub's own redirects. Raises FetchFailed."""
        try:
            url = redirect_target(self.endpoint, told)
        except ValueError as error:
            source = Source(self.endpoint, host_shown(self.endpoint), is_hub=True, authenticated=False)
            raise FetchFailed(
                source.fault(FaultKind.SERVER_ERROR, f"is said to send us on: {error}")
            ) from None
        self._locations.keep(key, Location(url, time.monotonic() + min(left_s, LIFETIME_S_MAX)))
        return url

    async def _ask_hub(self, key: _Key, remote: RemoteFile, span: Span) -> str | _Answer:
        """Asks the Hub's own origin, with the token, and remembers where the file is."""
        url = resolve_url(self.endpoint, remote.repo, remote.commit, remote.file.path)
        for _hop in range(REDIRECTS_MAX + 1):
            response, source = await self._get(url, remote, span, with_token=True)
            fault = vouched(source, response.headers, remote) if response.status < 400 else None
            if fault is not None:
                response.close()
                raise FetchFailed(fault)
            if response.status not in _REDIRECTS:
                if response.status in _CONTENT:
                    self._locations.keep(key, Location(None, time.monotonic() + LIFETIME_S_UNTOLD))
                return self._with_content(response, source, remote, span)
            url = self._next(response, source, url)
            if origin(url) != self._origin:
                left_s = lifetime_s(expires_unix(url), _date_unix(response))
                self._locations.keep(key, Location(url, time.monotonic() + left_s))
                return url
        raise FetchFailed(_circle(source))

    async def _ask_data(self, url: str, remote: RemoteFile, span: Span) -> _Answer:
        """Asks a data server: without the token, also if it leads back to the Hub."""
        for _hop in range(REDIRECTS_MAX + 1):
            response, source = await self._get(url, remote, span, with_token=False)
            if response.status not in _REDIRECTS:
                return self._with_content(response, source, remote, span)
            url = self._next(response, source, url)
        raise FetchFailed(_circle(source))

    async def _get(
        self, url: str, remote: RemoteFile, span: Span, *, with_token: bool
    ) -> tuple[aiohttp.ClientResponse, Source]:
        """The answer's head, whatever its status."""
        source = Source(self.endpoint, host_shown(url), with_token, authenticated=False)
        session = self._session
        if session is None:
            raise FetchFailed(self._closed_fault())
        try:
            proxy = proxy_for(url)
            headers = bearer(self._token()) if with_token else {}
        except DistdError as error:
            raise FetchFailed(FetchFault(FaultKind.DENIED, str(error), error)) from error
        source = Source(self.endpoint, source.host, with_token, authenticated=bool(headers))
        if span.size_bytes < remote.file.size_bytes:
            headers["Range"] = f"bytes={span.start}-{span.end - 1}"
        try:
            # `encoded`: a signature holds only for the URL as it was written.
            response = await session.get(
                URL(url, encoded=True),
                headers=headers,
                proxy=proxy,
                allow_redirects=False,
                read_bufsize=self._pace.ahead_bytes(READ_BUFFER_BYTES),
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            self._on_response(0)
            stalled = isinstance(error, aiohttp.SocketTimeoutError)
            kind = FaultKind.STALLED if stalled else FaultKind.UNREACHABLE
            # `from None`: aiohttp's errors carry the signed URL and the token, and a logged cause would show them.
            raise FetchFailed(source.fault(kind, f"did not answer: {_reason(error)}")) from None
        self._on_response(response.status)
        self._ahead.fit(response)
        return response, source

    def _closed_fault(self) -> FetchFault:
        source = Source(self.endpoint, host_shown(self.endpoint), is_hub=True, authenticated=False)
        return source.fault(FaultKind.UNREACHABLE, "is not asked any more: the fetcher was closed")

    def _with_content(
        self, response: aiohttp.ClientResponse, source: Source, remote: RemoteFile, span: Span
    ) -> _Answer:
        fault = (
            content_fault(source, response.status, response.headers, remote, span)
            if response.status in _CONTENT
            else refused(source, response.status, response.headers, remote, time.time())
        )
        if fault is not None:
            response.release()  # closes the connection if a body is still to come
            raise FetchFailed(fault)
        return _Answer(response, source)

    def _next(self, response: aiohttp.ClientResponse, source: Source, url: str) -> str:
        response.release()
        try:
            return redirect_target(url, response.headers.get("Location", ""))
        except ValueError as error:
            raise FetchFailed(source.fault(FaultKind.SERVER_ERROR, str(error))) from error

    async def _deliver(
        self, answer: _Answer, remote: RemoteFile, span: Span, sink: Sink, gathering: Gathering
    ) -> None:
        source, content = answer.source, answer.response.content
        # A 200 for the beginning of the file: the rest comes too, and is left unread with its connection closed.
        is_beginning = answer.response.status == 200 and span.end < remote.file.size_bytes
        left = span.size_bytes
        while left:
            chunk = await self._read(content, source, span.size_bytes - left, span)
            if not chunk:
                detail = f"closed the connection after {span.size_bytes - left} of {span.size_bytes} bytes"
                raise FetchFailed(source.fault(FaultKind.CUT, detail))
            if len(chunk) > left:
                if not is_beginning:
                    raise FetchFailed(surplus(source, remote, span))
                chunk = chunk[:left]
            left -= len(chunk)
            gathering.received(len(chunk), left)
            await sink(chunk)
        if (
            not is_beginning
            and not content.at_eof()
            and await self._read(content, source, span.size_bytes, span)
        ):
            raise FetchFailed(surplus(source, remote, span))

    async def _read(
        self, content: aiohttp.StreamReader, source: Source, done_bytes: int, span: Span
    ) -> bytes:
        try:
            if self._pace.rate_bytes_per_s:
                chunk = await content.read(self._pace.part_bytes(RECEIVE_BYTES))
            else:
                chunk = await content.readany()
        except TimeoutError:
            detail = f"was silent for {self._stall_s:g} s after {done_bytes} of {span.size_bytes} bytes"
            raise FetchFailed(source.fault(FaultKind.STALLED, detail)) from None
        except (aiohttp.ClientError, OSError) as error:
            detail = f"broke off after {done_bytes} of {span.size_bytes} bytes: {_reason(error)}"
            raise FetchFailed(source.fault(FaultKind.CUT, detail)) from None  # as in _get
        self._on_wire(len(chunk))
        await self._pace.pay(len(chunk))
        return chunk


def _key(remote: RemoteFile) -> _Key:
    return remote.repo, remote.commit, remote.file.path


def _circle(source: Source) -> FetchFault:
    return source.fault(FaultKind.SERVER_ERROR, f"redirects more than {REDIRECTS_MAX} times")


def _date_unix(response: aiohttp.ClientResponse) -> float:
    """The server's clock, by which its URLs expire; ours where it does not tell."""
    try:
        return parsedate_to_datetime(response.headers["Date"]).timestamp()
    except (LookupError, ValueError, TypeError, OverflowError):
        return time.time()


def _reason(error: Exception) -> str:
    """What went wrong, without the URL and the headers that aiohttp puts into its messages."""
    match error:
        case TimeoutError():
            return "time-out"
        case aiohttp.ClientConnectorCertificateError():
            return f"its TLS certificate was refused ({error.certificate_error}); see hub.ca_file"
        case aiohttp.ClientHttpProxyError():
            return f"the proxy answered {error.status}"
        case aiohttp.ClientResponseError():
            return f"not HTTP ({type(error).__name__})"
        case aiohttp.ClientConnectorError():
            return f"{type(error).__name__}: {error.os_error}"
        case OSError() if error.strerror:
            return error.strerror
    return type(error).__name__


def _ignore(_value: int) -> None:
    """For callers that count nothing."""
