"""What a killed daemon had stored of its blobs, and whether it is still there when the daemon runs again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distd.core.manifest import is_etag
from distd.store.journal import StoredPiece, load


@dataclass(frozen=True, slots=True)
class Stored:
    """`incoming`: journalled pieces by blob; `verified`: blobs that are whole."""

    incoming: dict[str, dict[int, StoredPiece]]
    verified: frozenset[str]

    @property
    def pieces(self) -> int:
        return sum(map(len, self.incoming.values()))


def stored_in(store_dir: Path) -> Stored:
    """Of a daemon that is not running, or while it runs: whatever has landed by now."""
    incoming = {}
    for journal in store_dir.glob("incoming/*.journal"):
        try:
            state = load(journal)
        except FileNotFoundError:
            continue  # accepted meanwhile
        if state is not None:
            incoming[state.parameters.etag] = dict(state.pieces)
    verified = frozenset(path.name for path in store_dir.glob("blobs/*") if is_etag(path.name))
    return Stored(incoming, verified)


def lost_of(before: Stored, store_dir: Path, given_up: frozenset[str]) -> list[str]:
    """What was stored and is neither journalled nor verified any more; `given_up` are blobs that were to go."""
    after = stored_in(store_dir)
    # A blob may be accepted between the two looks.
    verified = after.verified | frozenset(path.name for path in store_dir.glob("blobs/*"))
    lost = [f"verified blob {etag}" for etag in sorted(before.verified - verified - given_up)]
    for etag, pieces in before.incoming.items():
        if etag in verified | given_up:
            continue
        now = after.incoming.get(etag, {})
        gone = [index for index, piece in pieces.items() if now.get(index) != piece]
        if gone:
            lost.append(f"pieces {gone} of {etag}")
    return lost
