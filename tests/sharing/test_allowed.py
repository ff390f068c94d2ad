"""Gated content among real members: the allow list is kept by who serves, and own access is asked of the Hub."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from distd.sharing.calls import LEAD, REPORT, WANTED
from distd.sharing.holdings import HOLDINGS, HoldingsAnswer, HoldingsQuestion, RefName
from distd.sharing.locations import LOCATION, FileName
from distd.sharing.metadata import MANIFEST, RESOLVE
from distd.sharing.small_wire import SMALL, SmallOrder
from peers import lead_wire, piece_set
from peers.blob import Blob
from peers.cluster import Cluster, ClusterSettings
from peers.cluster_errors import CallRefused
from peers.messages import LeadRequest, Report
from tests.cluster.test_transport import Collected
from tests.daemon.repos import MIB, HubRepo, Repos, etag_of
from tests.hub import HubProcess
from tests.sharing.fleet import address, fleet

READER = "reads-the-gated"
T = TypeVar("T")


@pytest.fixture
def gated(repos: Repos) -> HubRepo:
    """A large file and small ones, for one token only."""
    return repos.make(weight_mib=18, hub_options={"gated": "manual", "readers": [READER]})


def as_member(name: str, join: str, speak: Callable[[Cluster], Awaitable[T]], start_s: float = 20.0) -> T:
    """What somebody with the cluster's secret, of this name and without any rules of its own, gets to hear."""

    async def run() -> T:
        cluster = Cluster(ClusterSettings(name, join=(join,)))
        await cluster.start()
        try:
            async with asyncio.timeout(start_s):
                while "n0" not in cluster.live:  # noqa: ASYNC110  # a table that fills by gossip
                    await asyncio.sleep(0.05)
            return await speak(cluster)
        finally:
            await cluster.stop()

    return asyncio.run(run())


def test_what_a_member_may_not_have_is_refused_in_every_way_and_own_access_is_asked_of_the_hub(
    hub: HubProcess, repos: Repos, tmp_path: Path, gated: HubRepo
) -> None:
    allow = {"cluster.allow": f"{gated.id} n0 n1 friend"}
    public = repos.make(weight_mib=1)
    with fleet(
        tmp_path,
        hub,
        3,
        settings={0: allow, 1: {**allow, "cluster.gated": "own_access"}, 2: allow},
        tokens={0: READER},
    ) as (holder, allowed, refused):
        holder.pulled(gated.id)
        without = allowed.pull(gated.id)
        assert (without["state"], without["error"]["code"]) == ("failed", "access_denied"), "the Hub's word"
        assert without["bytes_done"] == 0
        allowed.set_token(READER)
        view = allowed.pulled(gated.id)
        assert view["bytes_from_peers"] >= 18 * MIB, "with access it still comes from the member"
        failed = refused.pull(gated.id)
        assert (failed["state"], failed["error"]["code"]) == ("failed", "access_denied")
        assert failed["bytes_done"] == 0
        refused.pulled(public.id)

        large = max(
            (path for path in gated.directory.rglob("*") if path.is_file()), key=lambda p: p.stat().st_size
        )
        small = gated.directory / "config.json"
        answers = as_member(
            "intruder", address(holder), lambda cluster: asked_in_every_way(cluster, gated, large, small)
        )
        assert answers == dict.fromkeys(answers, "access_denied")
        heard = as_member(
            "friend", address(holder), lambda cluster: asked_in_every_way(cluster, gated, large, small)
        )
        assert "access_denied" not in heard.values(), "the same questions by who is named"


async def asked_in_every_way(cluster: Cluster, repo: HubRepo, large: Path, small: Path) -> dict[str, str]:
    """By question: the code of the refusal, or "answered"."""
    heard: dict[str, str] = {}

    async def note(name: str, asking: Awaitable[object]) -> None:
        try:
            await asking
            heard[name] = "answered"
        except CallRefused as refused:
            heard[name] = refused.code

    def file(path: Path, repo_id: str) -> FileName:
        etag = etag_of(path, "0" * (64 if path == large else 40))
        return FileName("model", repo_id, repo.commit, path.name, path.stat().st_size, etag)

    etag = etag_of(large, "0" * 64)
    blob = Blob.of(etag, large.stat().st_size)
    probe = lead_wire.encode_probe(blob)
    for name in (REPORT, WANTED):
        await note(name, cluster.call("n0", name, probe, 5.0))
    await note(LEAD, cluster.call("n0", LEAD, lead_question(cluster, blob), 8.0))
    for what, repo_id in (("", repo.id), (", of another repo by its word", "some/other")):
        order = msgspec.msgpack.encode(SmallOrder((file(small, repo_id),)))
        await note(SMALL + what, cluster.call("n0", SMALL, order, 5.0))
        place = msgspec.msgpack.encode(file(large, repo_id))
        if not what:
            await note(LOCATION, cluster.call("n0", LOCATION, place, 5.0))
    query = {"type": "model", "repo": repo.id, "revision": repo.commit}
    for name in (RESOLVE, MANIFEST):
        await note(name, cluster.fetch("n0", name, query, Collected(), 1 << 20))
    question = HoldingsQuestion(
        ((bytes.fromhex(etag), blob.size_bytes),), RefName("model", repo.id, repo.commit)
    )
    body = await cluster.call("n0", HOLDINGS, msgspec.msgpack.encode(question), 5.0)
    told = msgspec.msgpack.decode(body, type=HoldingsAnswer)
    heard[HOLDINGS] = "answered" if any(told.held) and told.commit else "access_denied"
    return heard


def lead_question(cluster: Cluster, blob: Blob) -> bytes:
    nothing = Report(member=cluster.me, held=piece_set.to_bytes(0, blob.pieces))
    return lead_wire.encode_request(blob, LeadRequest(sequence=1, lead="n0", report=nothing))
