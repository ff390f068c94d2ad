"""What bytes are in the simulation: a *variant* number per piece. Variant 0 is what the manifest's hash stands for."""

from __future__ import annotations

import functools
import hashlib

from peers.ledger import Digests

TRUE = 0
GARBAGE = -1
DAMAGED = 9


@functools.lru_cache(maxsize=1 << 17)
def digests(piece: int, variant: int) -> Digests:
    told = f"{piece}/{variant}".encode()
    return Digests(hashlib.blake2b(told, digest_size=16).digest(), hashlib.sha1(told).digest())
