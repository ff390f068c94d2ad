"""Whether large messages reach the members that small ones reach: where they do not, packets of full size are lost.

That is what a wrong MTU looks like (a tunnel, jumbo frames on one end): gossip works, and transfers stand still.
"""

from __future__ import annotations

import asyncio

import msgspec

from distd.api.schema import Finding
from distd.sharing.holdings import HOLDINGS, HoldingsQuestion
from peers.cluster import Cluster
from peers.cluster_errors import ClusterError, MemberUnreachable

PROBED_MAX = 8
"""Members asked: a wrong MTU is this host's or the network's, so some tell it."""
PROBE_S = 3.0
LARGE_BLOBS = 2000
"""Names of blobs that nobody has, some 90 kB in one request: dozens of full packets."""


async def packet_findings(cluster: Cluster) -> list[Finding]:
    """Asks some live members a small question and then a large one."""
    members = sorted(cluster.live - {cluster.me})[:PROBED_MAX]
    small = msgspec.msgpack.encode(HoldingsQuestion())
    names = tuple((number.to_bytes(32, "big"), 1) for number in range(LARGE_BLOBS))
    large = msgspec.msgpack.encode(HoldingsQuestion(names))

    async def reaches(member: str, body: bytes) -> bool:
        try:
            await cluster.call(member, HOLDINGS, body, PROBE_S)
        except MemberUnreachable:
            return False
        except ClusterError:
            return True  # it answered
        return True

    async def loses(member: str) -> bool | None:
        """None: it does not answer at all, which says nothing about packets."""
        return not await reaches(member, large) if await reaches(member, small) else None

    told = dict(zip(members, await asyncio.gather(*map(loses, members)), strict=True))
    lost = [member for member, loses_large in told.items() if loses_large]
    if lost:
        return [
            Finding(
                "mtu",
                "fail",
                f"small messages reach {', '.join(lost)} and {len(large) // 1000} kB do not within {PROBE_S:.0f} s: packets"
                " of full size may be lost on the way",
                "compare the MTU of both ends and of tunnels between them (ip link); `ping -M do -s 1472 HOST` has to pass"
                " at 1500, `-s 8972` at 9000; set the smaller one, or allow ICMP in the firewalls",
            )
        ]
    answered = sum(loses_large is False for loses_large in told.values())
    return (
        [Finding("mtu", "ok", f"large messages reach {answered} members of {len(members)} tried")]
        if answered
        else []
    )
