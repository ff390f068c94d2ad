"""Whom to ask for a small blob, and how much at once. Pure; sizes are bytes.

All members see the same order, so that each blob is fetched from the Hub by one of them: its owner, the first live
member that may fetch, in rendezvous order of (blob, member). Who is known to hold it comes before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet

from peers import rendezvous

BATCH_BLOBS_MAX = 256
"""Named in one request, some 60 kB of it; the round trip is then nothing beside the blobs."""
BATCH_BYTES_MAX = 64 << 20
"""Asked for at once: an owner that dies has not kept more waiting, and it fetches little that nobody awaits then."""


def source_of(
    etag: str,
    fetchers: AbstractSet[str],
    holders: AbstractSet[str],
    passed_over: AbstractSet[str],
) -> str | None:
    """The member to ask next: a holder, else the owner; None when all were tried. `fetchers` may include oneself."""
    return rendezvous.choose(etag, holders - passed_over) or rendezvous.choose(etag, fetchers - passed_over)


def batches(blobs: Iterable[tuple[str, int]]) -> Iterator[Sequence[str]]:
    """The blobs (name, size) in order, in as few batches as the bounds allow."""
    batch: list[str] = []
    batch_bytes = 0
    for etag, size_bytes in blobs:
        if batch and (len(batch) == BATCH_BLOBS_MAX or batch_bytes + size_bytes > BATCH_BYTES_MAX):
            yield batch
            batch, batch_bytes = [], 0
        batch.append(etag)
        batch_bytes += size_bytes
    if batch:
        yield batch
