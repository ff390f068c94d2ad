"""The way to the Hub, with each of its steps broken in turn."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from distd.api.schema import Finding
from distd.config import load_config
from distd.diagnosis.network import hub_findings
from distd.hub.resolver import Resolver

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@asynccontextmanager
async def hub_at(ahead_s: float | None, status: str = "401 Unauthorized") -> AsyncIterator[str]:
    """A Hub that knows no token, whose clock is `ahead_s` ahead of ours; None: it does not tell."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        date = ""
        if ahead_s is not None:
            date = f"Date: {format_datetime(datetime.now(UTC) + timedelta(seconds=ahead_s), usegmt=True)}\r\n"
        writer.write(
            f"HTTP/1.1 {status}\r\n{date}Content-Length: 2\r\nConnection: close\r\n\r\n{{}}".encode()
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def found(endpoint: str, token: str | None = None, **settings: str) -> dict[str, Finding]:
    words = [
        f"hub.endpoint={endpoint}",
        *(f"{key.replace('__', '.')}={value}" for key, value in settings.items()),
    ]
    resolver = Resolver(endpoint, token=lambda: token, user_agent="test", give_up_after_s=1)
    try:
        findings = await hub_findings(load_config(settings=words, environment={}), resolver)
    finally:
        await resolver.close()
    assert all(bool(each.fix) == (each.outcome != "ok") for each in findings)
    return {each.name: each for each in findings}


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_all_is_well() -> None:
    async with hub_at(0) as endpoint:
        findings = await found(endpoint)
    assert {name: each.outcome for name, each in findings.items()} == {
        "dns": "ok",
        "hub": "ok",
        "clock": "ok",
    }


@pytest.mark.parametrize(
    ("ahead_s", "says"), [(120.0, "s behind the Hub's"), (-120.0, "s ahead of the Hub's")]
)
async def test_a_clock_that_differs_from_the_hubs_is_told(ahead_s: float, says: str) -> None:
    async with hub_at(ahead_s) as endpoint:
        clock = (await found(endpoint))["clock"]
    assert clock.outcome == "warn"
    assert says in clock.detail
    assert abs(int(clock.detail.split(" s ")[0].rpartition(" ")[2]) - 120) <= 2


async def test_a_hub_without_a_date_says_nothing_of_the_clock() -> None:
    async with hub_at(None) as endpoint:
        assert "did not tell" in (await found(endpoint))["clock"].detail


async def test_a_bad_token_is_told_with_where_it_belongs() -> None:
    async with hub_at(0) as endpoint:
        hub = (await found(endpoint, "hf_wrong"))["hub"]
    assert hub.outcome == "fail"
    assert "/etc/distd/credentials/hf-token" in hub.fix


async def test_a_hub_that_is_away_is_told() -> None:
    hub = (await found(f"http://127.0.0.1:{closed_port()}"))["hub"]
    assert hub.outcome == "fail"
    assert "refused" in hub.detail.lower()
    assert "firewall" in hub.fix


async def test_a_proxy_that_is_away_is_told_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://joe:pa55word@127.0.0.1:{closed_port()}")
    findings = await found("http://hub.example")
    assert findings["proxy"].outcome == "fail"
    assert "https_proxy" in findings["proxy"].fix
    assert "hub" not in findings  # nothing to say beyond the proxy
    assert not any("pa55word" in each.detail for each in findings.values())


async def test_a_proxy_of_a_kind_that_does_not_work_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1080")
    assert "socks5" in (await found("http://hub.example"))["proxy"].detail


async def test_a_node_that_may_not_fetch_asks_nobody() -> None:
    assert list(await found(f"http://127.0.0.1:{closed_port()}", hub__fetch="false")) == ["hub"]


def test_a_name_without_an_address_is_told() -> None:
    """Where there is no network at all, so that nobody is asked."""
    script = (
        "import asyncio; from tests.diagnosis.test_network import found;"
        "f = asyncio.run(found('http://hub.example')); print({n: (e.outcome, 'resolv.conf' in e.fix) for n, e in f.items()})"
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "{'dns': ('fail', True)}"


Check = Callable[[], Awaitable[list[Finding]]]


async def test_a_check_that_breaks_does_not_end_the_others(tmp_path: object) -> None:
    from distd.diagnosis.examination import Examination

    async def breaks() -> list[Finding]:
        raise ValueError("seven")

    async with hub_at(0) as endpoint:
        resolver = Resolver(endpoint, token=lambda: None, user_agent="test")
        config = load_config(
            settings=[f"hub.endpoint={endpoint}", f"node.state_dir={tmp_path}"], environment={}
        )
        checks: list[Check] = [breaks]
        findings = {each.name: each for each in await Examination(config, resolver, checks).findings()}
        await resolver.close()
    assert "ValueError('seven')" in findings["self-check"].detail
    assert findings["hub"].outcome == "ok"
