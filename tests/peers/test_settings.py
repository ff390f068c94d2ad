"""Options and settings of the engine."""

from __future__ import annotations

import pytest

from peers.metainfo import Kind
from peers.settings import EngineOptions, session_settings


@pytest.mark.parametrize(
    "wrong", [{"encryption": "none"}, {"tag": "thirteen char"}, {"tag": "größe"}, {"connections_max": 0}]
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        EngineOptions("127.0.0.1", **wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_each_session_has_its_own_port_and_only_the_hot_one_skips_hash_checks() -> None:
    options = EngineOptions("10.0.0.7", hot_port=7072, sealed_port=7073)
    found = {kind: session_settings(options, kind) for kind in Kind}

    assert {kind: each["listen_interfaces"] for kind, each in found.items()} == {
        Kind.HOT: "10.0.0.7:7072",
        Kind.SEALED: "10.0.0.7:7073",
    }
    assert {kind: each["disable_hash_checks"] for kind, each in found.items()} == {
        Kind.HOT: True,
        Kind.SEALED: False,
    }


def test_an_ipv6_address_is_written_in_brackets() -> None:
    assert session_settings(EngineOptions("fd00::7"), Kind.HOT)["listen_interfaces"] == "[fd00::7]:0"


@pytest.mark.parametrize("kind", list(Kind))
def test_nothing_announces_or_discovers_members(kind: Kind) -> None:
    found = session_settings(EngineOptions("127.0.0.1"), kind)
    names = [
        "enable_dht",
        "enable_lsd",
        "enable_upnp",
        "enable_natpmp",
        "enable_incoming_utp",
        "enable_outgoing_utp",
    ]

    assert [found[name] for name in names] == [False] * 6


def test_tls_needs_a_certificate() -> None:
    with pytest.raises(ValueError, match="certificate"):
        EngineOptions("127.0.0.1", encryption="tls")
