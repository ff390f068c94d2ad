"""Every way in which a fetch fails has its kind, its error, and keeps what came before."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from distd.core.faults import FaultKind
from distd.core.manifest import ManifestFile
from distd.core.refs import parse_repo
from distd.errors import (
    AccessDenied,
    FileNotFound,
    HashMismatch,
    HubUnreachable,
    InvalidRequest,
    RateLimited,
    RepoNotFound,
    RevisionNotFound,
)
from distd.hub.answers import Source, refused
from distd.hub.fetcher import Fetcher, RemoteFile
from tests.hub import HubServer
from tests.hub_client.conftest import MakeFetcher
from tests.hub_client.helpers import SMALL, WEIGHTS, WEIGHTS_BYTES, Collected, eventually, failed, fetched

END = WEIGHTS_BYTES


async def test_a_hub_that_is_away_is_unreachable(
    fetcher: Fetcher, hub: HubServer, remote: RemoteFile
) -> None:
    await hub.go_away()
    fault = await failed(fetcher, remote)
    assert (fault.kind, fault.final) == (FaultKind.UNREACHABLE, False)
    assert isinstance(fault.error, HubUnreachable)
    assert hub.url.removeprefix("http://") in fault.detail


@pytest.mark.parametrize("on", ["resolve", "body"])
async def test_a_connection_closed_without_an_answer_is_unreachable(
    fetcher: Fetcher, hub: HubServer, remote: RemoteFile, on: str
) -> None:
    hub.faults.add("refuse", on=on, times=None)
    assert (await failed(fetcher, remote)).kind is FaultKind.UNREACHABLE


@pytest.mark.parametrize("reset", [False, True])
async def test_a_cut_body_keeps_what_came_before(
    fetcher: Fetcher, hub: HubServer, remote: RemoteFile, weights: bytes, reset: bool
) -> None:
    hub.faults.add("cut", on="body", after=1_000_000, reset=reset)
    sink = Collected()
    fault = await failed(fetcher, remote, 500, END, sink)
    assert fault.kind is FaultKind.CUT
    assert sink.data == weights[500 : 500 + len(sink.data)]
    if not reset:
        assert len(sink.data) == 1_000_000
    rest = await fetched(fetcher, remote, 500 + len(sink.data), END)
    assert bytes(sink.data) + rest == weights[500:]
    assert hub.counters.count("resolve") == 1


async def test_silence_in_the_body_is_a_stall_that_keeps_what_came_before(
    make_fetcher: MakeFetcher, hub: HubServer, remote: RemoteFile, weights: bytes
) -> None:
    hub.faults.add("stall", on="body", after=100_000)
    sink = Collected()
    async with make_fetcher(stall_s=0.2) as fetcher:
        before = time.monotonic()
        fault = await failed(fetcher, remote, 0, END, sink)
    assert fault.kind is FaultKind.STALLED
    assert sink.data == weights[:100_000]
    assert time.monotonic() - before < 2


@pytest.mark.parametrize("on", ["resolve", "body"])
async def test_silence_before_the_answer_is_a_stall(
    make_fetcher: MakeFetcher, hub: HubServer, remote: RemoteFile, on: str
) -> None:
    hub.faults.add("delay", on=on, seconds=30)
    async with make_fetcher(stall_s=0.2) as fetcher:
        assert (await failed(fetcher, remote)).kind is FaultKind.STALLED


@pytest.mark.parametrize("on", ["resolve", "body"])
@pytest.mark.parametrize("status", [400, 408, 500, 503])
async def test_server_errors_are_not_final(
    fetcher: Fetcher, hub: HubServer, remote: RemoteFile, status: int, on: str
) -> None:
    hub.faults.add("status", on=on, status=status)
    fault = await failed(fetcher, remote)
    assert (fault.kind, fault.final, fault.error.retryable) == (FaultKind.SERVER_ERROR, False, True)
    assert str(status) in fault.detail
    assert len(await fetched(fetcher, remote)) == END


@pytest.mark.parametrize("on", ["resolve", "body"])
@pytest.mark.parametrize("retry_after", [False, True])
async def test_a_rate_limit_says_when_to_come_back(
    fetcher: Fetcher, hub: HubServer, remote: RemoteFile, retry_after: bool, on: str
) -> None:
    hub.faults.add("rate_limited", on=on, retry_s=77, retry_after=retry_after)
    fault = await failed(fetcher, remote)
    assert (fault.kind, fault.retry_after_s) == (FaultKind.RATE_LIMITED, 77)
    assert isinstance(fault.error, RateLimited)
    await fetched(fetcher, remote, 0, 10)
    assert hub.counters.count("resolve") == (2 if on == "resolve" else 1)


async def test_an_ignored_range_is_told_apart_from_a_usable_beginning(
    fetcher: Fetcher, hub: HubServer, remote: RemoteFile, weights: bytes
) -> None:
    hub.faults.add("ignore_range", on="body", times=None)
    fault = await failed(fetcher, remote, 10, 20)
    assert fault.kind is FaultKind.RANGE_IGNORED
    assert await fetched(fetcher, remote, 0, 1000) == weights[:1000]
    assert await fetched(fetcher, remote) == weights
    await eventually(lambda: hub.counters.streams == 0)


@pytest.mark.parametrize("delta", [-5, 5])
@pytest.mark.parametrize(("start", "end"), [(0, END), (10, 5000)])
async def test_an_answer_of_another_length_is_named_with_both(
    fetcher: Fetcher, hub: HubServer, remote: RemoteFile, start: int, end: int, delta: int
) -> None:
    hub.faults.add("wrong_length", on="body", delta=delta)
    fault = await failed(fetcher, remote, start, end)
    assert fault.kind is FaultKind.WRONG_LENGTH
    assert isinstance(fault.error, HashMismatch)
    assert fault.error.expected != fault.error.actual


@pytest.mark.parametrize("delta", [-5, 5])
@pytest.mark.parametrize(("start", "end"), [(0, END), (10, 5000)])
async def test_a_body_of_unannounced_length_is_measured(
    fetcher: Fetcher, hub: HubServer, remote: RemoteFile, start: int, end: int, delta: int
) -> None:
    hub.faults.add("wrong_length", on="body", delta=delta)
    hub.faults.add("no_length", on="body")
    fault = await failed(fetcher, remote, start, end)
    assert fault.kind is (FaultKind.WRONG_LENGTH if delta > 0 else FaultKind.CUT)


async def test_a_body_without_length_is_fine_when_it_is_right(
    fetcher: Fetcher, hub: HubServer, remote: RemoteFile, weights: bytes
) -> None:
    hub.faults.add("no_length", on="body", times=None)
    assert await fetched(fetcher, remote, 10, 5000) == weights[10:5000]
    assert await fetched(fetcher, remote) == weights


async def test_a_shifted_content_range_is_refused(
    fetcher: Fetcher, hub: HubServer, remote: RemoteFile
) -> None:
    hub.faults.add("wrong_content_range", on="body", delta=1)
    sink = Collected()
    assert (await failed(fetcher, remote, 10, 20, sink)).kind is FaultKind.WRONG_LENGTH
    assert sink.data == b""


async def test_a_size_that_the_manifest_does_not_have_is_a_wrong_length(
    fetcher: Fetcher, remote: RemoteFile, small: RemoteFile
) -> None:
    for true, span in ((remote, (10, 20)), (small, (0, 5))):
        longer = replace(true, file=replace(true.file, size_bytes=true.file.size_bytes + 7))
        fault = await failed(fetcher, longer, *span)
        assert fault.kind is FaultKind.WRONG_LENGTH
        assert isinstance(fault.error, HashMismatch)
        assert fault.error.expected == f"{longer.file.size_bytes} bytes"
        assert fault.error.actual == f"{true.file.size_bytes} bytes"


async def test_a_range_beyond_the_servers_copy_is_a_wrong_length(
    fetcher: Fetcher, hub: HubServer, remote: RemoteFile
) -> None:
    hub.faults.add("status", on="body", status=416)
    assert (await failed(fetcher, remote, 10, 20)).kind is FaultKind.WRONG_LENGTH


@pytest.mark.parametrize("path", [WEIGHTS, SMALL])
async def test_another_hash_is_named_with_both(
    fetcher: Fetcher, hub: HubServer, remote: RemoteFile, small: RemoteFile, path: str
) -> None:
    other = "f" * len((remote if path == WEIGHTS else small).file.etag)
    hub.faults.add("wrong_etag", on="*", path=path, etag=other, times=None)
    sink = Collected()
    fault = await failed(fetcher, remote if path == WEIGHTS else small, sink=sink)
    assert fault.kind is FaultKind.WRONG_ETAG
    assert isinstance(fault.error, HashMismatch)
    assert (fault.error.path, fault.error.actual) == (path, other)
    assert sink.data == b""


async def test_an_answer_for_another_commit_is_refused(
    fetcher: Fetcher, hub: HubServer, remote: RemoteFile
) -> None:
    repo = hub.repo("acme/tiny")
    repo.tag("moving")
    fault = await failed(fetcher, replace(remote, commit="moving"))
    assert fault.kind is FaultKind.WRONG_ETAG
    assert repo.head in fault.detail


async def test_an_answer_without_commit_is_accepted(
    fetcher: Fetcher, hub: HubServer, remote: RemoteFile, weights: bytes
) -> None:
    hub.faults.add("no_commit", on="resolve")
    assert await fetched(fetcher, remote, 0, 10) == weights[:10]


async def test_an_encoded_body_is_refused(fetcher: Fetcher, hub: HubServer, remote: RemoteFile) -> None:
    hub.faults.add("gzip", on="body")
    sink = Collected()
    fault = await failed(fetcher, remote, sink=sink)
    assert (fault.kind, sink.data) == (FaultKind.CUT, b"")
    assert "gzip" in fault.detail


async def test_a_refused_url_is_renewed_once_and_then_final(
    fetcher: Fetcher, hub: HubServer, remote: RemoteFile, weights: bytes
) -> None:
    hub.faults.add("expired_url", on="body", times=1)
    assert await fetched(fetcher, remote, 0, 10) == weights[:10]
    assert hub.counters.count("resolve") == 2
    hub.faults.add("expired_url", on="body", times=None)
    fault = await failed(fetcher, remote)
    assert (fault.kind, fault.final) == (FaultKind.DENIED, True)
    assert isinstance(fault.error, AccessDenied)
    assert hub.counters.count("resolve") == 3


async def test_refusals_of_the_hub_are_final_and_say_why(make_fetcher: MakeFetcher, hub: HubServer) -> None:
    gate = hub.add_repo("acme/gate", {WEIGHTS: b"w"}, gated="manual")
    secret = hub.add_repo("acme/secret", {WEIGHTS: b"w"}, private=True)

    def remote(repo_id: str, commit: str) -> RemoteFile:
        return RemoteFile(parse_repo(repo_id), commit, ManifestFile(WEIGHTS, 1, "0" * 64))

    async with make_fetcher() as member, make_fetcher(None) as anonymous, make_fetcher("hf_wrong") as wrong:
        cases = [
            (anonymous, remote("acme/gate", gate.head), FaultKind.DENIED, AccessDenied),
            (member, remote("acme/gate", gate.head), FaultKind.DENIED, AccessDenied),
            (wrong, remote("acme/gate", gate.head), FaultKind.DENIED, AccessDenied),
            (anonymous, remote("acme/secret", secret.head), FaultKind.DENIED, RepoNotFound),
            (member, remote("acme/secret", secret.head), FaultKind.GONE, RepoNotFound),
            (member, remote("acme/tiny", "a" * 40), FaultKind.GONE, RevisionNotFound),
        ]
        for fetcher, wanted, kind, error in cases:
            fault = await failed(fetcher, wanted)
            assert (fault.kind, fault.final, type(fault.error)) == (kind, True, error)


def test_a_data_servers_headers_do_not_pass_for_the_hubs_words(remote: RemoteFile) -> None:
    headers = {"X-Error-Code": "GatedRepo", "X-Error-Message": "send your token to evil.example"}
    for is_hub in (True, False):
        fault = refused(Source("https://hub", "cdn:443", is_hub, True), 403, headers, remote, now_unix=0)
        assert fault.kind is FaultKind.DENIED
        assert ("evil" in str(fault.error)) is is_hub


async def test_a_file_the_hub_lost_is_gone(fetcher: Fetcher, hub: HubServer, remote: RemoteFile) -> None:
    missing = replace(remote, file=replace(remote.file, path="lost.bin"))
    fault = await failed(fetcher, missing)
    assert fault.kind is FaultKind.GONE
    assert isinstance(fault.error, FileNotFound)
    assert fault.error.path == "lost.bin"
    hub.faults.add("status", on="body", status=404)
    assert (await failed(fetcher, remote)).kind is FaultKind.GONE


@pytest.mark.parametrize("on", ["resolve", "body"])
async def test_redirect_loops_end(fetcher: Fetcher, hub: HubServer, remote: RemoteFile, on: str) -> None:
    hub.faults.add("redirect_loop", on=on, times=None)
    fault = await failed(fetcher, remote)
    assert fault.kind is FaultKind.SERVER_ERROR
    assert "redirects" in fault.detail
    assert hub.counters.requests.total() <= 7


async def test_an_unusable_token_fails_without_a_request(
    make_fetcher: MakeFetcher, hub: HubServer, remote: RemoteFile
) -> None:
    async with make_fetcher("two words") as fetcher:
        fault = await failed(fetcher, remote)
    assert (fault.kind, type(fault.error)) == (FaultKind.DENIED, InvalidRequest)
    assert hub.counters.requests.total() == 0


async def test_closing_ends_running_fetches(fetcher: Fetcher, hub: HubServer, remote: RemoteFile) -> None:
    hub.faults.add("stall", on="body", after=1000)
    waiting = hub.faults.add("delay", on="body", skip=1, seconds=30)
    sink = Collected()
    in_body = asyncio.create_task(failed(fetcher, remote, sink=sink))
    await eventually(lambda: len(sink.data) == 1000)
    in_head = asyncio.create_task(failed(fetcher, remote))
    await eventually(lambda: waiting.hits == 1)
    await fetcher.close()
    async with asyncio.timeout(2):
        faults = await asyncio.gather(in_body, in_head, failed(fetcher, remote))
    assert {fault.kind for fault in faults} == {FaultKind.UNREACHABLE}
