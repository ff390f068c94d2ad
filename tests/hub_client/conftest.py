"""A running Hub with one repo, and clients for it that are closed when the test ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from distd.core.manifest import Manifest, ManifestFile
from distd.core.refs import parse_ref
from distd.hub.fetcher import Fetcher, RemoteFile
from distd.hub.resolver import Resolver
from tests.hub import HubServer
from tests.hub_client.helpers import SMALL, TOKEN, WEIGHTS, WEIGHTS_BYTES

MakeResolver = Callable[..., Resolver]
MakeFetcher = Callable[..., Fetcher]


@pytest.fixture(autouse=True)
def _nothing_of_this_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="session")
def weights() -> bytes:
    return bytes(range(251)) * (WEIGHTS_BYTES // 251) + bytes(WEIGHTS_BYTES % 251)


@pytest.fixture
async def hub(weights: bytes, tmp_path: Path) -> AsyncIterator[HubServer]:
    path = tmp_path / "weights"
    path.write_bytes(weights)
    async with HubServer() as server:
        server.add_repo(
            "acme/tiny", {WEIGHTS: path, SMALL: b'{"a": 1}\n', "empty.txt": b"", "a b/ü%#?.txt": b"x" * 100}
        )
        server.add_token(TOKEN, "bob")
        yield server


@pytest.fixture
async def make_resolver(hub: HubServer) -> AsyncIterator[MakeResolver]:
    made: list[Resolver] = []

    def make(
        token: str | None = TOKEN,
        *,
        endpoint: str = "",
        ca_file: str | None = None,
        give_up_after_s: float = 2,
    ) -> Resolver:
        resolver = Resolver(
            endpoint or hub.url,
            token=lambda: token,
            user_agent="distd/test",
            ca_file=ca_file,
            give_up_after_s=give_up_after_s,
        )
        made.append(resolver)
        return resolver

    yield make
    for resolver in made:
        await resolver.close()


@pytest.fixture
async def make_fetcher(hub: HubServer) -> AsyncIterator[MakeFetcher]:
    made: list[Fetcher] = []

    def make(token: str | None = TOKEN, *, endpoint: str = "", **options: object) -> Fetcher:
        fetcher = Fetcher(
            endpoint or hub.url,
            token=lambda: token,
            user_agent="distd/test",
            connections=16,
            **options,  # type: ignore[arg-type]  # the test names them rightly or fails
        )
        made.append(fetcher)
        return fetcher

    yield make
    for fetcher in made:
        await fetcher.close()


@pytest.fixture
async def fetcher(make_fetcher: MakeFetcher) -> Fetcher:
    fetcher = make_fetcher()
    await fetcher.open()
    return fetcher


@pytest.fixture
def manifest(hub: HubServer) -> Manifest:
    """What the Hub's first repo really holds, without asking a resolver."""
    commit = hub.repo("acme/tiny").find("main")
    assert commit is not None
    files = tuple(ManifestFile(f.path, f.size_bytes, f.etag, f.oid) for f in commit.files.values())
    return Manifest(parse_ref("acme/tiny").repo, commit.sha, files)


@pytest.fixture
def remote(manifest: Manifest) -> RemoteFile:
    """The LFS file."""
    return RemoteFile(manifest.repo, manifest.commit, manifest.by_path[WEIGHTS])


@pytest.fixture
def small(manifest: Manifest) -> RemoteFile:
    """A git file, which the Hub serves itself behind a redirect of its own."""
    return RemoteFile(manifest.repo, manifest.commit, manifest.by_path[SMALL])
