"""TLS swarms: content moves between members of one CA, and nobody else gets as far as a handshake of BitTorrent."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from peers.engine import Engine
from peers.metainfo import Kind, Metainfo, hot_metainfo, sealed_metainfo
from peers.settings import EngineOptions
from peers.swarm import Endpoint
from peers.tls import TlsIdentity
from tests.peers.authority import Authority
from tests.peers.test_encryption import Wire
from tests.peers.worlds import BLOB, MIB, SECRET, Node, RealWorld, all_of, none_of, random_content, sealed

PIECES = 8
CONTENT = random_content(PIECES * MIB)
EMPTY = bytes(len(CONTENT))
EVERY = set(range(PIECES))
NONE, ALL = none_of(CONTENT), all_of(CONTENT)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
async def world(tmp_path: Path, authority: Authority) -> AsyncIterator[RealWorld]:
    made = RealWorld(tmp_path, options(authority.identity("any")))
    yield made
    await made.end()


def options(identity: TlsIdentity) -> EngineOptions:
    return EngineOptions("127.0.0.1", encryption="tls", tls=identity)


def metainfo(identity: TlsIdentity, kind: Kind) -> Metainfo:
    if kind is Kind.HOT:
        return hot_metainfo(SECRET, BLOB, len(CONTENT), tls_ca=identity.ca_pem)
    digests = sealed(CONTENT).piece_sha1
    assert digests is not None
    return sealed_metainfo(SECRET, BLOB, len(CONTENT), digests, tls_ca=identity.ca_pem)


async def seeding(world: RealWorld, authority: Authority, kind: Kind = Kind.HOT) -> tuple[Node, Metainfo]:
    identity = authority.identity("seed")
    seed, found = await world.node("seed", options(identity)), metainfo(identity, kind)
    await seed.join(found, CONTENT, ALL)
    return seed, found


@pytest.mark.parametrize("kind", list(Kind))
async def test_members_exchange_and_the_wire_shows_neither_content_nor_a_handshake(
    world: RealWorld, authority: Authority, kind: Kind
) -> None:
    seed, found = await seeding(world, authority, kind)
    reader = await world.node("reader", options(authority.identity("reader")))
    wire = Wire()
    tapped = await wire.start(seed.endpoint(kind))
    await reader.swarm.open(found, reader.write(EMPTY), NONE, [tapped])
    await world.until(lambda: reader.pieces(kind) == EVERY, "all pieces")
    await wire.stop()

    assert reader.read() == CONTENT
    assert len(wire.seen) > len(CONTENT)
    for index in range(PIECES):
        assert CONTENT[index * MIB : index * MIB + 32] not in wire.seen
    assert found.info_hash not in wire.seen
    assert b"BitTorrent protocol" not in wire.seen
    # The engine asks for a torrent by its hash in the greeting of TLS, in hexadecimal and in clear. It is keyed by the
    # secret, so it does not tell which blob this is, and without a certificate it opens nothing (the next tests).
    assert found.info_hash.hex().encode() in wire.seen


async def spoken_to(seed: Node, context: ssl.SSLContext | None, found: Metainfo) -> bytes:
    """What the seed answers to a handshake of BitTorrent by somebody who knows the info-hash, also in the TLS greeting."""
    endpoint = seed.endpoint(found.kind)
    name = found.info_hash.hex() if context else None
    try:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(
                endpoint.host, endpoint.port, ssl=context, server_hostname=name
            )
            writer.write(b"\x13BitTorrent protocol" + bytes(8) + found.info_hash + b"-XX0000-" + bytes(12))
            answer = await reader.read(1 << 16)
            writer.transport.abort()
    except (ConnectionError, ssl.SSLError):
        return b""
    return answer


def client(identity: TlsIdentity | None = None) -> ssl.SSLContext:
    if identity is not None:
        return identity.asking
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def test_a_stranger_that_knows_the_info_hash_gets_nothing(
    world: RealWorld, authority: Authority, tmp_path: Path
) -> None:
    seed, found = await seeding(world, authority)
    foreign = Authority(tmp_path / "foreign").identity("intruder")
    foreign.asking.check_hostname = False
    foreign.asking.verify_mode = ssl.CERT_NONE

    greeted = await spoken_to(seed, None, found)
    assert greeted[:1] in (b"", b"\x15")  # at most an alert of TLS, which is a byte of 21 and seven in all
    assert len(greeted) <= 7
    assert await spoken_to(seed, client(), found) == b""
    assert await spoken_to(seed, client(foreign), found) == b""
    # The same words by a member are answered: it is the certificate that made the difference.
    answer = await spoken_to(seed, client(authority.identity("member")), found)
    assert answer.startswith(b"\x13BitTorrent protocol")
    assert found.info_hash in answer[:68]


async def test_a_member_of_another_ca_gets_nothing_with_the_same_secret(
    world: RealWorld, authority: Authority, tmp_path: Path
) -> None:
    seed, _ = await seeding(world, authority)
    foreign = Authority(tmp_path / "foreign").identity("intruder")
    reader = await world.node("intruder", options(foreign))
    await reader.swarm.open(metainfo(foreign, Kind.HOT), reader.write(EMPTY), NONE, [seed.endpoint(Kind.HOT)])
    friend = await world.node("friend", options(authority.identity("friend")))
    await friend.swarm.open(
        metainfo(authority.identity("friend"), Kind.HOT), friend.write(EMPTY), NONE, [seed.endpoint(Kind.HOT)]
    )
    await world.until(lambda: friend.pieces() == EVERY, "all pieces for the member")
    assert reader.pieces() == set()


async def test_a_renewed_certificate_is_shown_to_whoever_comes_next(
    world: RealWorld, authority: Authority
) -> None:
    seed, found = await seeding(world, authority)
    assert isinstance(seed.swarm, Engine)
    shown = [await certificate_of(seed.endpoint(Kind.HOT), found, authority)]
    seed.swarm.renew_certificate(authority.identity("seed"))
    shown.append(await certificate_of(seed.endpoint(Kind.HOT), found, authority))
    reader = await world.node("reader", options(authority.identity("reader")))
    await reader.swarm.open(found, reader.write(EMPTY), NONE, [seed.endpoint(Kind.HOT)])
    await world.until(lambda: reader.pieces() == EVERY, "all pieces")

    assert shown[0] != shown[1]


async def certificate_of(endpoint: Endpoint, found: Metainfo, authority: Authority) -> bytes:
    """The certificate that a connection for this torrent is shown."""
    async with asyncio.timeout(10):
        _, writer = await asyncio.open_connection(
            endpoint.host,
            endpoint.port,
            ssl=client(authority.identity("looker")),
            server_hostname=found.info_hash.hex(),
        )
    secured = writer.get_extra_info("ssl_object")
    shown: bytes = secured.getpeercert(binary_form=True)
    writer.transport.abort()
    return shown
