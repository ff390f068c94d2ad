"""The asking side of the cluster transport: proven requests over kept connections, and nothing believed unproven.

Whom an address leads to (name, start id, wire version) is remembered and learnt anew from a proven refusal, so a member
that restarted costs one more round trip. Sizes are bytes, times seconds.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlencode

import aiohttp
from aiohttp import hdrs
from yarl import URL

from peers import auth, wire
from peers.auth import ANSWER_HEADER, HEADER, NONCE_BYTES, Keys, Proof, Signer
from peers.cluster_errors import AuthFailed, CallRefused, ClocksDiffer, LimitExceeded, MemberUnreachable
from peers.cluster_server import CALL_PATH, STREAM_PATH, Identity
from peers.frames import HEAD_BYTES, FrameChain, FrameForged
from peers.membership import MEMBERS_MAX
from peers.secret import Secret
from peers.tls import TlsIdentity

Sink: TypeAlias = Callable[[bytes], Awaitable[None]]
"""Takes proven bytes in order; while it is awaited no more are read. What it raises ends the stream and is passed on."""

Body: TypeAlias = bytes | Callable[[int], bytes]
"""A request's body, or how to write it in the wire version that the recipient turns out to speak."""

CONNECT_S = 3.0
"""Within a site a connection takes milliseconds; one lost SYN is sent again after a second."""

IDLE_S = 10.0
"""Connections are kept this long: less than servers do, so that a request never meets one just being closed."""

CONNECTIONS_MAX = 2048
CONNECTIONS_PER_MEMBER_MAX = 256
"""A long poll holds a connection, and one member may lead many blobs at once."""

ASK_FIRST_BYTES = 1 << 16
"""Longer bodies are sent only when the recipient has accepted the head: one that refuses closes the connection without
reading the rest, and its answer would be lost in the reset."""

TRIES_MAX = 3
"""The first may teach the start id, the second the wire version; a third lesson is a fault."""

KNOWN_MAX = 2 * MEMBERS_MAX
"""Addresses remembered: members and what they were called before."""


@dataclass(frozen=True, slots=True)
class Answered:
    """Who answered, what, and the seconds from the last request to its answer."""

    by: Identity
    body: bytes
    rtt_s: float


@dataclass(frozen=True, slots=True)
class _Target:
    """``member`` may be empty: whoever is at the address."""

    address: str
    member: str

    @property
    def called(self) -> str:
        return self.member or self.address


class ClusterClient:
    """Asks other members in the name of ``me``. ``wall`` is the time of day, ``clock`` counts seconds steadily."""

    def __init__(
        self,
        me: Identity,
        secret: Secret,
        wall: Callable[[], float],
        clock: Callable[[], float],
        tls: TlsIdentity | None = None,
    ) -> None:
        self._me = me
        self._wall = wall
        self._clock = clock
        self._signer = Signer(secret, me.name)
        self._known: dict[str, Identity] = {}
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    def change_credentials(self, secret: Secret, tls: TlsIdentity | None) -> None:
        """Sign with this secret, and show this certificate on new connections; requests under way end as they began."""
        self._signer = Signer(secret, self._me.name)
        if self._tls is not None and tls is not None:
            self._tls = tls

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=CONNECTIONS_MAX, limit_per_host=CONNECTIONS_PER_MEMBER_MAX, keepalive_timeout=IDLE_S
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={hdrs.USER_AGENT: "distd"},
        )

    async def stop(self) -> None:
        """Idempotent; calls under way fail."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    def known(self, address: str) -> Identity | None:
        """Who answered at this address last."""
        return self._known.get(address)

    async def call(self, address: str, member: str, name: str, body: Body, timeout_s: float) -> Answered:
        """Ask ``member`` at ``address``, or whoever is there when ``member`` is empty. Raises ClusterError."""
        target = _Target(address, member)
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_S)
        for _ in range(TRIES_MAX):
            known = self._recipient(target)
            content = (
                body if isinstance(body, bytes) else body(min(known.wire_version, self._me.wire_version))
            )
            if len(content) > wire.MESSAGE_BYTES_MAX:
                raise LimitExceeded(target.called, wire.MESSAGE_BYTES_MAX)
            path = CALL_PATH + name
            signer = self._signer
            proof = self._sign(signer, known, hdrs.METH_POST, path, content)
            began = self._clock()
            response = await self._request(target, proof, hdrs.METH_POST, path, timeout, content)
            async with response:
                answer = await _read(response, target)
            _check(response, signer.keys, proof, answer, target)
            if response.status == 200:
                return Answered(known, answer, self._clock() - began)
            self._learn(target, proof, answer)
        raise MemberUnreachable(target.called, "its identity changes with every answer")

    async def fetch(
        self,
        address: str,
        member: str,
        name: str,
        query: Mapping[str, str],
        sink: Sink,
        limit_bytes: int,
        timeout_s: float,
    ) -> int:
        """Stream from ``member`` into ``sink``; ``timeout_s`` bounds the wait for each frame. Returns the bytes' number.

        Raises ClusterError; what the sink got before is proven all the same.
        """
        target = _Target(address, member)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=timeout_s)
        path = f"{STREAM_PATH}{name}?{urlencode(query)}" if query else STREAM_PATH + name
        for _ in range(TRIES_MAX):
            signer = self._signer
            proof = self._sign(signer, self._recipient(target), hdrs.METH_GET, path, b"")
            response = await self._request(target, proof, hdrs.METH_GET, path, timeout, b"")
            async with response:
                if response.status == 200:
                    chain = FrameChain(signer.keys, proof.nonce)
                    return await _receive(response, chain, sink, limit_bytes, target, timeout_s)
                answer = await _read(response, target)
            _check(response, signer.keys, proof, answer, target)
            self._learn(target, proof, answer)
        raise MemberUnreachable(member, "its identity changes with every answer")

    def _recipient(self, target: _Target) -> Identity:
        known = self._known.get(target.address)
        if known is None or (target.member and known.name != target.member):
            return Identity(target.member, b"", self._me.wire_version)
        return known

    def _sign(self, signer: Signer, recipient: Identity, method: str, path: str, body: bytes) -> Proof:
        return signer.sign(
            recipient.name,
            recipient.start_id,
            min(recipient.wire_version, self._me.wire_version),
            method,
            path,
            hashlib.sha256(body).digest(),
            secrets.token_bytes(NONCE_BYTES),
            self._wall(),
        )

    async def _request(
        self,
        target: _Target,
        proof: Proof,
        method: str,
        path: str,
        timeout: aiohttp.ClientTimeout,
        body: bytes,
    ) -> aiohttp.ClientResponse:
        """One request up to the head of its answer."""
        if self._session is None:
            raise MemberUnreachable(target.called, "this daemon does not take part in the cluster now")
        asks_first = len(body) > ASK_FIRST_BYTES
        with _reaching(target):
            return await self._session.request(
                method,
                URL(f"{'https' if self._tls else 'http'}://{target.address}{path}", encoded=True),
                headers={HEADER: proof.header()},
                data=io.BytesIO(body) if asks_first else body or None,  # a file is sent in parts
                expect100=asks_first,
                timeout=timeout,
                allow_redirects=False,
                ssl=self._tls.asking if self._tls else True,
            )

    def _learn(self, target: _Target, proof: Proof, answer: bytes) -> None:
        """Take a refusal: return to try again with what it teaches, else raise what it means."""
        try:
            refusal = wire.decode_refusal(answer)
        except wire.Unreadable as error:
            raise MemberUnreachable(target.called, str(error)) from error
        found = Identity(refusal.member, refusal.start_id, refusal.wire_version)
        self._remember(target.address, found)
        if found.name == self._me.name:
            self._met_own_name(target, found)
        if refusal.code == "clock_skew":
            raise ClocksDiffer(found.name, proof.time_ms / 1000 - refusal.clock_s)
        if target.member and found.name != target.member:
            raise MemberUnreachable(target.member, f"{found.name} answers at {target.address}")
        if refusal.code == "wire_version":
            if found.wire_version not in wire.versions_spoken(self._me.wire_version):
                raise CallRefused(
                    "wire_version", f"it speaks version {found.wire_version}", member=found.name
                )
        elif refusal.code != "wrong_recipient":
            raise CallRefused(refusal.code, refusal.detail, refusal.retryable, found.name)

    def _met_own_name(self, target: _Target, found: Identity) -> None:
        if found.start_id == self._me.start_id:
            raise CallRefused("itself", f"{target.address} is this daemon's own address", member=found.name)
        raise CallRefused(
            "name_taken",
            f"another daemon, at {target.address}, has this daemon's node.name",
            member=found.name,
        )

    def _remember(self, address: str, found: Identity) -> None:
        self._known.pop(address, None)
        self._known[address] = found
        if len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]


def _check(
    response: aiohttp.ClientResponse, keys: Keys, proof: Proof, answer: bytes, target: _Target
) -> None:
    """Raises AuthFailed unless a member answered this very request."""
    if response.status == 401:
        raise AuthFailed(
            target.called,
            "it does not accept this daemon's cluster secret (not_authenticated)",
            refused=True,
        )
    try:
        mac = bytes.fromhex(response.headers.get(ANSWER_HEADER, ""))
    except ValueError:
        mac = b""
    if not auth.answer_holds((keys,), proof.nonce, response.status, answer, mac):
        raise AuthFailed(
            target.called, "its answer is not a member's, or was altered on the way", refused=False
        )


@contextmanager
def _reaching(target: _Target) -> Iterator[None]:
    """Whatever breaks on the way becomes MemberUnreachable."""
    try:
        yield
    except TimeoutError as error:
        raise MemberUnreachable(target.called, "no answer in time") from error
    except asyncio.IncompleteReadError as error:
        raise MemberUnreachable(target.called, "the stream was cut") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise MemberUnreachable(target.called, str(error) or type(error).__name__) from error


async def _read(response: aiohttp.ClientResponse, target: _Target) -> bytes:
    body = bytearray()
    with _reaching(target):
        while part := await response.content.readany():
            body += part
            if len(body) > wire.MESSAGE_BYTES_MAX:
                raise LimitExceeded(target.called, wire.MESSAGE_BYTES_MAX)
    return bytes(body)


async def _receive(
    response: aiohttp.ClientResponse,
    chain: FrameChain,
    sink: Sink,
    limit_bytes: int,
    target: _Target,
    timeout_s: float,
) -> int:
    """Frames into the sink, each only once it is proven."""
    received = 0
    while True:
        try:
            with _reaching(target):
                async with asyncio.timeout(timeout_s):
                    head = await response.content.readexactly(HEAD_BYTES)
                    length = chain.length(head)
                    if received + length > limit_bytes:
                        raise LimitExceeded(target.called, limit_bytes)
                    frame = await response.content.readexactly(length)
                    chain.check(head, frame)
                    if not length:
                        await (
                            response.content.readany()
                        )  # the end of the answer, so that the connection can be kept
                        return received
        except FrameForged as error:
            raise AuthFailed(target.called, str(error), refused=False) from error
        received += length
        await sink(frame)
