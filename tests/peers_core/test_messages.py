"""What members tell each other survives an encoder that knows nothing but types."""

from __future__ import annotations

import msgspec
import pytest

from peers.ledger_wire import PackedClaims, pack
from peers.membership import MemberEntry, MemberFacts, MemberState
from peers.messages import (
    LeadAnswer,
    LeadRefusal,
    LeadRequest,
    Lease,
    LeaseKey,
    Progress,
    Report,
    SwarmMember,
    SwarmPhase,
)
from peers.piece_set import Span
from tests.peers_core.builders import answer, claim, report, request

KEY = LeaseKey("lead", 3, 1)
FULL_REPORT = report(
    "a",
    0,
    3,
    fetching=(Progress(KEY, Span(1, 2), 10),),
    given_up=(KEY,),
    claims=(claim(0, "a"), claim(1, "b", sealed=True)),
    phase=SwarmPhase.HOT,
)
TOLD = [
    (FULL_REPORT, Report),
    (request(FULL_REPORT, "lead", unreachable=("x",), room=2), LeadRequest),
    (
        answer(
            leases=(Lease(KEY, Span(0, 4), "a"),),
            claims=(claim(0, "a"),),
            swarm=(SwarmMember("b", SwarmPhase.SEALED, True),),
        ),
        LeadAnswer,
    ),
    (LeadRefusal(1, "a", "b"), LeadRefusal),
    (MemberEntry("a", 5, MemberState.SUSPECT, MemberFacts("a:1", "z", hub_busy=True)), MemberEntry),
    (pack([claim(0, "a")]), PackedClaims),
]


@pytest.mark.parametrize(("told", "kind"), TOLD, ids=lambda value: getattr(value, "__name__", ""))
def test_a_message_comes_back_equal(told: object, kind: type[object]) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(told), type=kind) == told
    assert msgspec.json.decode(msgspec.json.encode(told), type=kind) == told
