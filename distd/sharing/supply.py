"""Chooses per blob between the swarm and the Hub alone; a lone node never enters a swarm."""

from __future__ import annotations

from distd.core.desk_events import Order
from distd.core.rates import Meter
from distd.hub.fetcher import RemoteFile
from distd.pulls.supply import BlobListener
from distd.pulls.transfers import Transfers
from distd.sharing.service import Sharing


class Supply:
    """Implements `BlobSupply`. A blob stays with the way it was begun on; the journal is common to both."""

    def __init__(self, alone: Transfers, sharing: Sharing) -> None:
        self._alone = alone
        self._sharing = sharing

    def want(self, remote: RemoteFile, order: Order, listener: BlobListener, meter: Meter) -> None:
        self._way(remote).want(remote, order, listener, meter)

    def drop(self, etag: str, listener: BlobListener, *, discard: bool) -> None:
        if self._sharing.knows(etag):
            self._sharing.drop(etag, listener, discard=discard)
        else:
            self._alone.drop(etag, listener, discard=discard)

    def progress(self, etag: str) -> dict[str, int] | None:
        shared = self._sharing.progress(etag)
        return shared if shared is not None else self._alone.progress(etag)

    def is_open(self, etag: str) -> bool:
        return self._sharing.is_open(etag) or self._alone.is_open(etag)

    def stalled_reason(self, etag: str) -> str | None:
        way = self._sharing if self._sharing.knows(etag) else self._alone
        return way.stalled_reason(etag)

    def _way(self, remote: RemoteFile) -> Transfers | Sharing:
        etag = remote.file.etag
        if self._sharing.knows(etag):
            return self._sharing
        if self._alone.progress(etag) is not None or remote.file.size_bytes == 0:
            return self._alone
        return self._sharing if self._sharing.has_company else self._alone
