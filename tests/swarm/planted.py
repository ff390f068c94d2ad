"""A daemon with a fault planted in it, for tests: ``python -m tests.swarm.planted FAULT PYTHON -m distd ...``.

damages  what it checked is damaged on its disk afterwards, and passed on so (a bad DIMM, a bad disk)
lies     it claims false digests for what it fetched from the Hub
hollow   it announces every piece from the start, to the swarm and to the lead, and has none of them
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from distd.sharing import spans, suspects
from distd.store.incoming import IncomingBlob
from peers import findings, piece_set
from peers.blob import Blob
from peers.engine import Engine
from peers.ledger import Digests
from peers.member import BlobMember
from peers.metainfo import Kind

DAMAGED_BYTES = 4096


def damages() -> None:
    note = IncomingBlob.note

    def note_and_damage(self: IncomingBlob, index: int, source: str, digest: bytes) -> None:
        note(self, index, source, digest)
        blob = Blob.of(self.path.name, os.fstat(self.fd).st_size)
        os.pwrite(self.fd, b"\xa5" * DAMAGED_BYTES, index * blob.piece_len_bytes)

    IncomingBlob.note = note_and_damage  # type: ignore[method-assign]  # the fault


def lies() -> None:
    digests_of = spans.digests_of

    def false_digests_of(data: bytes | bytearray | memoryview) -> Digests:
        true = digests_of(data)
        return Digests(true.xxh3[::-1], true.sha1[::-1])

    spans.digests_of = false_digests_of  # type: ignore[assignment]  # the fault


def hollow() -> None:
    opened, reported = Engine.open, BlobMember.report

    async def open_full(self: Engine, metainfo: Any, path: str, have: Any, peers: Any = ()) -> None:
        await opened(self, metainfo, path, [metainfo.kind is Kind.HOT or each for each in have], peers)

    def report_all(self: BlobMember, now: float) -> Any:
        held = piece_set.to_bytes(self.ledger.agreed, self.blob.pieces)
        return type(told := reported(self, now))(
            **{f: getattr(told, f) for f in told.__slots__} | {"held": held}
        )

    def state_all(ledger: Any, table: Any, me: str, piece: int, published: bool) -> Any:
        agreed = ledger.digests(piece)
        _, claimed = findings.own_words(ledger, table, me, piece, published)
        return (None if agreed is None else agreed.xxh3), claimed

    Engine.open = open_full  # type: ignore[method-assign]  # the fault
    BlobMember.report = report_all  # type: ignore[method-assign]
    suspects.own_words = state_all


FAULTS: dict[str, Callable[[], None]] = {"damages": damages, "lies": lies, "hollow": hollow}

if __name__ == "__main__":
    FAULTS[sys.argv[1]]()
    sys.argv = ["distd", *sys.argv[5:]]  # PYTHON -m distd
    from distd.main import run

    run()
