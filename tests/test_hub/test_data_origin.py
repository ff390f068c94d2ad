"""The data origin: signed URLs that expire, ranges, caps, and leaks noticed."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import aiohttp
import pytest

from tests.hub import HubServer, digest_file, make_certificate, server_context, write_random
from tests.hub.wire import UnsatisfiableRange, parse_range

MIB = 1024 * 1024
SIZE = 3 * MIB + 17


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "m" / "model.safetensors"
    write_random(path, SIZE, 1)
    return path


async def signed_url(hub: HubServer, session: aiohttp.ClientSession, path: str = "model.safetensors") -> str:
    url = f"{hub.url}/acme/m/resolve/main/{path}"
    async with session.head(url, allow_redirects=False) as response:
        assert response.status == 302
        return response.headers["Location"]


async def status(session: aiohttp.ClientSession, url: str) -> int:
    async with session.head(url) as response:
        return response.status


async def test_an_lfs_file_is_announced_by_the_hub_and_served_elsewhere(
    hub: HubServer, weights: Path
) -> None:
    repo = hub.add_repo("acme/m", weights.parent)
    async with aiohttp.ClientSession() as session:
        url = f"{hub.url}/acme/m/resolve/main/model.safetensors"
        async with session.head(url, allow_redirects=False) as response:
            sha256 = digest_file(weights).sha256
            assert response.headers["X-Linked-Etag"] == f'"{sha256}"'
            assert response.headers["X-Linked-Size"] == str(SIZE)
            assert response.headers["X-Repo-Commit"] == repo.head
            assert "X-Xet-Hash" not in response.headers
            assert response.headers["Location"].startswith(hub.data_url + "/")
        async with session.get(response.headers["Location"]) as response:
            assert (await response.read() == weights.read_bytes()) is True
            assert sha256 not in response.headers["ETag"]
            assert response.headers["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize(
    ("asked", "status", "start", "count"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=100-199", 206, 100, 100),
        (f"bytes={SIZE - 5}-", 206, SIZE - 5, 5),
        (f"bytes={MIB}-{10 * MIB}", 206, MIB, SIZE - MIB),
        ("bytes=-7", 206, SIZE - 7, 7),
        ("bytes=0-1,5-6", 200, 0, SIZE),
        (None, 200, 0, SIZE),
    ],
)
async def test_ranges(
    hub: HubServer, weights: Path, asked: str | None, status: int, start: int, count: int
) -> None:
    hub.add_repo("acme/m", weights.parent)
    async with aiohttp.ClientSession() as session:
        headers = {"Range": asked} if asked else {}
        async with session.get(await signed_url(hub, session), headers=headers) as response:
            assert response.status == status
            assert await response.read() == weights.read_bytes()[start : start + count]
            if status == 206:
                assert response.headers["Content-Range"] == f"bytes {start}-{start + count - 1}/{SIZE}"
    assert hub.counters.body_bytes("model.safetensors") == count
    assert hub.counters.find("body")[-1].range == asked


async def test_a_range_beyond_the_end_is_416(hub: HubServer, weights: Path) -> None:
    hub.add_repo("acme/m", weights.parent)
    async with aiohttp.ClientSession() as session:
        headers = {"Range": f"bytes={SIZE}-"}
        async with session.get(await signed_url(hub, session), headers=headers) as response:
            assert response.status == 416
            assert response.headers["Content-Range"] == f"bytes */{SIZE}"
    assert hub.counters.body_bytes() == 0


def test_range_headers_that_mean_nothing_ask_for_the_whole() -> None:
    for header in (None, "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "lines=0-1", "bytes=0-1, 3-4"):
        assert parse_range(header, 100) is None, header
    for header in ("bytes=100-", "bytes=-0", "bytes=5-4"):
        with pytest.raises(UnsatisfiableRange):
            parse_range(header, 100)


async def test_a_signed_url_expires_and_cannot_be_forged(weights: Path) -> None:
    async with HubServer(url_life_s=60) as hub, aiohttp.ClientSession() as session:
        hub.add_repo("acme/m", weights.parent)
        url = await signed_url(hub, session)
        expires = int(url.partition("Expires=")[2].partition("&")[0])
        for forged in (
            url.replace(f"Expires={expires}", f"Expires={expires + 1}"),
            url.replace("model.safetensors", "other.safetensors"),
            url.partition("&Signature=")[0],
        ):
            assert await status(session, forged) == 403, forged
        assert await status(session, url) == 200
        hub.advance(58)
        assert await status(session, url) == 200
        hub.advance(2)
        assert await status(session, url) == 403
        assert await status(session, await signed_url(hub, session)) == 200


async def test_a_token_on_the_data_origin_is_a_leak(hub: HubServer, weights: Path) -> None:
    hub.add_repo("acme/m", weights.parent)
    async with aiohttp.ClientSession() as session:
        url = await signed_url(hub, session)
        async with session.get(url):
            assert hub.counters.token_leaks == 0
        async with session.get(url, headers={"Authorization": "Bearer hf_x"}):
            pass
        assert hub.counters.token_leaks == 1
    assert [r.authenticated for r in hub.counters.find("body")] == [False, True]


async def test_the_total_rate_is_kept_over_several_connections(hub: HubServer, weights: Path) -> None:
    hub.add_repo("acme/m", weights.parent)
    hub.settings.rate_bytes_per_s = 12 * MIB
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession() as session:
        url = await signed_url(hub, session)

        async def fetch() -> int:
            async with session.get(url) as response:
                return len(await response.read())

        began = loop.time()
        assert list(await asyncio.gather(fetch(), fetch())) == [SIZE, SIZE]
        # The last piece goes out without waiting for its own time, and a loaded machine only makes it slower.
        assert loop.time() - began >= 0.8 * 2 * SIZE / (12 * MIB)


async def test_a_client_that_leaves_is_counted_for_what_it_was_sent(hub: HubServer, weights: Path) -> None:
    hub.add_repo("acme/m", weights.parent)
    hub.settings.rate_bytes_per_s = MIB
    async with aiohttp.ClientSession() as session:
        response = await session.get(await signed_url(hub, session))
        await response.content.readexactly(1000)
        response.close()
    async with asyncio.timeout(10):
        await hub.counters.idle()
    assert 1000 <= hub.counters.body_bytes() < SIZE


async def test_a_content_range_may_lie_about_right_bytes(hub: HubServer, weights: Path) -> None:
    hub.add_repo("acme/m", weights.parent)
    hub.faults.add("wrong_content_range", on="body", delta=3)
    async with aiohttp.ClientSession() as session:
        headers = {"Range": "bytes=10-19"}
        async with session.get(await signed_url(hub, session), headers=headers) as response:
            assert response.headers["Content-Range"] == f"bytes 13-22/{SIZE}"
            assert await response.read() == weights.read_bytes()[10:20]


async def test_small_files_move_on_to_the_cache_route_of_the_same_origin(hub: HubServer) -> None:
    repo = hub.add_repo("acme/m", {"a b/ü%.txt": b"awkward"})
    async with aiohttp.ClientSession() as session:
        url = f"{hub.url}/acme/m/resolve/main/a%20b/%C3%BC%25.txt"
        async with session.get(url, allow_redirects=False) as response:
            assert response.status == 307
            location = response.headers["Location"]
            assert location.startswith(f"/api/resolve-cache/models/acme/m/{repo.head}/a%20b/")
        async with session.get(url, headers={"Range": "bytes=2-3"}) as response:
            assert response.status == 206
            assert await response.read() == b"kw"
    assert hub.counters.body_bytes("a b/*") == 2


async def test_raw_answers_the_pointer_of_an_lfs_file(hub: HubServer, weights: Path) -> None:
    hub.add_repo("acme/m", weights.parent)
    async with aiohttp.ClientSession() as session:
        text = await (await session.get(f"{hub.url}/acme/m/raw/main/model.safetensors")).text()
    assert text.splitlines()[1:] == [f"oid sha256:{digest_file(weights).sha256}", f"size {SIZE}"]


async def test_both_origins_speak_tls(weights: Path, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    trust = server_context(certificate, key)
    async with HubServer(tls=trust) as hub:
        hub.add_repo("acme/m", weights.parent)
        client = ssl.create_default_context(cafile=str(certificate))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client)) as session:
            url = await signed_url(hub, session)
            assert url.startswith("https://")
            async with session.get(url) as response:
                assert (await response.read() == weights.read_bytes()) is True
        assert hub.counters.body_bytes() == SIZE
