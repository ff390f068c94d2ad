"""The allow list at the member that serves: what a member may not have is refused to it, whatever it asks with.

Questions name a repo, a blob, or both. A blob of a repo that is not for everybody is given to whom any of the repos allows
that hold it here; a repo's name in a question is not proof that the blob belongs to it. What members say about
themselves, name and zone, is their word, or their certificate's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import msgspec

from distd.core.access import AllowList
from distd.core.faults import FetchFailed
from distd.core.manifest import Manifest, ManifestFile
from distd.core.refs import Repo
from distd.hub.fetcher import Fetcher, RemoteFile
from distd.sharing.calls import LEAD, REPORT, WANTED
from distd.sharing.holdings import HOLDINGS, HoldingsQuestion
from distd.sharing.locations import LOCATION, FileName
from distd.sharing.small_wire import SMALL, SmallOrder
from distd.store.manifests import ManifestStore
from peers import lead_wire
from peers.cluster import Cluster
from peers.cluster_errors import CallRefused
from peers.wire import Unreadable

NOT_HELD = b""
"""Stands for a blob in a question about holdings that the asker may not have: no blob has this name."""


class Provenance:
    """Which repos the blobs of restricted repos belong to, as far as manifests are kept here."""

    def __init__(self, manifests: ManifestStore, allow: AllowList) -> None:
        self._manifests = manifests
        self._allow = allow
        self._repos: dict[str, set[str]] = {}
        self._outdated = True
        self._reading = asyncio.Lock()
        manifests.on_saved = self._saved

    async def repos_of(self, etag: str) -> frozenset[str]:
        """Every repo with this blob, empty when none of them is restricted."""
        async with self._reading:
            if self._outdated:
                self._outdated = False
                self._repos = await asyncio.to_thread(self._read)
        return frozenset(self._repos.get(etag, ()))

    def _saved(self) -> None:
        self._outdated = True

    def _read(self) -> dict[str, set[str]]:
        """Two walks over all manifests: memory is that of the restricted repos' files."""
        kept = list(self._manifests.list())
        repos: dict[str, set[str]] = {}
        for restricted in (True, False):
            for repo, commit in kept:
                if self._allow.restricts(repo.id) is not restricted:
                    continue
                manifest = self._manifests.load(repo, commit)
                for file in manifest.files if manifest else ():
                    if restricted:
                        repos.setdefault(file.etag, set()).add(repo.id)
                    elif file.etag in repos:
                        repos[file.etag].add(repo.id)
        return repos


Sharers: TypeAlias = Callable[[frozenset[str]], frozenset[str]]
"""Of live members those with whom a blob is shared: they choose its lead among themselves."""


async def everybody(etag: str) -> Sharers:
    """Without an allow list."""
    return lambda live: live


class Gate:
    """The cluster's `gate`: looks at every question before its handler does."""

    def __init__(self, cluster: Cluster, manifests: ManifestStore, allow: AllowList) -> None:
        self._cluster = cluster
        self._allow = allow
        self._provenance = Provenance(manifests, allow)

    async def sharers(self, etag: str) -> Sharers:
        """Who of the live members may have the blob, for as long as it is open: its lead has to be one of them, because
        the holders tell nobody else what they have."""
        repos = await self._provenance.repos_of(etag)
        if not repos:
            return await everybody(etag)
        me = self._cluster.me
        return lambda live: frozenset(
            name for name in live if name == me or any(self._may_have_repo(name, repo) for repo in repos)
        )

    async def call(self, sender: str, name: str, body: bytes) -> bytes:
        """The body for the handler. Raises CallRefused. What cannot be read is left to the handler to refuse."""
        try:
            if name == LEAD:
                await self._check(sender, lead_wire.decode_request(body)[0].name)
            elif name in (REPORT, WANTED):
                await self._check(sender, lead_wire.decode_probe(body).name)
            elif name == LOCATION:
                await self._check_file(sender, msgspec.msgpack.decode(body, type=FileName))
            elif name == SMALL:
                for file in msgspec.msgpack.decode(body, type=SmallOrder).files:
                    await self._check_file(sender, file)
            elif name == HOLDINGS:
                return await self._asked_what_is_held(sender, body)
        except (Unreadable, msgspec.MsgspecError):
            pass
        return body

    async def stream(self, sender: str, name: str, query: Mapping[str, str]) -> None:
        """Streams name what they are about in their query, or an order that was checked. Raises CallRefused."""
        if "repo" in query:
            self._check_repo(sender, query["repo"])
        if "blob" in query:
            await self._check(sender, query["blob"])

    async def _asked_what_is_held(self, sender: str, body: bytes) -> bytes:
        question = msgspec.msgpack.decode(body, type=HoldingsQuestion)
        blobs = [
            (digest if await self._may_have(sender, digest.hex()) else NOT_HELD, size_bytes)
            for digest, size_bytes in question.blobs
        ]
        ref = question.ref
        if ref is not None and not self._may_have_repo(sender, ref.repo):
            ref = None
        return msgspec.msgpack.encode(HoldingsQuestion(tuple(blobs), ref))

    async def _check_file(self, sender: str, file: FileName) -> None:
        self._check_repo(sender, file.repo)
        await self._check(sender, file.etag)

    async def _check(self, sender: str, etag: str) -> None:
        if not await self._may_have(sender, etag):
            raise CallRefused(
                "access_denied", f"cluster.allow on {self._cluster.me} does not name {sender} for it"
            )

    def _check_repo(self, sender: str, repo_id: str) -> None:
        if not self._may_have_repo(sender, repo_id):
            raise CallRefused(
                "access_denied", f"cluster.allow on {self._cluster.me} does not name {sender} for {repo_id}"
            )

    async def _may_have(self, sender: str, etag: str) -> bool:
        repos = await self._provenance.repos_of(etag)
        return not repos or any(self._may_have_repo(sender, repo) for repo in repos)

    def _may_have_repo(self, sender: str, repo_id: str) -> bool:
        return self._allow.allows(repo_id, sender, self._cluster.zone_of(sender))


def own_part(allow: AllowList, name: str, zone: str) -> Callable[[Repo], bool]:
    """Whether this node may share in a repo: what others would refuse is not asked of them."""
    return lambda repo: allow.allows(repo.id, name, zone)


def asking_the_hub(fetcher: Fetcher) -> Callable[[Manifest, ManifestFile], Awaitable[None]]:
    """What asks the Hub, with this node's token, whether it may have a file before it is taken from members.

    Raises what the Hub says to it, HubUnreachable when it says nothing.
    """

    async def check(manifest: Manifest, file: ManifestFile) -> None:
        try:
            await fetcher.location(RemoteFile(manifest.repo, manifest.commit, file))
        except FetchFailed as failed:
            raise failed.fault.error from None

    return check
