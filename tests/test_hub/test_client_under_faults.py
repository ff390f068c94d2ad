"""What the official client does under each fault: the behaviour our own client is compared with.

It is also the proof that every fault looks to a real client like what it imitates.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import httpx2
import pytest
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, IncompleteSnapshotError, LocalEntryNotFoundError

from tests.hub import TRAVERSAL_ENTRIES, HubServer
from tests.test_hub.client import ask, download, files_below
from tests.test_hub.conftest import MIB

WEIGHTS = "model.safetensors"
SMALL = {"config.json": b'{"a": 1}', "m.bin": b"b" * 5000}


async def fetch_weights(hub: HubServer, model: Path, cache: Path) -> bytes:
    """The 16 MiB file through the official client."""
    hub.add_repo("acme/tiny", model)
    path = await asyncio.to_thread(
        hf_hub_download, "acme/tiny", WEIGHTS, endpoint=hub.url, cache_dir=cache, token=False
    )
    return Path(path).read_bytes()


def ranges_asked(hub: HubServer) -> list[str | None]:
    return [request.range for request in hub.counters.find("body", WEIGHTS)]


async def test_a_body_that_is_cut_resumes_at_the_last_whole_10_mib(
    hub: HubServer, model: Path, tmp_path: Path, sleeps: list[float]
) -> None:
    rule = hub.faults.add("cut", on="body", path=WEIGHTS, after=12 * MIB)
    content = await fetch_weights(hub, model, tmp_path)
    assert (content == (model / WEIGHTS).read_bytes()) is True
    assert rule.hits == 1
    assert ranges_asked(hub) == [None, f"bytes={10 * MIB}-"]
    assert hub.counters.body_bytes(WEIGHTS) == (12 + 6) * MIB


async def test_a_body_that_is_reset_ends_the_download(hub: HubServer, model: Path, tmp_path: Path) -> None:
    hub.faults.add("cut", on="body", path=WEIGHTS, after=12 * MIB, reset=True)
    with pytest.raises(httpx2.ReadError):
        await fetch_weights(hub, model, tmp_path)
    assert ranges_asked(hub) == [None]


async def test_a_body_cut_before_10_mib_starts_again(
    hub: HubServer, model: Path, tmp_path: Path, sleeps: list[float]
) -> None:
    hub.faults.add("cut", on="body", path=WEIGHTS, after=9 * MIB)
    content = await fetch_weights(hub, model, tmp_path)
    assert (content == (model / WEIGHTS).read_bytes()) is True
    assert ranges_asked(hub) == [None, None]
    assert hub.counters.body_bytes(WEIGHTS) == 25 * MIB


async def test_a_server_that_ignores_range_costs_the_whole_file_again(
    hub: HubServer, model: Path, tmp_path: Path, sleeps: list[float]
) -> None:
    hub.faults.add("cut", on="body", path=WEIGHTS, after=12 * MIB)
    hub.faults.add("ignore_range", on="body", path=WEIGHTS, times=None)
    content = await fetch_weights(hub, model, tmp_path)
    assert (content == (model / WEIGHTS).read_bytes()) is True
    assert [r.status for r in hub.counters.find("body", WEIGHTS)] == [200, 200]


async def test_silence_in_a_body_is_treated_as_a_cut(
    hub: HubServer, model: Path, tmp_path: Path, sleeps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    hub.faults.add("stall", on="body", path=WEIGHTS, after=11 * MIB)
    content = await fetch_weights(hub, model, tmp_path)
    assert (content == (model / WEIGHTS).read_bytes()) is True
    assert ranges_asked(hub) == [None, f"bytes={10 * MIB}-"]


async def test_a_short_stall_and_a_slow_body_only_take_longer(
    hub: HubServer, model: Path, tmp_path: Path
) -> None:
    hub.faults.add("stall", on="body", path=WEIGHTS, after=MIB, seconds=0.2)
    hub.faults.add("slow", on="body", path=WEIGHTS, bytes_per_s=32 * MIB)
    began = asyncio.get_running_loop().time()
    content = await fetch_weights(hub, model, tmp_path)
    assert (content == (model / WEIGHTS).read_bytes()) is True
    assert asyncio.get_running_loop().time() - began >= 0.6
    assert ranges_asked(hub) == [None]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_one_5xx_on_a_body_ends_the_download(
    hub: HubServer, model: Path, tmp_path: Path, status: int
) -> None:
    hub.faults.add("status", on="body", path=WEIGHTS, status=status)
    with pytest.raises(HfHubHTTPError) as caught:
        await fetch_weights(hub, model, tmp_path)
    assert caught.value.response.status_code == status
    assert len(ranges_asked(hub)) == 1


@pytest.mark.parametrize(("on", "times"), [("head", 2), ("body", 1)])
async def test_a_429_is_waited_out_for_what_the_rate_limit_says(
    hub: HubServer, model: Path, tmp_path: Path, sleeps: list[float], on: str, times: int
) -> None:
    # The first HEAD of a file is tried without patience; the second round obeys.
    hub.faults.add("rate_limited", on=on, path=WEIGHTS, times=times, retry_s=2)
    content = await fetch_weights(hub, model, tmp_path)
    assert (content == (model / WEIGHTS).read_bytes()) is True
    assert sleeps == [3.0]


async def test_a_429_with_retry_after_is_obeyed_too(
    hub: HubServer, model: Path, tmp_path: Path, sleeps: list[float]
) -> None:
    hub.faults.add("rate_limited", on="body", path=WEIGHTS, retry_s=7, retry_after=True)
    await fetch_weights(hub, model, tmp_path)
    assert sleeps == [8.0]


async def test_a_url_that_expired_before_the_resume_ends_the_download(
    hub: HubServer, model: Path, tmp_path: Path, sleeps: list[float]
) -> None:
    hub.faults.add("cut", on="body", path=WEIGHTS, after=12 * MIB)
    hub.faults.add("expired_url", on="body", path=WEIGHTS, skip=1)
    with pytest.raises(HfHubHTTPError) as caught:
        await fetch_weights(hub, model, tmp_path)
    assert caught.value.response.status_code == 403
    assert hub.counters.count("head", WEIGHTS) == 1


async def test_a_wrong_byte_is_accepted_and_only_verification_finds_it(
    hub: HubServer, model: Path, tmp_path: Path
) -> None:
    at = 9 * MIB + 5
    hub.faults.add("wrong_byte", on="body", path=WEIGHTS, at=at)
    content = bytearray(await fetch_weights(hub, model, tmp_path))
    content[at] ^= 0xFF
    assert (content == (model / WEIGHTS).read_bytes()) is True
    found = await ask(hub, "verify_repo_checksums", "acme/tiny", cache_dir=tmp_path)
    assert [mismatch["path"] for mismatch in found.mismatches] == [WEIGHTS]


@pytest.mark.parametrize("delta", [-5, 5])
async def test_a_wrong_length_is_refused(hub: HubServer, model: Path, tmp_path: Path, delta: int) -> None:
    hub.faults.add("wrong_length", on="body", path=WEIGHTS, times=None, delta=delta)
    with pytest.raises(OSError, match="Consistency check failed"):
        await fetch_weights(hub, model, tmp_path)


async def test_a_503_on_the_revision_is_not_retried(hub: HubServer, tmp_path: Path) -> None:
    hub.add_repo("acme/m", SMALL)
    rule = hub.faults.add("status", on="api", path="*/revision/*", status=503)
    with pytest.raises(LocalEntryNotFoundError):
        await download(hub, "acme/m", tmp_path)
    assert rule.hits == 1
    snapshot = await download(hub, "acme/m", tmp_path)
    hub.faults.add("status", on="api", path="*/revision/*", status=503)
    assert await download(hub, "acme/m", tmp_path) == snapshot


async def test_a_5xx_on_a_tree_page_is_retried(hub: HubServer, tmp_path: Path, sleeps: list[float]) -> None:
    hub.add_repo("acme/m", SMALL)
    hub.faults.add("status", on="api", path="*/tree/*", status=502, times=2)
    assert files_below(await download(hub, "acme/m", tmp_path)) == SMALL
    assert sleeps == [1, 2]


async def test_a_5xx_on_head_is_tried_again_in_a_second_round(
    hub: HubServer, tmp_path: Path, sleeps: list[float]
) -> None:
    hub.add_repo("acme/m", SMALL)
    hub.faults.add("status", on="head", path="m.bin", status=503, times=3)
    assert files_below(await download(hub, "acme/m", tmp_path)) == SMALL
    assert hub.counters.count("head", "m.bin", 503) == 3


async def test_a_hub_that_goes_away_and_comes_back(hub: HubServer, model: Path, tmp_path: Path) -> None:
    hub.add_repo("acme/tiny", model)
    snapshot = await download(hub, "acme/tiny", tmp_path)
    url = hub.url
    await hub.go_away()
    assert await download(hub, "acme/tiny", tmp_path) == snapshot
    with pytest.raises(LocalEntryNotFoundError):
        await download(hub, "acme/tiny", tmp_path / "empty")
    await hub.come_back()
    assert hub.url == url
    await download(hub, "acme/tiny", tmp_path / "empty", allow_patterns=["config.json"])


async def test_the_fault_gone_takes_the_hub_away_for_a_while(hub: HubServer, tmp_path: Path) -> None:
    hub.add_repo("acme/m", SMALL)
    hub.faults.add("gone", on="api", path="*/tree/*", seconds=0.3)
    # The client's own retries, one second apart, outlast it.
    assert files_below(await download(hub, "acme/m", tmp_path)) == SMALL


async def test_a_refused_connection_is_retried(hub: HubServer, tmp_path: Path, sleeps: list[float]) -> None:
    hub.add_repo("acme/m", SMALL)
    hub.faults.add("refuse", on="api", path="*/tree/*", times=2)
    assert files_below(await download(hub, "acme/m", tmp_path)) == SMALL
    assert hub.counters.count("api", "*/tree/*", status=0) == 2


async def test_a_wrong_etag_becomes_the_blobs_name(hub: HubServer, tmp_path: Path) -> None:
    hub.add_repo("acme/m", SMALL)
    hub.faults.add("wrong_etag", on="head", path="m.bin", times=None, etag="f" * 64)
    await download(hub, "acme/m", tmp_path)
    assert (tmp_path / "models--acme--m" / "blobs" / ("f" * 64)).read_bytes() == SMALL["m.bin"]


async def test_an_answer_without_a_commit_is_not_usable(hub: HubServer, tmp_path: Path) -> None:
    hub.add_repo("acme/m", SMALL)
    hub.faults.add("no_commit", on="head", times=None)
    with pytest.raises(LocalEntryNotFoundError):
        await download(hub, "acme/m", tmp_path)


@pytest.mark.parametrize("name", ["gzip", "no_length"])
async def test_bodies_without_length_or_in_gzip_arrive_whole(
    hub: HubServer, tmp_path: Path, name: str
) -> None:
    hub.add_repo("acme/m", SMALL)
    rule = hub.faults.add(name, on="body", times=None)
    assert files_below(await download(hub, "acme/m", tmp_path)) == SMALL
    assert rule.hits == 2


async def test_a_redirect_loop_ends_in_an_error(hub: HubServer, tmp_path: Path) -> None:
    hub.add_repo("acme/m", SMALL)
    rule = hub.faults.add("redirect_loop", on="head", path="m.bin", times=None)
    with pytest.raises(httpx2.TooManyRedirects):
        await download(hub, "acme/m", tmp_path)
    assert rule.hits == 20


async def test_a_redirect_to_a_stranger_gets_no_token(hub: HubServer) -> None:
    hub.add_repo("acme/m", SMALL, private=True, readers={"hf_reader"})
    hub.faults.add("foreign_redirect", on="resolve", path="m.bin")
    headers = {"Authorization": "Bearer hf_reader"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{hub.url}/acme/m/resolve/main/m.bin") as response,
    ):
        assert str(response.url).startswith(f"{hub.data_url}/elsewhere/")
        assert await response.read() == SMALL["m.bin"]
        # aiohttp drops the header for another origin; a client that sets it by hand is caught.
        assert hub.counters.token_leaks == 0
        async with session.get(response.url) as again:
            assert again.status == 200
    assert hub.counters.token_leaks == 1


async def test_the_client_refuses_a_path_that_leaves_the_repo(hub: HubServer, tmp_path: Path) -> None:
    hub.add_repo("acme/m", SMALL)
    hub.faults.add("traversal", entry="../../evil")
    with pytest.raises((ValueError, HfHubHTTPError, IncompleteSnapshotError)):
        await download(hub, "acme/m", tmp_path / "cache")
    assert not list(tmp_path.rglob("evil"))


async def test_every_traversal_entry_reaches_the_client_as_written(hub: HubServer) -> None:
    hub.add_repo("acme/m", SMALL)
    for entry in TRAVERSAL_ENTRIES:
        hub.faults.add("traversal", entry=entry)
        tree = await ask(hub, "list_repo_tree", "acme/m", recursive=True)
        assert tree[-1].path == entry


async def test_trees_lie_about_sizes_hashes_and_paths(hub: HubServer) -> None:
    hub.add_repo("acme/m", SMALL)
    honest = {entry.path: entry for entry in await ask(hub, "list_repo_tree", "acme/m")}
    hub.faults.add("size_lie", only="*.bin", delta=7)
    hub.faults.add("wrong_oid", only="*.bin")
    hub.faults.add("duplicate_paths", only="*.bin")
    tree = await ask(hub, "list_repo_tree", "acme/m")
    assert [entry.path for entry in tree] == ["config.json", "m.bin", "m.bin"]
    assert tree[0] == honest["config.json"]
    assert (tree[1].size, tree[1].lfs.size) == (5007, 5007)
    assert tree[1].lfs.sha256 == honest["m.bin"].lfs.sha256[::-1]


async def test_a_tree_that_is_not_json_or_too_long(hub: HubServer) -> None:
    hub.add_repo("acme/m", SMALL)
    hub.faults.add("malformed_json", path="*/tree/*")
    with pytest.raises(json.JSONDecodeError):
        await ask(hub, "list_repo_tree", "acme/m")
    hub.faults.add("oversized_json", path="*/tree/*", size=3 * MIB)
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{hub.url}/api/models/acme/m/tree/main") as response,
    ):
        assert response.content_length == 3 * MIB
        assert len(json.loads(await response.read())) == 2


async def test_pages_that_never_end_or_lead_elsewhere(hub: HubServer) -> None:
    hub.add_repo("acme/m", SMALL)
    rule = hub.faults.add("endless_pages", times=5)
    tree = await ask(hub, "list_repo_tree", "acme/m")
    assert (len(tree), rule.hits) == (12, 5)
    hub.faults.add("foreign_next_page")
    with pytest.raises(HfHubHTTPError):
        await ask(hub, "list_repo_tree", "acme/m")
    assert hub.counters.count(path="/elsewhere/*", status=404) == 1


async def test_a_delay_and_the_latency_setting_hold_answers_back(hub: HubServer, tmp_path: Path) -> None:
    hub.add_repo("acme/m", SMALL)
    loop = asyncio.get_running_loop()
    hub.faults.add("delay", on="api", path="*/tree/*", seconds=0.2)
    hub.settings.latency_s = 0.1
    began = loop.time()
    await ask(hub, "list_repo_tree", "acme/m")
    assert loop.time() - began >= 0.3
