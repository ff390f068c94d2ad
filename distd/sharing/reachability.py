"""Whether other members reach this one where it says it is: its cluster API and both ports of BitTorrent.

A member behind NAT, in a container or with a wrong `cluster.advertise` reaches others, and they do not reach it: nothing looks wrong from its
own side. So it asks some of them to try, and tells in the log and in `distctl doctor` what they say. Times are seconds.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import NoReturn

import msgspec

from distd.api.schema import Finding
from peers.addresses import split
from peers.cluster import Cluster
from peers.cluster_errors import ClusterError, MemberUnreachable

log = logging.getLogger(__name__)

REACH, REACHED = "reach", "reached"
"""Asks a member to call back; the call back."""

TRY_S = 2.0
"""For each of the three, at once: a connection in a site takes a millisecond."""
ANSWER_S = 3 * TRY_S
ASKED_MAX = 3
"""Members asked: what one cannot reach may be that one's trouble."""
FIRST_LOOK_S = 5.0
"""After the first other member was met: by then it has heard this one's addresses."""
LOOK_EVERY_S = 300.0
TRYING_MAX = 16
"""Members being tried for at once; another is told to ask later."""


class Reached(msgspec.Struct, frozen=True):
    """By address what is wrong there, as the member that tried says."""

    troubles: dict[str, str] = {}


class Reachability:
    """Answers others from `open` on; run `watch` as a task."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._trying = asyncio.Semaphore(TRYING_MAX)
        self._told: frozenset[str] = frozenset()
        self._met = asyncio.Event()

    def open(self) -> None:
        self._cluster.on_change(self._look_for_company)
        self._cluster.register(REACH, self._on_reach)
        self._cluster.register(REACHED, _on_reached)

    def _look_for_company(self) -> None:
        if len(self._cluster.live) > 1:
            self._met.set()

    async def watch(self) -> NoReturn:
        await self._met.wait()
        await asyncio.sleep(FIRST_LOOK_S)
        while True:
            found = await unreached(self._cluster)
            for address in sorted(found.keys() - self._told):
                log.warning("other members do not reach this node: %s; %s", found[address], ADVICE)
            if self._told and not found:
                log.info("other members reach this node again")
            self._told = frozenset(found)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _on_reach(self, sender: str, body: bytes) -> bytes:
        """Only the addresses that the sender itself tells everybody are tried."""
        facts = next((each.facts for each in self._cluster.members() if each.name == sender), None)
        if facts is None:
            return msgspec.msgpack.encode(Reached())
        async with self._trying:
            tried = await asyncio.gather(
                self._call_back(sender),
                *(_connects(address) for address in (facts.hot_address, facts.sealed_address) if address),
            )
        addresses = (facts.address, *filter(None, (facts.hot_address, facts.sealed_address)))
        return msgspec.msgpack.encode(
            Reached({address: text for address, text in zip(addresses, tried, strict=True) if text})
        )

    async def _call_back(self, sender: str) -> str:
        try:
            await self._cluster.call(sender, REACHED, b"", TRY_S)
        except MemberUnreachable as error:
            return str(error)
        except ClusterError:
            return ""  # somebody proper answered
        return ""


async def _on_reached(sender: str, body: bytes) -> bytes:
    return b""


async def _connects(address: str) -> str:
    try:
        async with asyncio.timeout(TRY_S):
            _, writer = await asyncio.open_connection(*split(address))
    except TimeoutError:
        return f"{address} cannot be reached: no answer within {TRY_S:.0f} s"
    except OSError as error:
        return f"{address} cannot be reached: {error.strerror or error}"
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return ""


ADVICE = "set cluster.advertise and swarm.advertise to what others reach (NAT, containers), or let TCP 7071 to 7073 through the firewalls"


async def unreached(cluster: Cluster) -> dict[str, str]:
    """By address what is wrong, in the words of one and with all who say so: only where all that answered agree."""

    async def ask(member: str) -> tuple[str, Reached] | None:
        try:
            answer = await cluster.call(member, REACH, b"", ANSWER_S)
            return member, msgspec.msgpack.decode(answer, type=Reached)
        except (ClusterError, msgspec.MsgspecError):
            return None  # of an earlier version, or not reached from here either

    members = sorted(cluster.live - {cluster.me})[:ASKED_MAX]
    answers = [told for told in await asyncio.gather(*map(ask, members)) if told is not None]
    everywhere = set.intersection(*(set(told.troubles) for _, told in answers)) if answers else set()
    names = ", ".join(member for member, _ in answers)
    return {
        address: f"{answers[0][1].troubles[address]} (tried by {names})" for address in sorted(everywhere)
    }


async def reach_findings(cluster: Cluster) -> list[Finding]:
    if len(cluster.live) < 2:
        return []
    found = await unreached(cluster)
    if not found:
        return [Finding("cluster.advertise", "ok", "other members reach this node where it says it is")]
    detail = "; ".join(found.values())
    return [Finding("cluster.advertise", "fail", f"other members do not reach this node: {detail}", ADVICE)]
