"""Which members have a snapshot published: both sides of the call `published`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from distd.api.schema import NodeHoldingView
from distd.core.refs import Ref, Repo, is_commit
from distd.errors import InvalidRequest
from distd.sharing.company import STATES
from distd.sharing.holdings import RefName
from distd.state.snapshots import SnapshotRecord
from peers.cluster import Cluster, Member
from peers.cluster_errors import CallRefused, ClusterError
from peers.membership import MemberState

PUBLISHED = "published"
ANSWER_S = 3.0
"""It is made in milliseconds; somebody waits for the slowest member."""
ASKED_AT_ONCE = 64

Published = Callable[[Repo, str], Awaitable[SnapshotRecord | None]]


class Holding(msgspec.Struct, frozen=True):
    """`commit` is empty when it is not published."""

    commit: str = ""
    complete: bool = False

    @classmethod
    def of(cls, record: SnapshotRecord | None) -> Holding:
        return cls() if record is None else cls(record.commit, record.paths is None)


class Whereabouts:
    """Implements `models.Whereabouts` for a member; from then on it answers others. `published` is this node's own."""

    def __init__(self, cluster: Cluster, published: Published) -> None:
        self._cluster = cluster
        self._own = published
        cluster.register(PUBLISHED, self._on_published)

    async def published(self, repo: Repo, revision: str) -> list[NodeHoldingView]:
        """All members known, this one included; the dead and those who left are listed and not asked, the banned left out."""
        body = msgspec.msgpack.encode(RefName.of(Ref(repo, revision)))
        room = asyncio.Semaphore(ASKED_AT_ONCE)

        async def ask(member: Member) -> NodeHoldingView:
            if member.state not in (MemberState.ALIVE, MemberState.SUSPECT):
                return _view(member, Holding(), member.trouble or None)
            async with room:
                try:
                    answer = await self._cluster.call(member.name, PUBLISHED, body, ANSWER_S)
                    holding = msgspec.msgpack.decode(answer, type=Holding)
                except (ClusterError, msgspec.MsgspecError) as error:
                    return _view(member, Holding(), str(error))
            # A member chooses its words: a commit is the only one taken from it.
            return _view(member, holding if is_commit(holding.commit) else Holding(), None)

        members = (each for each in self._cluster.members() if each.name not in self._cluster.bans)
        return list(await asyncio.gather(*map(ask, members)))

    async def _on_published(self, sender: str, body: bytes) -> bytes:
        try:
            ref = msgspec.msgpack.decode(body, type=RefName).ref()
        except (msgspec.MsgspecError, InvalidRequest) as error:
            raise CallRefused("invalid_request", str(error)) from error
        return msgspec.msgpack.encode(Holding.of(await self._own(ref.repo, ref.revision)))


class LoneWhereabouts:
    """Implements `models.Whereabouts` for a daemon without a cluster."""

    def __init__(self, name: str, published: Published) -> None:
        self._name = name
        self._own = published

    async def published(self, repo: Repo, revision: str) -> list[NodeHoldingView]:
        holding = Holding.of(await self._own(repo, revision))
        return [
            NodeHoldingView(
                self._name, "alive", holding.commit or None, holding.complete if holding.commit else None
            )
        ]


def _view(member: Member, holding: Holding, trouble: str | None) -> NodeHoldingView:
    commit = holding.commit or None
    complete = holding.complete if commit else None
    return NodeHoldingView(member.name, STATES[member.state], commit, complete, trouble)
