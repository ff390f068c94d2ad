"""Chooses per blob between the swarm, the owner of a small one, and the Hub alone; a lone node never enters a swarm.

A daemon that starts knows nobody yet, so what is wanted then waits a moment for company. A blob begun alone
goes on in the swarm as soon as there is company: the journal is common to both ways. The other way round is
not needed, since a swarm of one fetches for itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from distd.core.desk_events import Order
from distd.core.estimate import Outlook
from distd.core.rates import SourceMeter
from distd.core.refs import Repo
from distd.hub.fetcher import RemoteFile
from distd.pulls.supply import BlobListener
from distd.pulls.transfers import Transfers
from distd.sharing.once import AskedOnce
from distd.sharing.service import Sharing
from distd.sharing.small import SmallBlobs
from distd.sharing.small_wire import SMALL_BYTES

COMPANY_AWAITED_S = 2.0
"""From the start of a daemon that has somebody to join. Gossip takes a second; changing the way in the middle
costs the pieces that every Hub connection is at, fetched twice."""

_Deferred = tuple[RemoteFile, Order, BlobListener, SourceMeter]


class Supply:
    """Implements `BlobSupply`. With `company_awaited_s` of 0 nothing is waited for; `close` it before both ways."""

    def __init__(
        self,
        alone: Transfers,
        sharing: Sharing,
        once: AskedOnce,
        *,
        may_share: Callable[[Repo], bool] = lambda repo: True,
        company_awaited_s: float = 0.0,
    ) -> None:
        """Blobs of repos that `may_share` denies are fetched alone, as the other members would refuse them."""
        self._alone = alone
        self._once = once
        self._small = once.small
        self._sharing = sharing
        self._may_share = may_share
        self._kept_alone: set[str] = set()
        self._deferred: list[_Deferred] = []
        self._awaiting: asyncio.TimerHandle | None = None
        if company_awaited_s:
            loop = asyncio.get_running_loop()
            self._awaiting = loop.call_later(company_awaited_s, self._await_no_longer)
        sharing.on_members_changed(self._members_changed)

    def close(self) -> None:
        """What was deferred is left for the next start."""
        if self._awaiting:
            self._awaiting.cancel()
        self._awaiting = None
        self._deferred.clear()

    def want(self, remote: RemoteFile, order: Order, listener: BlobListener, meter: SourceMeter) -> None:
        if self._awaiting and not self._sharing.has_company:
            self._deferred.append((remote, order, listener, meter))
        else:
            self._way(remote).want(remote, order, listener, meter)

    def drop(self, etag: str, listener: BlobListener, *, discard: bool) -> None:
        self._deferred = [
            each for each in self._deferred if each[0].file.etag != etag or each[2] is not listener
        ]
        self._knowing(etag).drop(etag, listener, discard=discard)

    def progress(self, etag: str) -> dict[str, int] | None:
        return self._knowing(etag).progress(etag)

    def outlook(self, etag: str) -> Outlook | None:
        return self._knowing(etag).outlook(etag)

    def is_open(self, etag: str) -> bool:
        return self._knowing(etag).is_open(etag)

    def stalled_reason(self, etag: str) -> str | None:
        return self._knowing(etag).stalled_reason(etag)

    def in_work(self, etag: str) -> bool:
        """Whether the blob is fetched, for this node or for others, or may be sent to them at any moment."""
        return self._sharing.works_on(etag) or self._small.knows(etag) or self._alone.knows(etag)

    def _knowing(self, etag: str) -> Transfers | Sharing | SmallBlobs:
        if self._sharing.knows(etag):
            return self._sharing
        return self._small if self._small.knows(etag) else self._alone

    def _way(self, remote: RemoteFile) -> Transfers | Sharing | SmallBlobs:
        etag, size_bytes = remote.file.etag, remote.file.size_bytes
        if self._sharing.knows(etag):
            return self._sharing
        if not self._may_share(remote.repo):
            self._kept_alone = {each for each in self._kept_alone if self._alone.knows(each)} | {etag}
            return self._alone
        if 0 < size_bytes < SMALL_BYTES and (self._small.knows(etag) or self._sharing.has_company):
            return self._small
        if self._alone.knows(etag) or remote.file.size_bytes == 0:
            return self._alone
        return self._sharing if self._sharing.has_company else self._alone

    def _keeps_alone(self, etag: str) -> bool:
        return etag in self._kept_alone or self._once.keeps(etag)

    def _await_no_longer(self) -> None:
        if self._awaiting:
            self._awaiting.cancel()
        self._awaiting = None
        deferred, self._deferred = self._deferred, []
        for each in deferred:
            self.want(*each)

    def _members_changed(self) -> None:
        if not self._sharing.has_company:
            return
        if self._awaiting:
            self._await_no_longer()
        for released in self._alone.release_all(self._keeps_alone):
            etag = released.remote.file.etag
            small = released.remote.file.size_bytes < SMALL_BYTES
            if not small:
                self._sharing.open_after(etag, released.closing)
            way: Sharing | SmallBlobs = self._small if small else self._sharing
            for listener, meter in released.wants:
                way.want(released.remote, released.order, listener, meter)
            if small:
                self._small.open_after(etag, released.closing)
