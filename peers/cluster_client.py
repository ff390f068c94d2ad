"""The asking side of the cluster transport: proven requests over kept connections, and nothing believed unproven.

Whom an address leads to (name, start id, wire version) is remembered and learnt anew from a proven refusal, so a member
that restarted costs one more round trip. Sizes are bytes, times seconds.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlencode

import aiohttp
from aiohttp import hdrs
from yarl import URL

from peers import auth, wire
from peers.auth import ANSWER_HEADER, HEADER, NONCE_BYTES, Proof, Signer
from peers.cluster_errors import (
    AuthFailed,
    CallRefused,
    ClocksDiffer,
    LimitExceeded,
    MemberUnreachable,
)
from peers.cluster_server import CALL_PATH, STREAM_PATH, Identity
from peers.frames import HEAD_BYTES, FrameChain, FrameForged
from peers.membership import MEMBERS_MAX
from peers.secret import Secret

Sink: TypeAlias = Callable[[bytes], Awaitable[None]]
"""Takes proven bytes in order; while it is awaited no more are read."""

CONNECT_S = 3.0
"""Within a site a connection takes milliseconds; one lost SYN is sent again after a second."""

IDLE_S = 10.0
"""Connections are kept this long: less than servers do, so that a request never meets one just being closed."""

CONNECTIONS_MAX = 2048
CONNECTIONS_PER_MEMBER_MAX = 256
"""A long poll holds a connection, and one member may lead many blobs at once."""

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


class ClusterClient:
    """Asks other members in the name of ``me``. ``wall`` is the time of day, ``clock`` counts seconds steadily."""

    def __init__(
        self, me: Identity, secret: Secret, wall: Callable[[], float], clock: Callable[[], float]
    ) -> None:
        self._me = me
        self._wall = wall
        self._clock = clock
        self._signer = Signer(secret, me.name)
        self._known: dict[str, Identity] = {}
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=CONNECTIONS_MAX, limit_per_host=CONNECTIONS_PER_MEMBER_MAX, keepalive_timeout=IDLE_S
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=1 << 16,
        )

    async def stop(self) -> None:
        """Idempotent; calls under way fail."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def known(self, address: str) -> Identity | None:
        """Who answered at this address last."""
        return self._known.get(address)

    async def call(self, address: str, member: str, name: str, body: bytes, timeout_s: float) -> Answered:
        """Ask ``member`` at ``address``, or whoever is there when ``member`` is empty. Raises ClusterError."""
        if len(body) > wire.MESSAGE_BYTES_MAX:
            raise LimitExceeded(member, wire.MESSAGE_BYTES_MAX)
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_S)
        path = CALL_PATH + name
        for _ in range(TRIES_MAX):
            proof = self._sign(address, member, hdrs.METH_POST, path, body)
            began = self._clock()
            async with self._exchange(
                address, member, proof, hdrs.METH_POST, path, timeout, body
            ) as response:
                answer = await _read(response, wire.MESSAGE_BYTES_MAX, member or address)
            rtt_s = self._clock() - began
            self._check(response, proof, answer, member or address)
            if response.status == 200:
                return Answered(self._known.get(address, Identity(member, b"", 0)), answer, rtt_s)
            self._learn(address, member, proof, answer)
        raise MemberUnreachable(member or address, "its identity changes with every answer")

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
        """Stream from ``member`` into ``sink``; ``timeout_s`` bounds each wait for bytes. Returns how many came.

        Raises ClusterError; what the sink got before is proven all the same.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=timeout_s)
        path = f"{STREAM_PATH}{name}?{urlencode(query)}"
        for _ in range(TRIES_MAX):
            proof = self._sign(address, member, hdrs.METH_GET, path, b"")
            async with self._exchange(address, member, proof, hdrs.METH_GET, path, timeout, b"") as response:
                if response.status == 200:
                    chain = FrameChain(self._signer.keys, proof.nonce)
                    return await _receive(response, chain, sink, limit_bytes, member)
                answer = await _read(response, wire.MESSAGE_BYTES_MAX, member)
            self._check(response, proof, answer, member)
            self._learn(address, member, proof, answer)
        raise MemberUnreachable(member, "its identity changes with every answer")

    def _sign(self, address: str, member: str, method: str, path: str, body: bytes) -> Proof:
        known = self._known.get(address)
        if known is None or (member and known.name != member):
            known = Identity(member, b"", self._me.wire_version)
        return self._signer.sign(
            known.name,
            known.start_id,
            min(known.wire_version, self._me.wire_version),
            method,
            path,
            hashlib.sha256(body).digest(),
            secrets.token_bytes(NONCE_BYTES),
            self._wall(),
        )

    @asynccontextmanager
    async def _exchange(
        self,
        address: str,
        member: str,
        proof: Proof,
        method: str,
        path: str,
        timeout: aiohttp.ClientTimeout,
        body: bytes,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request; whatever breaks becomes MemberUnreachable."""
        if self._session is None:
            raise MemberUnreachable(member or address, "this daemon is stopping")
        try:
            async with self._session.request(
                method,
                URL(f"http://{address}{path}", encoded=True),
                headers={HEADER: proof.header()},
                data=body or None,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                yield response
        except TimeoutError as error:
            raise MemberUnreachable(member or address, "no answer in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise MemberUnreachable(member or address, str(error) or type(error).__name__) from error

    def _check(self, response: aiohttp.ClientResponse, proof: Proof, answer: bytes, whom: str) -> None:
        """Raises AuthFailed unless a member answered this very request."""
        if response.status == 401:
            raise AuthFailed(whom, "it does not accept this daemon's cluster secret", refused=True)
        try:
            mac = bytes.fromhex(response.headers.get(ANSWER_HEADER, ""))
        except ValueError:
            mac = b""
        if not auth.answer_holds((self._signer.keys,), proof.nonce, response.status, answer, mac):
            raise AuthFailed(whom, "its answer is not a member's, or was altered on the way", refused=False)

    def _learn(self, address: str, member: str, proof: Proof, answer: bytes) -> None:
        """Take a refusal: return to try again with what it teaches, else raise what it means."""
        try:
            refusal = wire.decode_refusal(answer)
        except wire.Unreadable as error:
            raise MemberUnreachable(member or address, str(error)) from error
        found = Identity(refusal.member, refusal.start_id, refusal.wire_version)
        self._remember(address, found)
        if refusal.code == "clock_skew":
            raise ClocksDiffer(found.name, proof.time_ms / 1000 - refusal.clock_s)
        if found.name == self._me.name and found.start_id != self._me.start_id:
            raise CallRefused("name_taken", f"another daemon at {address} has this name", member=found.name)
        if member and found.name != member:
            raise MemberUnreachable(member, f"{found.name} answers at {address}")
        if refusal.code == "wire_version":
            if found.wire_version not in wire.versions_spoken(self._me.wire_version):
                raise CallRefused("wire_version", refusal.detail, member=found.name)
        elif refusal.code != "wrong_recipient":
            raise CallRefused(refusal.code, refusal.detail, refusal.retryable, found.name)
        elif found.start_id == self._me.start_id:
            raise CallRefused("itself", "this address is this daemon's own", member=found.name)

    def _remember(self, address: str, found: Identity) -> None:
        self._known.pop(address, None)
        self._known[address] = found
        if len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]


async def _read(response: aiohttp.ClientResponse, limit_bytes: int, whom: str) -> bytes:
    body = bytearray()
    while part := await response.content.readany():
        body += part
        if len(body) > limit_bytes:
            response.close()
            raise LimitExceeded(whom, limit_bytes)
    return bytes(body)


async def _receive(
    response: aiohttp.ClientResponse, chain: FrameChain, sink: Sink, limit_bytes: int, member: str
) -> int:
    """Frames into the sink, each only once it is proven."""
    received = 0
    try:
        while True:
            head = await response.content.readexactly(HEAD_BYTES)
            length = chain.length(head)
            if received + length > limit_bytes:
                raise LimitExceeded(member, limit_bytes)
            frame = await response.content.readexactly(length)
            chain.check(head, frame)
            if not length:
                return received
            received += length
            await sink(frame)
    except FrameForged as error:
        raise AuthFailed(member, str(error), refused=False) from error
    except asyncio.IncompleteReadError as error:
        raise MemberUnreachable(member, "the stream was cut") from error
    finally:
        response.close()
