"""Keeps BitTorrent's doors shut for banned members, as far as their hosts are nobody else's."""

from __future__ import annotations

import asyncio
import logging
from typing import NoReturn

from peers.cluster import Cluster
from peers.engine import Engine

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
"""Whence a member's requests come is learnt between changes of the table."""


class Doors:
    """Open it after the cluster has started; run `watch` as a task beside it."""

    def __init__(self, cluster: Cluster, engine: Engine) -> None:
        self._cluster = cluster
        self._engine = engine
        self._refused: frozenset[str] = frozenset()

    def open(self) -> None:
        self._cluster.on_change(self._look)
        self._look()

    async def watch(self) -> NoReturn:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self._look()

    def _look(self) -> None:
        refused = self._cluster.refused_hosts()
        if refused != self._refused:
            self._refused = refused
            self._engine.refuse(refused)
            log.info("BitTorrent connections are refused with: %s", ", ".join(sorted(refused)) or "nobody")
