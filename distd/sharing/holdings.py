"""Who holds what: one batched question to every live member before a pull fetches anything.

The answer makes the plan's bytes from peers, tells whom to ask for small blobs first, and finds the manifest of a
ref when the Hub does not answer. Holders change; who acts on an answer must take a no. Times are seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from distd.core.manifest import is_etag
from distd.core.refs import Ref, is_commit, parse_repo, parse_revision
from distd.errors import InvalidRequest
from distd.store.blobs import BlobStore
from distd.store.manifests import ManifestStore
from peers.cluster import Cluster
from peers.cluster_errors import CallRefused, ClusterError

HOLDINGS = "holdings"
BLOBS_PER_QUESTION_MAX = 50_000
"""At some 45 bytes each half of what one message may have."""
ANSWER_S = 2.0
"""A member that needs longer for a walk over file names is no good source either, and a plan waits for it."""
ASKED_AT_ONCE = 64
HOLDERS_REMEMBERED = 200_000
"""Blobs whose holders are remembered: those of the largest manifest."""


class RefName(msgspec.Struct, frozen=True):
    """A ref between members."""

    type: str
    repo: str
    revision: str

    @classmethod
    def of(cls, ref: Ref) -> RefName:
        return cls(ref.repo.type, ref.repo.id, ref.revision)

    def ref(self) -> Ref:
        """Raises InvalidRequest for what is none."""
        return Ref(parse_repo(self.repo, self.type), parse_revision(self.revision))


class HoldingsQuestion(msgspec.Struct, frozen=True):
    """`blobs` are (hash as bytes, size); `ref`: of which the last known commit with its manifest is asked."""

    blobs: Annotated[tuple[tuple[bytes, int], ...], Meta(max_length=BLOBS_PER_QUESTION_MAX)] = ()
    ref: RefName | None = None


class HoldingsAnswer(msgspec.Struct, frozen=True):
    """`held` has a bit for each blob asked, the first in the lowest. `commit` is empty when none is known."""

    held: bytes = b""
    commit: str = ""
    resolved_at_s: float = 0.0


class Holdings:
    """Asks, answers, and remembers who held a blob when last asked. `open` after the cluster is made."""

    def __init__(self, cluster: Cluster, blobs: BlobStore, manifests: ManifestStore) -> None:
        self._cluster = cluster
        self._blobs = blobs
        self._manifests = manifests
        self._holders: dict[str, frozenset[str]] = {}

    def open(self) -> None:
        self._cluster.register(HOLDINGS, self._on_holdings)

    def known(self, etag: str) -> frozenset[str]:
        """Who held it when last asked, as far as they live; who is taken out of service only where nobody else does."""
        view = self._cluster.view
        live = self._holders.get(etag, frozenset()) & view.live
        return live - view.draining or live

    async def holders(self, blobs: Iterable[tuple[str, int]]) -> dict[str, frozenset[str]]:
        """The other live members that hold each verified blob (name, size); blobs that nobody holds are left out."""
        found: dict[str, frozenset[str]] = {}
        asked = tuple(blobs)
        for start in range(0, len(asked), BLOBS_PER_QUESTION_MAX):
            part = asked[start : start + BLOBS_PER_QUESTION_MAX]
            question = HoldingsQuestion(tuple((bytes.fromhex(etag), size) for etag, size in part))
            by_member = {
                member: int.from_bytes(answer.held, "little")
                for member, answer in await self._ask_all(question)
            }
            for index, (etag, _) in enumerate(part):
                members = frozenset(name for name, held in by_member.items() if held >> index & 1)
                self._holders.pop(etag, None)
                if members:
                    found[etag] = self._holders[etag] = members
        while len(self._holders) > HOLDERS_REMEMBERED:
            del self._holders[next(iter(self._holders))]
        return found

    async def commits(self, ref: Ref) -> list[tuple[str, str]]:
        """(commit, member) of live members that have a manifest for the ref, the latest resolved first."""
        answers = await self._ask_all(HoldingsQuestion(ref=RefName.of(ref)))
        told = [
            (answer.resolved_at_s, answer.commit, member)
            for member, answer in answers
            if is_commit(answer.commit)
        ]
        return [(commit, member) for _, commit, member in sorted(told, reverse=True)]

    async def _ask_all(self, question: HoldingsQuestion) -> Sequence[tuple[str, HoldingsAnswer]]:
        room = asyncio.Semaphore(ASKED_AT_ONCE)
        body = msgspec.msgpack.encode(question)

        async def ask(member: str) -> tuple[str, HoldingsAnswer] | None:
            async with room:
                try:
                    answer = await self._cluster.call(member, HOLDINGS, body, ANSWER_S)
                    return member, msgspec.msgpack.decode(answer, type=HoldingsAnswer)
                except (ClusterError, msgspec.MsgspecError):
                    return None

        others = sorted(self._cluster.live - {self._cluster.me})
        return [told for told in await asyncio.gather(*map(ask, others)) if told is not None]

    async def _on_holdings(self, sender: str, body: bytes) -> bytes:
        try:
            question = msgspec.msgpack.decode(body, type=HoldingsQuestion)
            ref = question.ref.ref() if question.ref else None
        except (msgspec.MsgspecError, InvalidRequest) as error:
            raise CallRefused("invalid_request", str(error)) from error
        return msgspec.msgpack.encode(await asyncio.to_thread(self._look, question.blobs, ref))

    def _look(self, blobs: tuple[tuple[bytes, int], ...], ref: Ref | None) -> HoldingsAnswer:
        held = bytearray(-(-len(blobs) // 8))
        for index, (digest, size_bytes) in enumerate(blobs):
            if is_etag(etag := digest.hex()) and self._blobs.has(etag, size_bytes):
                held[index // 8] |= 1 << index % 8
        if ref is None:
            return HoldingsAnswer(bytes(held))
        if is_commit(ref.revision):
            known = self._manifests.has(ref.repo, ref.revision)
            return HoldingsAnswer(bytes(held), ref.revision if known else "")
        last = self._manifests.ref(ref.repo, ref.revision)
        if last is None or not self._manifests.has(ref.repo, last.commit):
            return HoldingsAnswer(bytes(held))
        return HoldingsAnswer(bytes(held), last.commit, last.resolved_at_s)
