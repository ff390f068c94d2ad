from __future__ import annotations

import pytest
from hypothesis import given

from peers.ledger import Claim
from peers.ledger_wire import ClaimsUnreadable, PackedClaims, pack, unpack
from tests.peers_core.builders import PIECES, claim
from tests.peers_core.test_ledger import claims


@given(claims)
def test_packing_brings_claims_back_in_order(some: list[Claim]) -> None:
    assert unpack(pack(some), PIECES) == tuple(some)


def test_a_claim_takes_43_bytes() -> None:
    assert len(pack([claim(0, "a"), claim(1, "a")]).rows) == 86


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (PackedClaims(("a",), b"short"), "cut short"),
        (PackedClaims((), pack([claim(0, "a")]).rows), "not in the table"),
        (pack([claim(PIECES, "a")]), "not a claim about this blob"),
        (pack([claim(0, "a", fetch=0)]), "not a claim about this blob"),
    ],
)
def test_rows_nobody_writes_are_refused_with_their_place(packed: PackedClaims, reason: str) -> None:
    with pytest.raises(ClaimsUnreadable) as refused:
        unpack(packed, PIECES)
    assert reason in str(refused.value)
    assert (refused.value.at_row, refused.value.retryable) == (0, False)


def test_more_rows_than_allowed_are_refused_before_reading() -> None:
    with pytest.raises(ClaimsUnreadable):
        unpack(pack([claim(0, "a"), claim(1, "a")]), PIECES, limit=1)
