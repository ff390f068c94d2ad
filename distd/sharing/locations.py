"""Signed URLs, asked of the Hub once for the whole cluster.

The Hub's quota counts resolves. The first live member that may fetch, in rendezvous order of (blob, member), asks for
a file's URL and hands it to the others until near its end; where it has no access, the next one does. A URL that a
member names is used without the token and what comes of it is hashed, so a wrong one costs time only. URLs are never
logged. Times are seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta

from distd.core.faults import FaultKind, FetchFailed, FetchFault
from distd.core.manifest import ManifestFile, checked_path, is_etag
from distd.core.refs import is_commit, parse_repo
from distd.errors import DistdError, InvalidRequest, RateLimited
from distd.hub.fetcher import Fetcher, RemoteFile
from distd.sharing.denials import Denials
from peers import rendezvous
from peers.cluster import Cluster
from peers.cluster_errors import CallRefused, ClusterError

LOCATION = "location"
ANSWER_S = 10.0
"""A resolve takes under a second; a Hub that lets the owner wait longer may answer this member."""
URL_CHARS_MAX = 16_384
"""As long as the fetcher takes one from the Hub itself."""

_Text = Annotated[str, Meta(max_length=4096)]


class FileName(msgspec.Struct, frozen=True):
    """A file of the Hub between members: all that another one needs to fetch it."""

    type: _Text
    repo: _Text
    commit: _Text
    path: _Text
    size_bytes: int
    etag: _Text

    @classmethod
    def of(cls, remote: RemoteFile) -> FileName:
        file = remote.file
        return cls(remote.repo.type, remote.repo.id, remote.commit, file.path, file.size_bytes, file.etag)

    def remote(self) -> RemoteFile:
        """Raises InvalidRequest or UnsafePath where a part would leave its place in a URL or on the disk."""
        repo = parse_repo(self.repo, self.type)
        if not is_commit(self.commit) or not is_etag(self.etag) or self.size_bytes < 0:
            raise InvalidRequest(f"{self.path!r}: no commit, no hash or no size")
        return RemoteFile(
            repo, self.commit, ManifestFile(checked_path(self.path), self.size_bytes, self.etag)
        )


class LocationWord(msgspec.Struct, frozen=True):
    """`url` empty: the Hub serves the file itself. `pause_s` above 0: the Hub's quota is used up for so long."""

    url: Annotated[str, Meta(max_length=URL_CHARS_MAX)] = ""
    left_s: float = 0.0
    pause_s: float = 0.0


class SharedLocations:
    """Gives the fetcher its `locate`, and answers others. `open` after the cluster is made."""

    def __init__(
        self,
        cluster: Cluster,
        fetcher: Fetcher,
        *,
        may_fetch: bool,
        fetchers: Callable[[], frozenset[str]],
        small_bytes: int,
        denials: Denials,
    ) -> None:
        """Files below `small_bytes` are left to their owner, who is the only one to fetch them."""
        self._cluster = cluster
        self._fetcher = fetcher
        self._may_fetch = may_fetch
        self._fetchers = fetchers
        self._small_bytes = small_bytes
        self._denials = denials

    def open(self) -> None:
        self._cluster.register(LOCATION, self._on_location)
        self._fetcher.locate = self.locate

    async def locate(self, remote: RemoteFile) -> tuple[str, float] | None:
        """The URL and the seconds it may be used, from the member that asks for all; None: ask the Hub yourself.

        Raises FetchFailed while the Hub's quota is used up.
        """
        if remote.file.size_bytes < self._small_bytes:
            return None
        body = msgspec.msgpack.encode(FileName.of(remote))
        for member in rendezvous.order(remote.file.etag, self._fetchers()):
            if member == self._cluster.me:
                return None
            try:
                answer = await self._cluster.call(member, LOCATION, body, ANSWER_S)
                word = msgspec.msgpack.decode(answer, type=LocationWord)
            except (ClusterError, msgspec.MsgspecError):
                continue
            if word.pause_s > 0:
                error = RateLimited(self._fetcher.endpoint, word.pause_s)
                detail = f"the Hub limits our requests, as {member} heard"
                raise FetchFailed(FetchFault(FaultKind.RATE_LIMITED, detail, error, word.pause_s))
            return (word.url, word.left_s) if word.url else None
        return None

    async def _on_location(self, sender: str, body: bytes) -> bytes:
        try:
            remote = msgspec.msgpack.decode(body, type=FileName).remote()
        except (msgspec.MsgspecError, DistdError) as error:
            raise CallRefused("invalid_request", str(error)) from error
        if not self._may_fetch:
            raise CallRefused("no_hub", "hub.fetch is off on this member")
        if denied := self._denials.find(remote.repo, time.monotonic()):
            raise CallRefused("denied", str(denied))
        try:
            found = await self._fetcher.location(remote)
        except FetchFailed as failed:
            fault = failed.fault
            if fault.kind is FaultKind.RATE_LIMITED and fault.retry_after_s:
                return msgspec.msgpack.encode(LocationWord(pause_s=fault.retry_after_s))
            self._denials.note(remote.repo, fault.error, time.monotonic())
            raise CallRefused("denied", fault.detail, retryable=not fault.final) from failed
        url, left_s = found or ("", 0.0)
        return msgspec.msgpack.encode(LocationWord(url, left_s))
