"""The listening side of the cluster transport: proves requests, bounds them, and hands them to registered handlers.

With TLS a connection is first proven by its certificate (`_Doorway`); requests are proven all the same.

A request whose proof does not hold gets a bare 401 before any byte of its body is read. Every other answer is proven.
Handlers raise `CallRefused` to say no; anything else they raise is logged here and told as ``internal``. A handler is
cancelled when its caller goes away. Sizes are bytes, times seconds.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol, TypeAlias
from urllib.parse import parse_qsl, urlsplit

from aiohttp import hdrs, web

from peers import auth, resolving, tls, wire
from peers.auth import ANSWER_HEADER, HEADER, Keys, Verifier
from peers.cluster_errors import CallRefused, ListenRefused
from peers.doors import Sources
from peers.frames import FrameChain, cut
from peers.secret import Secret
from peers.tls import TlsIdentity

CallHandler: TypeAlias = Callable[[str, bytes], Awaitable[bytes]]
"""Takes the sender's name and the body, and returns the answer's body."""

RequestHandler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

StreamHandler: TypeAlias = Callable[[str, Mapping[str, str]], AsyncGenerator[bytes, None]]
"""Takes the sender's name and the query, and yields the stream's bytes in parts of any size."""


class Gate(Protocol):
    """Looks at what a member asks before the handler of that name does."""

    async def call(self, sender: str, name: str, body: bytes) -> bytes:
        """The body that the handler is given. Raises CallRefused."""

    async def stream(self, sender: str, name: str, query: Mapping[str, str]) -> None:
        """Raises CallRefused."""


CALL_PATH = "/c1/"
STREAM_PATH = "/s1/"

CONNECTIONS_MAX = 4096
"""One long poll per member of the largest table; each idle connection costs a few KB."""

STRANGERS_MAX = 256
"""Connections on which nothing was proven yet. A further one ends the oldest: a member proves itself within a round
trip, so it gets through as long as strangers do not open that many in one."""

HEAD_FIELD_BYTES_MAX = 4096
HEAD_FIELDS_MAX = 32
"""With the request line about 130 KB of head per connection, the most a stranger can make this daemon keep."""

READ_BUFFER_BYTES = 1 << 16

HANDSHAKE_S = 5.0
"""For a TLS handshake: two round trips and some milliseconds of arithmetic. Until then the connection is a stranger's,
and holds 256 KiB of asyncio's buffers."""

STOP_S = 1.0
"""For handlers to take their cancellation."""

_STATUS = {"not_found": 404, "too_large": 413, "wrong_recipient": 421, "busy": 503, "internal": 500}
_REFUSED_STATUS = 409
_SERVER_NAME = "distd"

_NO_ACCESS_LOG = logging.Logger("no access log", logging.CRITICAL)
"""Requests of members come many times a second and are the protocol's, not people's."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long others may take; beyond, their connection is cut. Seconds.

    ``idle_s``: silence, or dribbling a request's head; longer than clients keep idle connections. ``body_s``: a whole
    body, 4 MiB at 2 Mbit/s. ``frame_s``: to take one frame of a stream, so that a stalled reader holds no memory here.
    """

    idle_s: float = 30.0
    body_s: float = 20.0
    frame_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Identity:
    """One start of one member. Empty name and start id: not known yet."""

    name: str
    start_id: bytes
    wire_version: int


class _Connection(web.RequestHandler):
    """aiohttp's, without explanations for those who do not speak HTTP."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if exc is not None and status >= 500:
            log.error("a cluster request failed", exc_info=exc)
        return _bare(status)


class _Listener(web.Server):
    """aiohttp's, with bounds on connections, strangers' ones in particular."""

    def __init__(self, handler: RequestHandler, idle_s: float) -> None:
        super().__init__(handler, handler_cancellation=True)
        self._idle_s = idle_s
        self._strangers: dict[object, asyncio.BaseTransport] = {}

    def __call__(self) -> web.RequestHandler:
        return _Connection(
            self,
            loop=self._loop,
            keepalive_timeout=self._idle_s,
            lingering_time=0,  # an unread body is dropped with its connection, not read to its end
            auto_decompress=False,  # nobody compresses here, and a small body must not become a large one
            access_log=_NO_ACCESS_LOG,
            read_bufsize=READ_BUFFER_BYTES,
            max_line_size=HEAD_FIELD_BYTES_MAX,
            max_field_size=HEAD_FIELD_BYTES_MAX,
            max_headers=HEAD_FIELDS_MAX,
        )

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self.note_stranger(handler, transport)
        if len(self.connections) > CONNECTIONS_MAX:
            transport.abort()

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        self._strangers.pop(handler, None)
        super().connection_lost(handler, exc)

    def note_stranger(self, who: object, transport: asyncio.BaseTransport) -> None:
        """Somebody who proved nothing yet; too many of them, and the oldest is cut off."""
        self._strangers[who] = transport
        if len(self._strangers) > STRANGERS_MAX:
            _abort(self._strangers.pop(next(iter(self._strangers))))

    def forget_stranger(self, who: object) -> None:
        """It proved itself, or is gone. Idempotent."""
        self._strangers.pop(who, None)

    def note_member(self, handler: web.RequestHandler) -> None:
        """A request on this connection was proven."""
        self._strangers.pop(handler, None)


class _Doorway(asyncio.Protocol):
    """Takes a connection through its TLS handshake, counted among the strangers, and hands it to HTTP.

    Not `create_server(ssl=...)`: there a connection whose handshake dribbles is seen by nobody, and a renewed
    certificate is not used.
    """

    def __init__(self, listener: _Listener, context: ssl.SSLContext) -> None:
        self._listener = listener
        self._context = context
        self._greeting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()  # what comes is for TLS
        self._listener.note_stranger(self, transport)
        self._greeting = asyncio.get_running_loop().create_task(self._greet(transport))

    async def _greet(self, transport: asyncio.Transport) -> None:
        handler = self._listener()
        try:
            secured = await asyncio.get_running_loop().start_tls(
                transport, handler, self._context, server_side=True, ssl_handshake_timeout=HANDSHAKE_S
            )
        except (OSError, ssl.SSLError, asyncio.CancelledError) as error:
            log.debug("no TLS handshake with %s: %r", transport.get_extra_info("peername"), error)
            transport.abort()
            return
        finally:
            self._listener.forget_stranger(self)
        if secured is None:  # gone in the moment it was proven
            transport.abort()
        else:
            handler.connection_made(secured)


def _abort(transport: asyncio.BaseTransport) -> None:
    assert isinstance(transport, asyncio.WriteTransport)
    transport.abort()


class ClusterServer:
    """Serves ``calls`` and ``streams``, to which handlers may be added at any time. ``wall`` is the time of day."""

    def __init__(
        self,
        me: Identity,
        secret: Secret,
        wall: Callable[[], float],
        patience: Patience,
        tls: TlsIdentity | None = None,
    ) -> None:
        self.calls: dict[str, CallHandler] = {}
        self.streams: dict[str, StreamHandler] = {}
        self.banned: Mapping[str, str] = {}
        """Members that are refused whatever they ask, and why."""
        self.gate: Gate | None = None
        self.sources = Sources()
        self._me = me
        self._wall = wall
        self._patience = patience
        self._verifier = Verifier(secret, me.name, me.start_id, wire.versions_spoken(me.wire_version))
        self._tls = tls
        self._listener: _Listener | None = None
        self._socket: asyncio.Server | None = None
        self._serving: set[asyncio.Task[object]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port (one of the system's choice for 0). Raises ListenRefused."""
        self._listener = _Listener(self._handle, self._patience.idle_s)
        try:
            bound = resolving.listener(host, port)
            self._socket = await asyncio.get_running_loop().create_server(self._door, sock=bound)
        except OSError as error:
            raise ListenRefused(f"{host}:{port}", error.strerror or str(error)) from error
        chosen: int = self._socket.sockets[0].getsockname()[1]
        return chosen

    def _door(self) -> asyncio.Protocol:
        assert self._listener is not None
        return _Doorway(self._listener, self._tls.accepting) if self._tls else self._listener()

    def change_credentials(self, secret: Secret, tls: TlsIdentity | None) -> None:
        """Accept these from now on; what is under way ends as it began. TLS cannot be turned on or off."""
        self._verifier.change(secret)
        if self._tls is not None and tls is not None:
            self._tls = tls

    async def stop(self) -> None:
        """Stop listening and end what is under way. Idempotent."""
        if self._socket is None or self._listener is None:
            return
        self._socket.close()
        for task in self._serving:
            task.cancel()
        self._listener.pre_shutdown()
        await self._listener.shutdown(STOP_S)
        await self._socket.wait_closed()
        self._socket = None

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            return await self._answer(request)
        finally:
            self._serving.discard(task)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = request.headers.getall(HEADER, [])
        header = headers[0] if len(headers) == 1 else ""
        method, path = request.method, request.raw_path
        try:
            verified = self._verifier.verify(header, method, path, self._wall())
        except auth.NotAuthenticated as error:
            log.debug("refused a request from %s: %s", request.remote, error)
            return _bare(401)
        except auth.ProvenRefusal as error:
            keys = self._verifier.keys_of(error.proof, method, path)
            return self._refuse(keys, error.proof.nonce, _refusal_of(error))
        proof, keys = verified.proof, verified.keys
        if self._listener is not None and request.protocol is not None:
            self._listener.note_member(request.protocol)
        try:
            if proof.sender == self._me.name:
                raise CallRefused("name_taken", f"two daemons are called {proof.sender}")
            if self._tls is not None and request.transport is not None:
                _check_certificate(request.transport, proof.sender, self._tls.revoked)
            self.sources.note(proof.sender, request.remote, time.monotonic())
            if (reason := self.banned.get(proof.sender)) is not None:
                raise CallRefused("banned", reason)
            body = await _read_body(request, self._patience.body_s)
            if hashlib.sha256(body).digest() != proof.body_sha256:
                return _bare(401)
            if method == hdrs.METH_POST and path.startswith(CALL_PATH):
                return self._proven(
                    keys,
                    proof.nonce,
                    200,
                    await self.answer_call(proof.sender, path.removeprefix(CALL_PATH), body),
                )
            if method == hdrs.METH_GET and path.startswith(STREAM_PATH):
                return await self._stream(request, keys, proof)
            raise CallRefused("not_found", f"{method} {path[: wire.TEXT_CHARS_MAX // 2]}")
        except CallRefused as refused:
            return self._refuse(keys, proof.nonce, refused)
        except (ConnectionError, web.RequestPayloadError):
            raise
        except Exception:
            log.exception("the request %s %s of %s failed", method, path, proof.sender)
            return self._refuse(keys, proof.nonce, CallRefused("internal", retryable=True))

    async def answer_call(self, sender: str, name: str, body: bytes) -> bytes:
        """What the handler of this name says. Raises CallRefused."""
        handler = self.calls.get(name)
        if handler is None:
            raise CallRefused("not_found", "no such call")
        try:
            if self.gate is not None and sender != self._me.name:
                body = await self.gate.call(sender, name, body)
            answer = await handler(sender, body)
        except CallRefused:
            raise
        except Exception as error:
            log.exception("the call %s of %s failed", name, sender)
            raise CallRefused("internal", retryable=True) from error
        if len(answer) > wire.MESSAGE_BYTES_MAX:
            raise CallRefused("too_large", f"the answer has {len(answer)} bytes")
        return answer

    async def _stream(self, request: web.BaseRequest, keys: Keys, proof: auth.Proof) -> web.StreamResponse:
        """The first part is awaited before the status is sent, so that a handler can still refuse."""
        parts = urlsplit(request.raw_path)
        handler = self.streams.get(parts.path.removeprefix(STREAM_PATH))
        if handler is None:
            raise CallRefused("not_found", "no such stream")
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        if self.gate is not None:
            await self.gate.stream(proof.sender, parts.path.removeprefix(STREAM_PATH), query)
        chain = FrameChain(keys, proof.nonce)
        async with aclosing(handler(proof.sender, query)) as source:
            part = await anext(source, None)
            response = web.StreamResponse(headers=_plain_headers())
            await response.prepare(request)
            try:
                while part is not None:
                    for frame in cut(part):
                        await _send(response, chain.head(frame), frame, self._patience.frame_s)
                    part = await anext(source, None)
                await _send(response, chain.head(b""), b"", self._patience.frame_s)
            except Exception as error:
                # The status is sent: the missing end of the stream tells the receiver.
                log.warning("the stream %s to %s was cut: %r", parts.path, proof.sender, error)
                if request.transport is not None:
                    request.transport.abort()
        return response

    def _proven(self, keys: Keys, nonce: bytes, status: int, body: bytes) -> web.Response:
        mac = auth.answer_mac(keys, nonce, status, body)
        return web.Response(status=status, body=body, headers=_plain_headers() | {ANSWER_HEADER: mac.hex()})

    def _refuse(self, keys: Keys, nonce: bytes, refused: CallRefused) -> web.Response:
        refusal = wire.Refusal(
            code=refused.code[: wire.TEXT_CHARS_MAX],
            member=self._me.name,
            start_id=self._me.start_id,
            wire_version=self._me.wire_version,
            clock_s=self._wall(),
            detail=refused.detail[: wire.TEXT_CHARS_MAX],
            retryable=refused.retryable,
        )
        body = wire.encode_refusal(refusal)
        return self._proven(keys, nonce, _STATUS.get(refused.code, _REFUSED_STATUS), body)


def _check_certificate(transport: asyncio.Transport, sender: str, revoked: frozenset[int]) -> None:
    """With TLS a member's name is not only its own word. Raises CallRefused."""
    shown = transport.get_extra_info("peercert") or {}
    if tls.serial_of(shown) in revoked:  # the connection is older than the list
        raise CallRefused("certificate_revoked", "the certificate shown is revoked")
    names = tls.names_of(shown)
    if sender[: tls.COMMON_NAME_CHARS_MAX] not in names and sender not in names:
        raise CallRefused(
            "certificate_name",
            f"the certificate shown is for {', '.join(sorted(names)) or 'nobody'}, not {sender}"[
                : wire.TEXT_CHARS_MAX
            ],
        )


async def _read_body(request: web.BaseRequest, patience_s: float) -> bytes:
    """At most `MESSAGE_BYTES_MAX`, in at most ``patience_s``; what comes later goes down with the connection."""
    too_large = CallRefused("too_large", f"more than {wire.MESSAGE_BYTES_MAX} bytes")
    if (request.content_length or 0) > wire.MESSAGE_BYTES_MAX:
        raise too_large
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = bytearray()
    try:
        async with asyncio.timeout(patience_s):
            while part := await request.content.readany():
                body += part
                if len(body) > wire.MESSAGE_BYTES_MAX:
                    raise too_large
    except TimeoutError as error:
        raise CallRefused("busy", f"the body took more than {patience_s:.0f} s", retryable=True) from error
    return bytes(body)


async def _send(
    response: web.StreamResponse, head: bytes, frame: bytes | memoryview, patience_s: float
) -> None:
    async with asyncio.timeout(patience_s):
        await response.write(head)
        if frame:
            await response.write(frame)


def _refusal_of(error: auth.ProvenRefusal) -> CallRefused:
    if isinstance(error, auth.ClockSkew):
        return CallRefused("clock_skew", str(error), retryable=True)
    if isinstance(error, auth.WrongRecipient):
        return CallRefused("wrong_recipient", retryable=True)
    if isinstance(error, auth.WrongVersion):
        return CallRefused("wire_version", str(error))
    return CallRefused("busy", str(error), retryable=True)


def _plain_headers() -> dict[str, str]:
    return {hdrs.SERVER: _SERVER_NAME, hdrs.CONTENT_TYPE: "application/octet-stream"}


def _bare(status: int) -> web.Response:
    """A status and nothing else; whoever gets it is not worth a connection."""
    response = web.Response(status=status, headers=_plain_headers())
    response.force_close()
    return response
