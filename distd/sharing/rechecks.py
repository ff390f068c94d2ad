"""Asks a member that is banned on evidence for copies again, of what this node's own verified files can judge."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence

import xxhash

from distd.core.bans import Checked
from distd.sharing.findings import named
from distd.sharing.reading import piece_on_disk
from distd.sharing.suspects import Suspects
from distd.store.blobs import BlobStore
from peers.blob import Blob
from peers.recheck import COPIES_RIGHT_MIN, Recheck, Verdict

PIECES_PER_BLOB = 8
"""Then another blob: a whole bad disk shows in many, a bad place in one."""


class Rechecks:
    def __init__(self, suspects: Suspects, blobs: BlobStore) -> None:
        self._suspects = suspects
        self._blobs = blobs

    async def check(self, member: str, evidence: Sequence[str]) -> Checked:
        """What the member sends now. Blobs that `evidence` names come first."""
        recheck = Recheck()
        where = ""
        for blob, piece in self._pieces(await asyncio.to_thread(self._blobs.blobs), evidence):
            if recheck.done:
                break
            try:
                data = await asyncio.to_thread(piece_on_disk, self._blobs.path(blob.name), blob, piece)
            except OSError:
                continue  # removed since
            told = await self._suspects.ask(member, blob, piece, banned_too=True)
            recheck.answered(told, xxhash.xxh3_128_digest(data))
            if recheck.wrong and not where:
                where = f"{named(1 << piece)} of blob {blob.name}"
        match recheck.verdict:
            case Verdict.CLEAN:
                return Checked("clean", recheck.right, f"{recheck.right} copies asked for again, all right")
            case Verdict.WRONG:
                return Checked(
                    "wrong", recheck.right, f"asked again, it sent or stated wrong bytes of {where}"
                )
        return Checked(
            "unknown",
            recheck.right,
            f"it sent {recheck.right} copies of what is held here too, and {COPIES_RIGHT_MIN} are needed to tell",
        )

    def _pieces(self, held: dict[str, int], evidence: Sequence[str]) -> Iterator[tuple[Blob, int]]:
        names = sorted(held)
        random.shuffle(names)
        names.sort(key=lambda name: not any(name in line for line in evidence))
        for name in names:
            if held[name] > 0:
                blob = Blob.of(name, held[name])
                for piece in random.sample(range(blob.pieces), min(PIECES_PER_BLOB, blob.pieces)):
                    yield blob, piece
