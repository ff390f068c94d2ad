"""Private certificate authorities and proxies from the environment, for metadata and data alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from distd.core.faults import FaultKind
from distd.core.manifest import Manifest
from distd.core.refs import parse_ref
from distd.errors import HubUnreachable, InvalidRequest, RepoNotFound
from distd.hub.fetcher import RemoteFile
from distd.hub.network import proxy_for, tls_context
from tests.hub import HubServer, make_certificate, server_context
from tests.hub_client.conftest import MakeFetcher, MakeResolver
from tests.hub_client.helpers import WEIGHTS, eventually, failed, fetched

TINY = parse_ref("acme/tiny")


@dataclass
class Proxy:
    """Forwards HTTP by absolute URL and TLS by CONNECT; remembers the first line of each connection."""

    url: str = ""
    lines: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        line, _, rest = head.partition(b"\r\n")
        self.lines.append(line.decode())
        method, target, version = line.decode().split(" ")
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        assert parts.hostname is not None
        up_reader, up_writer = await asyncio.open_connection(parts.hostname, parts.port)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            # One request a connection, because the next one on it could be for another host.
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            up_writer.write(f"{method} {path} {version}\r\nConnection: close\r\n".encode() + rest)
        await asyncio.gather(self._pump(reader, up_writer), self._pump(up_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while part := await reader.read(65536):
                writer.write(part)
                await writer.drain()
        except ConnectionError:
            pass  # the other side left, which is how a proxied connection ends
        finally:
            writer.close()


@asynccontextmanager
async def running_proxy() -> AsyncIterator[Proxy]:
    proxy = Proxy()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()


def remote_of(manifest: Manifest) -> RemoteFile:
    return RemoteFile(manifest.repo, manifest.commit, manifest.by_path[WEIGHTS])


@asynccontextmanager
async def tls_hub(directory: Path) -> AsyncIterator[tuple[HubServer, str]]:
    certificate, key = make_certificate(directory)
    async with HubServer(tls=server_context(certificate, key)) as hub:
        hub.add_repo("acme/tiny", {WEIGHTS: b"w" * 5000, "a.json": b"{}"})
        yield hub, str(certificate)


async def test_a_private_authority_is_trusted_when_named_and_only_then(
    tmp_path: Path, make_resolver: MakeResolver, make_fetcher: MakeFetcher
) -> None:
    async with tls_hub(tmp_path) as (hub, ca_file):
        manifest = await make_resolver(None, endpoint=hub.url, ca_file=ca_file).resolve(TINY)
        remote = remote_of(manifest)
        async with make_fetcher(None, endpoint=hub.url, ca_file=ca_file) as fetcher:
            assert await fetched(fetcher, remote, 10, 100) == b"w" * 90
        with pytest.raises(HubUnreachable, match=r"hub\.ca_file"):
            await make_resolver(None, endpoint=hub.url, give_up_after_s=60).resolve(TINY)
        async with make_fetcher(None, endpoint=hub.url) as fetcher:
            fault = await failed(fetcher, remote)
        assert fault.kind is FaultKind.UNREACHABLE
        assert "hub.ca_file" in fault.detail


async def test_a_bare_401_means_the_same_over_tls(tmp_path: Path, make_resolver: MakeResolver) -> None:
    async with tls_hub(tmp_path) as (hub, ca_file):
        with pytest.raises(RepoNotFound):
            await make_resolver(None, endpoint=hub.url, ca_file=ca_file).resolve(parse_ref("acme/nothing"))


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_an_unusable_ca_file_is_named(
    tmp_path: Path, make_resolver: MakeResolver, make_fetcher: MakeFetcher, content: str | None
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidRequest, match=r"ca\.pem"):
        tls_context(str(path))
    with pytest.raises(InvalidRequest, match=r"ca\.pem"):
        await make_resolver(ca_file=str(path)).resolve(TINY)
    with pytest.raises(InvalidRequest, match=r"ca\.pem"):
        await make_fetcher(ca_file=str(path)).open()


async def test_a_proxy_of_the_environment_carries_http(
    hub: HubServer,
    make_resolver: MakeResolver,
    make_fetcher: MakeFetcher,
    weights: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running_proxy() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        manifest = await make_resolver().resolve(TINY)
        async with make_fetcher() as fetcher:
            assert await fetched(fetcher, remote_of(manifest), 5, 50) == weights[5:50]
    assert any(hub.url in line and "/api/" in line for line in proxy.lines)
    assert any(hub.url in line and "/resolve/" in line for line in proxy.lines)
    assert any(hub.data_url in line for line in proxy.lines)
    assert hub.counters.token_leaks == 0


async def test_a_proxy_of_the_environment_carries_tls(
    tmp_path: Path, make_resolver: MakeResolver, make_fetcher: MakeFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tls_hub(tmp_path) as (hub, ca_file), running_proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        manifest = await make_resolver(None, endpoint=hub.url, ca_file=ca_file).resolve(TINY)
        async with make_fetcher(None, endpoint=hub.url, ca_file=ca_file) as fetcher:
            assert await fetched(fetcher, remote_of(manifest), 5, 50) == b"w" * 45
        assert {line.split(" ")[0] for line in proxy.lines} == {"CONNECT"}
        assert {line.split(" ")[1] for line in proxy.lines} == {
            urlsplit(hub.url).netloc,
            urlsplit(hub.data_url).netloc,
        }


async def test_no_proxy_is_honoured(
    hub: HubServer, make_resolver: MakeResolver, make_fetcher: MakeFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_proxy() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        manifest = await make_resolver().resolve(TINY)
        async with make_fetcher() as fetcher:
            await fetched(fetcher, remote_of(manifest), 5, 50)
    assert proxy.lines == []


async def test_a_proxy_that_is_away_makes_the_hub_unreachable(
    hub: HubServer,
    make_resolver: MakeResolver,
    make_fetcher: MakeFetcher,
    remote: RemoteFile,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running_proxy() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
    with pytest.raises(HubUnreachable):
        await make_resolver(give_up_after_s=0.5).resolve(TINY)
    async with make_fetcher() as fetcher:
        assert (await failed(fetcher, remote)).kind is FaultKind.UNREACHABLE
    assert hub.counters.requests.total() == 0


def test_which_proxy_is_for_which_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "proxy:3128")
    monkeypatch.setenv("no_proxy", ".internal,10.0.0.1")
    assert proxy_for("https://hub.example/x") == "http://proxy:3128"
    assert proxy_for("http://hub.example/x") is None
    assert proxy_for("https://hub.internal/x") is None
    assert proxy_for("https://10.0.0.1:8443/x") is None
    monkeypatch.setenv("all_proxy", "socks5://proxy:1080")
    with pytest.raises(InvalidRequest, match="socks5"):
        proxy_for("http://hub.example/x")


async def test_credentials_of_netrc_go_nowhere(
    tmp_path: Path,
    hub: HubServer,
    make_resolver: MakeResolver,
    make_fetcher: MakeFetcher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    manifest = await make_resolver(None).resolve(TINY)
    async with make_fetcher(None) as fetcher:
        await fetched(fetcher, remote_of(manifest))
    await eventually(lambda: hub.counters.streams == 0)
    assert {request.authenticated for request in hub.counters.last} == {False}
