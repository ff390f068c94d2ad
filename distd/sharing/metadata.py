"""What a ref means, asked once for the whole cluster.

The owner of a ref is the first live member that may fetch, in rendezvous order of (ref, member). It asks the Hub for
the commit, single-flight, and answers everybody from that for a few seconds. The file list of a commit never changes:
who has it gives it, and the Hub is asked for it only when no live member does. A member without access to the repo
says so, and the next one is asked. Times are seconds.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from distd.core.manifest import Manifest
from distd.core.refs import Ref, Repo, is_commit, parse_repo, parse_revision
from distd.errors import DistdError, HubUnreachable, InvalidRequest, RateLimited, StorageFailed
from distd.sharing.holdings import Holdings
from distd.sharing.troubles import Trouble, error_of, is_final, told
from distd.store.manifests import ManifestStore, from_json, to_json
from peers import rendezvous
from peers.cluster import Cluster
from peers.cluster_errors import CallRefused, ClusterError

log = logging.getLogger(__name__)

RESOLVE = "resolve"
MANIFEST = "manifest"

FRESH_S = 5.0
"""An answer of the Hub counts so long: members told to pull the same thing ask within seconds of each other, and a push
to the branch shows after that. Failures count as long, so that a fleet does not repeat what the Hub just refused."""
ANSWERS_MAX = 256
"""Refs remembered for `FRESH_S`: more are not asked for within seconds."""
SIGN_OF_LIFE_S = 1.0
"""While the Hub is asked, the waiting member is sent a space so often: JSON begins after any number of them."""
SILENCE_S = 5.0
"""A member silent for so many signs of life is passed over."""
MANIFEST_BYTES_MAX = 128 << 20
"""The largest manifest taken has 200,000 files; with long paths that is some 100 MB."""
PART_BYTES = 1 << 20
UNREACHABLE_TOLD_BY = 2
"""So many members that cannot reach the Hub are believed: one's uplink may be broken, and each takes its time."""


class HubMetadata(Protocol):
    """The Hub's own word, as `distd.hub.resolver.Resolver` gives it."""

    endpoint: str

    async def resolve(self, ref: Ref) -> Manifest: ...

    async def commit(self, ref: Ref) -> str: ...


@dataclass(frozen=True, slots=True)
class _Fresh:
    answer: asyncio.Task[Manifest]
    until: float
    """Infinite while it is under way."""


class SharedResolver:
    """A `ManifestSource`: on every member, for its own plans and for others' questions. `open` before use."""

    def __init__(
        self,
        cluster: Cluster,
        hub: HubMetadata,
        manifests: ManifestStore,
        holdings: Holdings,
        *,
        may_fetch: bool,
        fetchers: Callable[[], frozenset[str]],
        settled: Callable[[], Awaitable[None]],
    ) -> None:
        """`fetchers` are the live members that may ask the Hub, this one included if it may; before the first
        question `settled` is awaited, until they are known."""
        self._settled = settled
        self._cluster = cluster
        self._hub = hub
        self._manifests = manifests
        self._holdings = holdings
        self._may_fetch = may_fetch
        self._fetchers = fetchers
        self._answers: dict[Ref, _Fresh] = {}

    def open(self) -> None:
        self._cluster.register_stream(RESOLVE, self._on_resolve)
        self._cluster.register_stream(MANIFEST, self._on_manifest)

    async def close(self) -> None:
        tasks = [fresh.answer for fresh in self._answers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def resolve(self, ref: Ref) -> Manifest:
        """The commit that `ref` names now, and its files. Raises as `Resolver.resolve`."""
        await self._settled()
        if is_commit(ref.revision) and (held := await self._held(ref.repo, ref.revision)):
            return held
        refused: DistdError | None = None
        unreachable: list[DistdError] = []
        for member in rendezvous.order(f"{ref.repo.type}/{ref}", self._fetchers()):
            try:
                return await self._ask(member, ref)
            except ClusterError as error:
                log.debug("%s: %s", ref, error)
            except HubUnreachable as error:
                unreachable.append(error)
                if len(unreachable) == UNREACHABLE_TOLD_BY:
                    break
            except RateLimited:
                raise  # the quota is the address's or the account's: whoever asks next makes it worse
            except DistdError as error:
                if is_final(error):
                    raise
                refused = refused or error
        if refused or unreachable:
            raise refused or unreachable[0]
        raise HubUnreachable(self._hub.endpoint, "no live member may ask it")

    async def remembered(self, ref: Ref) -> Manifest | None:
        """The latest manifest for `ref` that any other live member has stored; None when none has."""
        for commit, member in await self._holdings.commits(ref):
            if manifest := await self._fetch_quietly(member, ref.repo, commit):
                return manifest
        return None

    # Asking.

    async def _ask(self, member: str, ref: Ref) -> Manifest:
        if member == self._cluster.me:
            return await self._own(ref)
        return await self._receive(member, RESOLVE, ref.repo, ref.revision)

    async def _own(self, ref: Ref) -> Manifest:
        """From the Hub or a member, once for all who ask here within `FRESH_S`."""
        now = time.monotonic()
        fresh = self._answers.get(ref)
        if fresh is None or fresh.until < now:
            for known in [known for known, answer in self._answers.items() if answer.until < now]:
                del self._answers[known]
            if len(self._answers) >= ANSWERS_MAX:
                raise RateLimited(self._hub.endpoint, FRESH_S)
            task = asyncio.create_task(self._ask_hub(ref))
            fresh = self._answers[ref] = _Fresh(task, float("inf"))
            task.add_done_callback(lambda done: self._answered(ref, done))
        return await asyncio.shield(fresh.answer)

    def _answered(self, ref: Ref, task: asyncio.Task[Manifest]) -> None:
        self._answers[ref] = _Fresh(task, time.monotonic() + FRESH_S)
        if not task.cancelled():
            task.exception()  # whoever asked has it or is gone

    async def _ask_hub(self, ref: Ref) -> Manifest:
        commit = await self._hub.commit(ref)
        found = await asyncio.to_thread(self._manifests.load, ref.repo, commit)
        found = found or await self._held(ref.repo, commit)
        if found is None:
            found = await self._hub.resolve(Ref(ref.repo, commit))
            await self._manifests.save(found)
        return found

    async def _held(self, repo: Repo, commit: str) -> Manifest | None:
        """A commit's manifest from a member that has it."""
        return await self.remembered(Ref(repo, commit))

    async def _fetch_quietly(self, member: str, repo: Repo, commit: str) -> Manifest | None:
        try:
            return await self._receive(member, MANIFEST, repo, commit)
        except (ClusterError, DistdError) as error:
            log.debug("the manifest of %s from %s: %s", repo, member, error)
            return None

    async def _receive(self, member: str, stream: str, repo: Repo, revision: str) -> Manifest:
        content = bytearray()

        async def take(part: bytes) -> None:
            content.extend(part)

        query = {"type": repo.type, "repo": repo.id, "revision": revision}
        await self._cluster.fetch(member, stream, query, take, MANIFEST_BYTES_MAX, SILENCE_S)
        return await asyncio.to_thread(_read, bytes(content), member, repo, revision)

    # Answering.

    async def _on_resolve(self, sender: str, query: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        ref = _ref(query)
        if not self._may_fetch:
            raise CallRefused("no_hub", "hub.fetch is off on this member")
        async for part in self._told(lambda: self._own(ref)):
            yield part

    async def _on_manifest(self, sender: str, query: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        ref = _ref(query)
        manifest = await asyncio.to_thread(self._manifests.load, ref.repo, ref.revision)
        if manifest is None:
            raise CallRefused("not_held", f"{ref}")
        async for part in self._told(lambda: _ready(manifest)):
            yield part

    async def _told(self, answer: Callable[[], Awaitable[Manifest]]) -> AsyncGenerator[bytes, None]:
        task = asyncio.ensure_future(answer())
        try:
            while not (await asyncio.wait([task], timeout=SIGN_OF_LIFE_S))[0]:
                yield b" "
            try:
                content = await asyncio.to_thread(_write, task.result())
            except DistdError as error:
                content = msgspec.json.encode({"trouble": told(error)})
            for start in range(0, len(content), PART_BYTES):
                yield content[start : start + PART_BYTES]
        finally:
            task.cancel()  # only the waiting: what others wait for as well goes on


def _ref(query: Mapping[str, str]) -> Ref:
    try:
        return Ref(
            parse_repo(query.get("repo", ""), query.get("type", "")),
            parse_revision(query.get("revision", "")),
        )
    except InvalidRequest as error:
        raise CallRefused("invalid_request", str(error)) from error


async def _ready(manifest: Manifest) -> Manifest:
    return manifest


def _write(manifest: Manifest) -> bytes:
    return json.dumps(to_json(manifest), separators=(",", ":")).encode()


def _read(content: bytes, member: str, repo: Repo, revision: str) -> Manifest:
    """Every path and hash is checked again. Raises what the member told, StorageFailed for what is no manifest."""
    try:
        answer: Any = json.loads(content)
        if "trouble" in answer:
            raise error_of(msgspec.convert(answer["trouble"], Trouble), member)
        commit = revision if is_commit(revision) else answer["commit"]
        manifest = from_json(answer, repo, commit) if is_commit(commit) else None
    except (ValueError, LookupError, TypeError, RecursionError, msgspec.MsgspecError) as error:
        raise StorageFailed(member, f"its answer for {repo} is no manifest: {error}") from error
    if manifest is None:
        raise StorageFailed(member, f"its manifest of {repo} does not hold together")
    return manifest
