"""The Hub is asked once for the cluster: what makes that so, opened in order and handed to those who use it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from distd.core.manifest import Manifest
from distd.core.rates import Meter
from distd.core.refs import Ref
from distd.core.tally import Tally
from distd.hub.fetcher import Fetcher
from distd.pulls.transfers import Transfers
from distd.sharing.bandwidth import Pacers
from distd.sharing.company import Company
from distd.sharing.denials import Denials
from distd.sharing.holdings import Holdings
from distd.sharing.locations import SharedLocations
from distd.sharing.metadata import HubMetadata, SharedResolver
from distd.sharing.small import SmallBlobs
from distd.sharing.small_serving import SmallServing
from distd.sharing.small_wire import SMALL_BYTES
from distd.store.blobs import BlobStore
from distd.store.manifests import ManifestStore
from peers.cluster import Cluster


class Fetchers:
    """The live members that may ask the Hub, this one included if it may; kept current by the cluster."""

    def __init__(self, cluster: Cluster, may_fetch: bool) -> None:
        self._cluster = cluster
        self._may_fetch = may_fetch
        self._now: frozenset[str] = frozenset()
        self._settled = asyncio.Event()
        self.refresh()

    def await_company(self, awaited_s: float) -> None:
        """`settled` waits so long at most, for the first other member."""
        asyncio.get_running_loop().call_later(awaited_s, self._settled.set)

    async def settled(self) -> None:
        """Returns when the members are known as far as a start allows."""
        await self._settled.wait()

    def __call__(self) -> frozenset[str]:
        return self._now

    def refresh(self) -> None:
        me, live = self._cluster.me, self._cluster.live
        if len(live) > 1:
            self._settled.set()
        told = {
            member.name
            for member in self._cluster.members()
            if member.facts.fetches_hub and member.name in live and member.name != me
        }
        self._now = frozenset(told | ({me} if self._may_fetch else set())) - self._cluster.view.draining


@dataclass(frozen=True, slots=True)
class OtherMembers:
    """The planner's `Others`."""

    me: str
    holdings: Holdings
    metadata: SharedResolver
    fetchers: Fetchers

    async def holders(self, blobs: Iterable[tuple[str, int]]) -> Mapping[str, frozenset[str]]:
        return await self.holdings.holders(blobs)

    async def remembered(self, ref: Ref) -> Manifest | None:
        return await self.metadata.remembered(ref)

    def may_fetch(self) -> bool:
        return bool(self.fetchers() - {self.me})


@dataclass(frozen=True, slots=True)
class AskedOnce:
    """`metadata` resolves refs, `small` and `serving` move small blobs, `others` tells planners who holds what."""

    metadata: SharedResolver
    small: SmallBlobs
    serving: SmallServing
    others: OtherMembers

    def keeps(self, etag: str) -> bool:
        """Whether a blob that is fetched alone is fetched so on purpose: as its owner, for this node or others."""
        return self.small.knows(etag) or self.serving.serves(etag)


def open_asked_once(
    cluster: Cluster,
    stack: AsyncExitStack,
    *,
    hub: HubMetadata,
    fetcher: Fetcher,
    transfers: Transfers,
    blobs: BlobStore,
    manifests: ManifestStore,
    may_fetch: bool,
    peers_meter: Meter,
    company: Company,
    tally: Tally,
    pacers: Pacers,
    company_awaited_s: float,
) -> AskedOnce:
    """Call it after the cluster is started; `stack` closes what needs closing.

    A daemon that starts knows nobody: questions wait for company so long, from now on.
    """
    fetchers = Fetchers(cluster, may_fetch)
    fetchers.await_company(company_awaited_s)
    denials = Denials()
    holdings = Holdings(cluster, blobs, manifests)
    metadata = SharedResolver(
        cluster, hub, manifests, holdings, may_fetch=may_fetch, fetchers=fetchers, settled=fetchers.settled
    )
    stack.push_async_callback(metadata.close)
    small = SmallBlobs(
        cluster,
        transfers,
        blobs,
        holdings,
        endpoint=fetcher.endpoint,
        fetchers=fetchers,
        peers_meter=peers_meter,
        received=company.small_received,
        tally=tally,
        denials=denials,
        pace=pacers.small_down,
    )
    stack.push_async_callback(small.close)
    serving = SmallServing(
        cluster,
        transfers,
        blobs,
        endpoint=fetcher.endpoint,
        may_fetch=may_fetch,
        arriving=small.arriving,
        denials=denials,
        sent=company.small_sent,
        pace=pacers.small_up,
    )
    stack.callback(serving.close)
    locations = SharedLocations(
        cluster, fetcher, may_fetch=may_fetch, fetchers=fetchers, small_bytes=SMALL_BYTES, denials=denials
    )
    cluster.on_change(fetchers.refresh)
    cluster.on_change(small.members_changed)
    for part in (holdings, metadata, serving, locations):
        part.open()
    return AskedOnce(metadata, small, serving, OtherMembers(cluster.me, holdings, metadata, fetchers))
