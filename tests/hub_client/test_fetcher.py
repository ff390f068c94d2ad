"""Spans arrive whole and in order, from whoever has them, with as few questions to the Hub as possible."""

from __future__ import annotations

import asyncio
import itertools
import logging
from pathlib import Path

import pytest

from distd.core.manifest import Manifest, ManifestFile
from distd.core.refs import parse_repo
from distd.hub.fetcher import Fetcher, RemoteFile
from tests.hub import HubServer
from tests.hub_client.conftest import MakeFetcher
from tests.hub_client.helpers import TOKEN, WEIGHTS, WEIGHTS_BYTES, Collected, eventually, failed, fetched

END = WEIGHTS_BYTES


@pytest.mark.parametrize(
    ("start", "end"), [(0, END), (0, 1), (0, END - 1), (1, END), (END - 1, END), (77, 1_000_003)]
)
async def test_a_span_is_exactly_the_bytes_asked_for(
    fetcher: Fetcher, remote: RemoteFile, weights: bytes, start: int, end: int
) -> None:
    assert await fetched(fetcher, remote, start, end) == weights[start:end]


async def test_files_of_every_kind_arrive(fetcher: Fetcher, hub: HubServer, manifest: Manifest) -> None:
    commit = hub.repo("acme/tiny").find("main")
    assert commit is not None
    for file in manifest.files:
        source = commit.files[file.path].source
        content = source.read_bytes() if isinstance(source, Path) else source
        assert await fetched(fetcher, RemoteFile(manifest.repo, manifest.commit, file)) == content


async def test_empty_files_and_empty_spans_cost_no_request(
    fetcher: Fetcher, hub: HubServer, manifest: Manifest, remote: RemoteFile
) -> None:
    empty = RemoteFile(manifest.repo, manifest.commit, manifest.by_path["empty.txt"])
    assert await fetched(fetcher, empty) == b""
    assert await fetched(fetcher, remote, 5, 5) == b""
    assert hub.counters.requests.total() == 0


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (5, 4), (0, END + 1)])
async def test_what_is_no_span_of_the_file_is_a_mistake_of_the_caller(
    fetcher: Fetcher, remote: RemoteFile, start: int, end: int
) -> None:
    with pytest.raises(ValueError, match="no span"):
        await fetcher.fetch(remote, start, end, Collected())


@pytest.mark.parametrize("repo_type", ["dataset", "space"])
async def test_datasets_and_spaces_have_their_own_urls(
    fetcher: Fetcher, hub: HubServer, repo_type: str
) -> None:
    repo = hub.add_repo("acme/other", {WEIGHTS: b"w" * 1000}, type=repo_type)  # type: ignore[arg-type]  # parametrized
    there = repo.commits[repo.head].files[WEIGHTS]
    file = ManifestFile(WEIGHTS, 1000, there.etag, there.oid)
    assert (
        await fetched(fetcher, RemoteFile(parse_repo("acme/other", repo_type), repo.head, file), 10, 20)
        == b"w" * 10
    )


async def test_a_renamed_repo_still_serves_under_its_old_name(
    fetcher: Fetcher, hub: HubServer, remote: RemoteFile, weights: bytes
) -> None:
    hub.rename("acme/tiny", "acme/new-name")
    assert await fetched(fetcher, remote, 0, 1000) == weights[:1000]


async def test_gated_files_come_with_the_token_of_a_reader(make_fetcher: MakeFetcher, hub: HubServer) -> None:
    repo = hub.add_repo(
        "acme/gate", {WEIGHTS: b"w" * 50, "a.json": b"{}"}, gated="auto", readers={"hf_reader"}
    )
    files = repo.commits[repo.head].files
    async with make_fetcher("hf_reader") as reader:
        for path, content in ((WEIGHTS, b"w" * 50), ("a.json", b"{}")):
            file = ManifestFile(path, len(content), files[path].etag, files[path].oid)
            assert await fetched(reader, RemoteFile(parse_repo("acme/gate"), repo.head, file)) == content
    assert hub.counters.token_leaks == 0


async def test_spans_of_one_file_that_begin_together_ask_the_hub_once(
    fetcher: Fetcher, hub: HubServer, remote: RemoteFile, weights: bytes
) -> None:
    hub.settings.latency_s = 0.05
    bounds = [*range(0, END, END // 16), END]
    parts = await asyncio.gather(*(fetched(fetcher, remote, a, b) for a, b in itertools.pairwise(bounds)))
    assert b"".join(parts) == weights
    assert hub.counters.count("resolve") == 1
    assert hub.counters.count("body") == len(parts)


async def test_spans_that_begin_together_share_a_failure(
    fetcher: Fetcher, hub: HubServer, remote: RemoteFile
) -> None:
    hub.settings.latency_s = 0.05
    hub.faults.add("rate_limited", on="resolve", times=None)
    faults = await asyncio.gather(*(failed(fetcher, remote, n * 10, n * 10 + 10) for n in range(8)))
    assert {fault.kind.value for fault in faults} == {"rate_limited"}
    assert hub.counters.count("resolve") == 1


async def test_when_the_asking_span_is_cancelled_another_one_asks(
    fetcher: Fetcher, hub: HubServer, remote: RemoteFile, weights: bytes
) -> None:
    delay = hub.faults.add("delay", on="resolve", seconds=30)
    first = asyncio.create_task(fetched(fetcher, remote, 0, 10))
    second = asyncio.create_task(fetched(fetcher, remote, 10, 20))
    await eventually(lambda: delay.hits == 1)
    first.cancel()
    async with asyncio.timeout(5):
        assert await second == weights[10:20]
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_signed_url_serves_later_spans_too(
    fetcher: Fetcher, hub: HubServer, remote: RemoteFile, weights: bytes
) -> None:
    for start in range(0, 50, 10):
        assert await fetched(fetcher, remote, start, start + 10) == weights[start : start + 10]
    assert hub.counters.count("resolve") == 1


async def test_a_signed_url_near_its_end_is_not_used(
    fetcher: Fetcher, hub: HubServer, remote: RemoteFile
) -> None:
    hub.advance(
        -hub.settings.url_life_s
    )  # the URL names this very second, and the data server still takes it
    await fetched(fetcher, remote, 0, 10)
    await fetched(fetcher, remote, 10, 20)
    assert hub.counters.count("resolve") == 2


async def test_an_expired_url_is_renewed(
    fetcher: Fetcher, hub: HubServer, remote: RemoteFile, weights: bytes
) -> None:
    await fetched(fetcher, remote, 0, 10)
    hub.advance(2 * 3600)
    parts = await asyncio.gather(*(fetched(fetcher, remote, n, n + 1) for n in range(8)))
    assert b"".join(parts) == weights[:8]
    assert hub.counters.count("resolve") == 2
    assert hub.counters.count("body", status=403) == 8


async def test_a_foreign_redirect_is_followed_without_the_token(
    fetcher: Fetcher, hub: HubServer, small: RemoteFile, remote: RemoteFile, weights: bytes
) -> None:
    hub.faults.add("foreign_redirect", on="resolve", times=None)
    assert await fetched(fetcher, remote, 5, 50) == weights[5:50]
    assert await fetched(fetcher, small) == b'{"a": 1}\n'
    hub.faults.clear()
    hub.faults.add("foreign_redirect", on="body", path=WEIGHTS)
    await fetched(fetcher, remote, 50, 60)
    assert hub.counters.token_leaks == 0
    assert {r.authenticated for r in hub.counters.find("resolve")} == {True}


async def test_the_token_stays_on_the_hubs_own_origin(
    fetcher: Fetcher, hub: HubServer, manifest: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for file in manifest.files:
        await fetched(fetcher, RemoteFile(manifest.repo, manifest.commit, file))
    hub.faults.add("status", on="body", status=500, times=None)
    fault = await failed(fetcher, RemoteFile(manifest.repo, manifest.commit, manifest.by_path[WEIGHTS]))
    requests = hub.counters.find()
    assert {r.authenticated for r in requests if r.kind == "resolve" or "resolve-cache" in r.target} == {True}
    assert {r.authenticated for r in requests if r.target.startswith("/xet-bridge")} == {False}
    assert hub.counters.token_leaks == 0
    for text in (caplog.text, str(fault), str(fault.error)):
        assert TOKEN not in text
        assert "Signature" not in text


async def test_the_sinks_slowness_is_no_stall_of_the_server(
    make_fetcher: MakeFetcher, remote: RemoteFile, weights: bytes
) -> None:
    received = bytearray()

    async def slow(part: bytes) -> None:
        if not received:
            await asyncio.sleep(0.6)
        received.extend(part)

    async with make_fetcher(stall_s=0.3) as fetcher:
        await fetcher.fetch(remote, 0, END, slow)
    assert received == weights


async def test_what_the_sink_raises_passes_through(fetcher: Fetcher, remote: RemoteFile) -> None:
    async def full(part: bytes) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        await fetcher.fetch(remote, 0, END, full)


async def test_received_bytes_and_answers_are_counted(make_fetcher: MakeFetcher, remote: RemoteFile) -> None:
    received: list[int] = []
    statuses: list[int] = []
    async with make_fetcher(on_wire=received.append, on_response=statuses.append) as fetcher:
        await fetched(fetcher, remote, 0, 1000)
        await fetched(fetcher, remote)
    assert sum(received) == 1000 + END
    assert statuses == [302, 206, 200]


async def test_connections_are_kept_and_bounded(
    make_fetcher: MakeFetcher, hub: HubServer, remote: RemoteFile
) -> None:
    hub.faults.add("slow", on="body", bytes_per_s=400_000, times=None)
    fetcher = make_fetcher()
    fetcher._connections = 3
    async with fetcher:
        await asyncio.gather(*(fetched(fetcher, remote, n * 1000, n * 1000 + 30_000) for n in range(9)))
    assert hub.counters.max_streams == 3
