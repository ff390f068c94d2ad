"""Messages between a member and a lead survive the wire, and none reaches a machine that means nothing to it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peers import lead_wire, piece_set
from peers.blob import Blob
from peers.ledger import Claim, Digests
from peers.ledger_wire import CLAIMS_PER_MESSAGE_MAX
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
from peers.wire import MESSAGE_BYTES_MAX, Unreadable

BLOB = Blob.of("0" * 64, 100 << 20)
KEY = LeaseKey("lead", 3, 7)
CLAIMS = tuple(
    Claim(piece, claimant, 1, Digests(bytes([piece]) * 16, bytes([piece]) * 20), piece == 2)
    for piece in range(5)
    for claimant in ("a", "b")
)
REPORT = Report(
    member="a",
    held=piece_set.to_bytes(0b1011, BLOB.pieces),
    stuck=piece_set.to_bytes(0b0100, BLOB.pieces),
    fetching=(Progress(KEY, Span(3, 8), 1234),),
    given_up=(KEY,),
    claims=CLAIMS,
    hub_retry_s=1.5,
    phase=SwarmPhase.HOT,
)
REQUEST = LeadRequest(
    9, "lead", REPORT, last_term=2, claims_fingerprint=(1 << 64) - 1, room=2, wait_s=5.0, unreachable=("x",)
)
ANSWER = LeadAnswer(
    sequence=9,
    lead="lead",
    term=3,
    ready=True,
    leases=(Lease(KEY, Span(0, 4), "a"),),
    claims=CLAIMS,
    version=10,
    synced=True,
    claims_fingerprint=5,
    hub_rate_bytes_per_s=1e6,
    hub_pause_s=0.0,
    report_every_s=1.0,
    fetchers=3,
    unfinished_hot=1,
    audited=False,
    swarm=(SwarmMember("b", SwarmPhase.SEALED, True),),
)


def test_messages_are_read_back_as_they_were() -> None:
    assert lead_wire.decode_request(lead_wire.encode_request(BLOB, REQUEST)) == (BLOB, REQUEST)
    assert lead_wire.decode_answer(lead_wire.encode_answer(ANSWER), BLOB) == ANSWER
    refusal = LeadRefusal(9, "b", "c")
    assert lead_wire.decode_answer(lead_wire.encode_answer(refusal), BLOB) == refusal
    assert lead_wire.decode_probe(lead_wire.encode_probe(BLOB)) == BLOB
    assert lead_wire.decode_report(lead_wire.encode_report(REPORT), BLOB) == REPORT
    assert lead_wire.decode_report(lead_wire.encode_report(None), BLOB) is None


def test_the_largest_request_fits_with_room() -> None:
    blob = Blob.of("0" * 64, 700 << 30)
    claims = tuple(
        Claim(piece, f"member-{piece}", 1, Digests(bytes(16), bytes(20)))
        for piece in range(CLAIMS_PER_MESSAGE_MAX)
    )
    held = piece_set.to_bytes(blob.all_pieces, blob.pieces)
    request = replace(REQUEST, report=replace(REPORT, held=held, stuck=held, claims=claims))
    body = lead_wire.encode_request(blob, request)
    assert len(body) < MESSAGE_BYTES_MAX / 10
    assert lead_wire.decode_request(body) == (blob, request)


@pytest.mark.parametrize(
    "report",
    [
        replace(REPORT, fetching=(Progress(KEY, Span(3, 101), 0),)),
        replace(REPORT, fetching=(Progress(KEY, Span(8, 3), 0),)),
        replace(REPORT, fetching=(Progress(KEY, Span(-1, 3), 0),)),
        replace(REPORT, fetching=(Progress(KEY, Span(0, 3), -1),)),
        replace(REPORT, held=bytes(14)),
        replace(REPORT, member="m" * 256),
        replace(REPORT, hub_retry_s=-1.0),
        replace(REPORT, hub_pause_s=float("inf")),
        replace(REPORT, hub_retry_s=float("nan")),
        replace(REPORT, given_up=(KEY,) * 5000),
        replace(REPORT, claims=(replace(CLAIMS[0], piece=100),)),
    ],
)
def test_a_report_with_a_value_that_means_nothing_is_refused(report: Report) -> None:
    with pytest.raises(Unreadable):
        lead_wire.decode_report(lead_wire.encode_report(report), BLOB)
    with pytest.raises(Unreadable):
        lead_wire.decode_request(lead_wire.encode_request(BLOB, replace(REQUEST, report=report)))


@pytest.mark.parametrize(
    "blob",
    [Blob("x/../y", 5, 1 << 20), Blob("", 5, 1 << 20), Blob("x", 1 << 60, 1 << 50)],
    ids=["path", "nameless", "too large"],
)
def test_a_blob_that_cannot_be_is_refused(blob: Blob) -> None:
    with pytest.raises(Unreadable):
        lead_wire.decode_probe(lead_wire.encode_probe(blob))


@given(st.data())
def test_a_changed_byte_gives_a_request_or_is_refused(data: st.DataObject) -> None:
    body = bytearray(lead_wire.encode_request(BLOB, REQUEST))
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        blob, request = lead_wire.decode_request(bytes(body))
    except Unreadable:
        return
    assert all(
        0 <= each.remaining.start <= each.remaining.stop <= blob.pieces for each in request.report.fetching
    )
    assert all(claim.is_sound(blob.pieces) for claim in request.report.claims)
