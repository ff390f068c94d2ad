from __future__ import annotations

from collections import Counter

from peers import rendezvous

MEMBERS = [f"m{number}" for number in range(10)]


def test_everybody_computes_the_same_order_whatever_order_they_see() -> None:
    assert rendezvous.order("blob", MEMBERS) == rendezvous.order("blob", reversed(MEMBERS))


def test_a_leaver_moves_only_what_it_was_first_for() -> None:
    blobs = [f"blob{number}" for number in range(200)]
    left = MEMBERS[1:]
    moved = [b for b in blobs if rendezvous.choose(b, MEMBERS) != rendezvous.choose(b, left)]
    assert all(rendezvous.choose(blob, MEMBERS) == MEMBERS[0] for blob in moved)


def test_blobs_spread_over_members() -> None:
    firsts = Counter(rendezvous.choose(f"blob{number}", MEMBERS) for number in range(1000))
    assert len(firsts) == 10
    assert max(firsts.values()) < 160


def test_the_first_of_the_order_is_chosen() -> None:
    assert rendezvous.choose("blob", MEMBERS) == rendezvous.order("blob", MEMBERS)[0]
    assert rendezvous.choose("blob", []) is None


def test_weights_are_part_of_the_wire_format() -> None:
    assert rendezvous.weight("blob", "m0") == int.from_bytes(bytes.fromhex(WEIGHT_OF_BLOB_AND_M0), "big")


WEIGHT_OF_BLOB_AND_M0 = "b941aa6766974f57"
