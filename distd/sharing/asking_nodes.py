"""Calls to members as targets of a person's request: who there is, a question asked, and what silence or a no means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from distd.core.audience import Node, NodeRefused, NodeSilent
from distd.errors import Problem
from distd.sharing.company import STATES
from peers.cluster import Cluster, Member
from peers.cluster_errors import AuthFailed, CallRefused, ClusterError, MemberBanned
from peers.membership import MemberState

LIVE = (MemberState.ALIVE, MemberState.SUSPECT)

T = TypeVar("T")


def known_nodes(cluster: Cluster) -> Sequence[Node]:
    """All members, in order of their names. Who is banned here is nobody's target, alive or not."""
    return [_node(member, cluster.bans.get(member.name)) for member in cluster.members()]


def _node(member: Member, ban: str | None) -> Node:
    is_live = member.state in LIVE and ban is None
    trouble = "" if is_live else member.trouble if ban is None else str(MemberBanned(member.name, ban))
    return Node(member.name, member.facts.zone, is_live, STATES[member.state], trouble, member.facts.draining)


async def asked(
    cluster: Cluster, node: str, call: str, question: msgspec.Struct, kind: type[T], timeout_s: float
) -> T:
    """The answer as `kind`. Raises NodeSilent for whatever may be otherwise later, NodeRefused for a word that will stay."""
    try:
        answer = await cluster.call(node, call, msgspec.msgpack.encode(question), timeout_s)
        return msgspec.msgpack.decode(answer, type=kind)
    except CallRefused as error:
        # `not_found`: it knows no such call, being about to start; what it means is in the answer else.
        if error.retryable or error.code in ("not_found", "busy"):
            raise NodeSilent(str(error)) from error
        if error.code == "banned":
            raise NodeRefused(Problem("access_denied", "Banned there", str(error), False)) from error
        raise NodeRefused(Problem(error.code, "Refused by the node", error.detail, False)) from error
    except AuthFailed as error:
        raise NodeRefused(Problem("not_authenticated", "Node not trusted", str(error), False)) from error
    except ClusterError as error:
        raise NodeSilent(str(error)) from error
    except msgspec.MsgspecError as error:
        raise NodeSilent(f"its answer cannot be read ({error}): is it of another version?") from error


def read(body: bytes, kind: type[T]) -> T:
    """What a member asks. Raises CallRefused."""
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise CallRefused("invalid_request", f"it cannot be read here: {error}") from error
