"""Whoever knows how peers greet: the encrypted handshake of BitTorrent (MSE) from its first byte to its end.

As described in "Message Stream Encryption", which has no BEP: Diffie-Hellman in the clear, then a proof of knowing the
info-hash, then RC4.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Iterator

from peers.swarm import Endpoint

PRIME = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74"
    "020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F14374"
    "FE1356D6D51C245E485B576625E7EC6F44C42E9A63A36210000000000090563",
    16,
)
KEY_BYTES = 96
PADDING_BYTES_MAX = 512
VERIFICATION = bytes(8)
EITHER = (3).to_bytes(4, "big")
"""What may follow the handshake: RC4 or plain text, as the peer likes."""
GREETING = b"\x13BitTorrent protocol"
PATIENCE_S = 10.0


def rc4(key: bytes) -> Iterator[int]:
    """The key stream, without the first 1,024 bytes, which MSE drops."""
    state, j = list(range(256)), 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    i = j = produced = 0
    while True:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        produced += 1
        if produced > 1024:
            yield state[(state[i] + state[j]) % 256]


def crypt(key: bytes, data: bytes) -> bytes:
    return bytes(byte ^ k for byte, k in zip(data, rc4(key), strict=False))


def sha1(*parts: bytes) -> bytes:
    return hashlib.sha1(b"".join(parts)).digest()


async def greet(endpoint: Endpoint, info_hash: bytes) -> tuple[bytes, bytes]:
    """Shakes hands as if this swarm were known. Returns all that was answered, and the peer's own greeting in it: empty
    unless the info-hash was right."""
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    answered = bytearray()
    secret = secrets.randbits(160)
    writer.write(pow(2, secret, PRIME).to_bytes(KEY_BYTES, "big"))
    greeting = b""
    try:
        async with asyncio.timeout(PATIENCE_S):
            answered += await reader.readexactly(KEY_BYTES)
            shared = pow(int.from_bytes(answered[:KEY_BYTES], "big"), secret, PRIME).to_bytes(
                KEY_BYTES, "big"
            )
            known, hidden = sha1(b"req2", info_hash), sha1(b"req3", shared)
            words = GREETING + bytes(8) + info_hash + b"-XX0000-" + bytes(12)
            offer = VERIFICATION + EITHER + bytes(2) + len(words).to_bytes(2, "big") + words
            writer.write(
                sha1(b"req1", shared)
                + bytes(one ^ other for one, other in zip(known, hidden, strict=True))
                + crypt(sha1(b"keyA", shared, info_hash), offer)
            )
            while not greeting and (part := await reader.read(1 << 16)):
                answered += part
                greeting = _greeting(bytes(answered), sha1(b"keyB", shared, info_hash))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.transport.abort()
    return bytes(answered), greeting


def _greeting(answered: bytes, key: bytes) -> bytes:
    """The peer's encrypted words begin somewhere behind its key and padding, with the verification."""
    start_of_stream = crypt(key, VERIFICATION)
    at = answered.find(start_of_stream, KEY_BYTES)
    if at < 0:
        return b""
    for words in (crypt(key, answered[at:]), answered[at:]):
        begins = words.find(GREETING)
        if 0 <= begins <= len(words) - 68:
            return words[begins : begins + 68]
    return b""
