"""A small blob that is wanted on this node: who wants it, and where it stands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from distd.core.desk_events import Order
from distd.core.rates import SourceMeter
from distd.errors import DistdError
from distd.hub.fetcher import RemoteFile
from distd.pulls.supply import BlobListener
from distd.store.incoming import IncomingBlob


@dataclass
class Want:
    listener: BlobListener
    meter: SourceMeter


@dataclass
class Small:
    """A blob that is wanted here, and where it stands. `source` is who was asked for it; None: nobody yet."""

    remote: RemoteFile
    order: Order
    wants: list[Want] = field(default_factory=list)
    source: str | None = None
    refused: set[str] = field(default_factory=set)
    """Members that have neither the blob nor access to it."""
    failed: set[str] = field(default_factory=set)
    """Members that did not answer, which may change."""
    error: DistdError | None = None
    incoming: IncomingBlob | None = None
    no_source_since: float | None = None
    bridge: Bridge | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while nothing of it comes from a member."""

    @property
    def etag(self) -> str:
        return self.remote.file.etag


class Bridge(SourceMeter):
    """Between `Transfers` and those who want a blob here: hears what becomes of it, and meters its bytes."""

    def __init__(
        self, small: Small, ended: Callable[[Small, dict[str, int], DistdError | None], None]
    ) -> None:
        super().__init__()
        self._small = small
        self._ended = ended

    def add_from_hub(self, size_bytes: int, now: float) -> None:
        for want in self._small.wants:
            want.meter.add_from_hub(size_bytes, now)

    def blob_arrived(self, etag: str) -> None:
        for want in self._small.wants:
            want.listener.blob_arrived(etag)

    def blob_returned(self, etag: str) -> None:
        for want in self._small.wants:
            want.listener.blob_returned(etag)

    def blob_verified(self, etag: str, by_source: dict[str, int]) -> None:
        self._ended(self._small, by_source, None)

    def blob_failed(self, etag: str, error: DistdError) -> None:
        self._ended(self._small, {}, error)

    def tell(self, event: str, text: str) -> None:
        for want in self._small.wants:
            want.listener.tell(event, text)
