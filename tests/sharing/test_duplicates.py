from __future__ import annotations

from distd.core.tally import Tally
from distd.sharing.duplicates import Duplicates
from peers.ledger import Ledger
from tests.peers_core.builders import BLOB, MIB, PIECES, claim


def test_repeated_fetches_are_counted_once_as_the_ledger_tells_of_them() -> None:
    tally, ledger = Tally(), Ledger(PIECES, [claim(0, "other"), claim(0, "self")])
    duplicates = Duplicates(BLOB, "self", ledger, tally)
    duplicates.look()
    assert tally.hub_duplicate_bytes == 0, "an earlier run counted it"
    ledger.merge([claim(1, "self"), claim(2, "self")])
    duplicates.look()
    assert tally.hub_duplicate_bytes == 0
    ledger.merge([claim(1, "other"), claim(2, "zoe")])
    duplicates.look()
    duplicates.look()
    assert tally.hub_duplicate_bytes == MIB, "the second of two by name counts it"
    ledger.merge([claim(2, "self", fetch=2)])
    duplicates.look()
    assert tally.hub_duplicate_bytes == 2 * MIB
