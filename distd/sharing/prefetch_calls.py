"""Prefetch among members: who declares the same entry, and how far it is done there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from distd.core.prefetch import Told
from peers import rendezvous
from peers.cluster import Cluster
from peers.cluster_errors import CallRefused, ClusterError

CALL = "prefetch"
CALL_TIMEOUT_S = 3.0
"""Who does not answer in time is taken for somebody who does not declare it: it looks after itself later."""
ASKS_AT_ONCE = 64


class Question(msgspec.Struct, frozen=True):
    key: str


class Word(msgspec.Struct, frozen=True):
    """None: the entry is not declared here."""

    told: Told | None


class MemberColleagues:
    """Implements the prefetch's `Colleagues` over the cluster's API."""

    def __init__(self, cluster: Cluster, zone: str) -> None:
        self.me = cluster.me
        self.zone = zone
        self._cluster = cluster
        self._asking = asyncio.Semaphore(ASKS_AT_ONCE)
        self._told: Callable[[str], Told | None] = lambda _: None
        cluster.register(CALL, self._on_question)

    def answer(self, told: Callable[[str], Told | None]) -> None:
        self._told = told

    async def ask(self, key: str) -> Mapping[str, Told]:
        others = sorted(self._cluster.live - self._cluster.view.draining - {self.me})
        words = await asyncio.gather(*(self._ask(member, key) for member in others))
        return {member: told for member, told in zip(others, words, strict=True) if told is not None}

    def order(self, key: str, members: Iterable[str]) -> Sequence[str]:
        return rendezvous.order(key, members)

    async def _ask(self, member: str, key: str) -> Told | None:
        async with self._asking:
            try:
                body = msgspec.msgpack.encode(Question(key))
                answer = await self._cluster.call(member, CALL, body, CALL_TIMEOUT_S)
                return msgspec.msgpack.decode(answer, type=Word).told
            except (ClusterError, msgspec.MsgspecError):
                return None  # of an earlier version, gone, or too busy to answer

    async def _on_question(self, sender: str, body: bytes) -> bytes:
        try:
            question = msgspec.msgpack.decode(body, type=Question)
        except msgspec.MsgspecError as error:
            raise CallRefused("invalid_request", f"it cannot be read here: {error}") from error
        return msgspec.msgpack.encode(Word(self._told(question.key)))
