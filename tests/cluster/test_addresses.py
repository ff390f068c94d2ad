"""host:port is read as it is meant, and nothing else becomes part of a URL."""

from __future__ import annotations

import pytest

from peers import addresses
from peers.resolving import outward, resolve


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:7071", "127.0.0.1", 7071),
        ("[::1]:0", "::1", 0),
        ("seeds.distd.svc.cluster.local:7071", "seeds.distd.svc.cluster.local", 7071),
        ("node_1:1", "node_1", 1),
    ],
)
def test_addresses_are_split_and_joined(text: str, host: str, port: int) -> None:
    assert addresses.split(text) == (host, port)
    assert addresses.join(host, port) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", ":7071", "host", "host:", "host:x", "host:65536", "host:٣", "-a:1"),
        *("::1:7071", "[::1]", "[host]:1", "[fe80::1%eth0]:1"),
        *("a/b:1", "a@b:1", "a?b:1", "a#b:1", "a b:1"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        addresses.split(text)


def test_loopback_and_wildcard_are_told_apart() -> None:
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
        assert addresses.is_loopback(host)
    for host in ("0.0.0.0", "::", "10.0.0.1", "node7", "localhost.example"):
        assert not addresses.is_loopback(host)
    assert addresses.is_wildcard("0.0.0.0")
    assert addresses.is_wildcard("::")
    assert not addresses.is_wildcard("127.0.0.1")


async def test_a_name_is_resolved_and_an_unknown_one_has_no_address() -> None:
    assert "127.0.0.1" in await resolve("localhost")
    assert await resolve("nowhere.invalid") == []


def test_the_outward_address_is_one_address_or_none() -> None:
    found = outward("0.0.0.0")
    assert found is None or addresses.is_numeric(found)
