"""Members' addresses kept over a restart, as further seeds.

A daemon that knew its cluster should find it again when `cluster.join` names nobody who is there: several that
start together would else find only each other, and fetch what the rest of the cluster holds. An address that
nobody answers at any more costs one attempt; nobody is taken for alive because of it.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from peers import addresses
from peers.cluster import Cluster
from peers.membership import MemberState

log = logging.getLogger(__name__)

REMEMBERED_MAX = 16
"""One that answers is enough, since it knows all others; these are tried in the first seconds."""
FILE_BYTES_MAX = 16_384


class Remembered:
    """The file `<state_dir>/members`: an address a line, those seen last first. A damaged line is left out."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "members"
        self.addresses: tuple[str, ...] = self._load()

    def follow(self, cluster: Cluster) -> None:
        """Keeps the file current from now on. Members that leave stay in it: they may be back as this one is."""
        cluster.on_change(lambda: self._note(cluster))

    def _note(self, cluster: Cluster) -> None:
        alive = [
            each.facts.address
            for each in cluster.members()
            if each.state is MemberState.ALIVE and each.name != cluster.me
        ]
        merged = tuple(dict.fromkeys([*alive, *self.addresses]))[:REMEMBERED_MAX]
        if set(merged) == set(self.addresses):
            return
        self.addresses = merged
        beside = self._path.with_suffix(".new")
        try:
            beside.write_text("".join(f"{address}\n" for address in merged))
            os.replace(beside, self._path)
        except OSError as error:
            log.warning("the members are not remembered: %s", error)

    def _load(self) -> tuple[str, ...]:
        try:
            with self._path.open("rb") as file:
                lines = file.read(FILE_BYTES_MAX).decode(errors="replace").splitlines()
        except OSError:
            return ()
        return tuple(line for line in lines if _is_address(line))[:REMEMBERED_MAX]


def _is_address(line: str) -> bool:
    try:
        addresses.split(line)
    except ValueError:
        return False
    return True
