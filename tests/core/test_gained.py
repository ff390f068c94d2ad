"""What others got from the Hub: all of it counted, however late and in whatever lumps a ledger tells."""

from __future__ import annotations

from random import Random

import pytest

from distd.core.gained import LEARNT_S, Gained

MB = 1_000_000
RATE = 16 * MB
LOOK_S = 0.5


@pytest.mark.parametrize("seed", range(5))
def test_of_four_members_and_shards_in_turn_three_quarters_are_counted(seed: int) -> None:
    chance = Random(seed)
    gained, shards, shard = Gained(), 4, 160 * MB
    now, counted, told_at = 0.0, 0, 0.0
    for number in range(shards):
        began, told = now, 0
        whole = {f"shard{before}": shard // 4 for before in range(number)}
        while (got := min(shard, int(RATE * (now - began)))) < shard:
            if now - told_at >= chance.uniform(0.4, 0.8):  # claims wait for each other
                told, told_at = got * 3 // 4, now
            own = got // 4
            now += LOOK_S
            counted += gained.look({f"shard{number}": (shard - told - own, own)}, whole, RATE * 0.75, now)[1]
    counted += gained.look({}, {f"shard{number}": shard // 4 for number in range(shards)}, RATE, now)[1]
    assert counted == pytest.approx(shards * shard * 3 / 4, rel=0.005)


def test_what_a_ledger_knew_before_is_not_taken_for_what_is_got_now() -> None:
    gained = Gained()
    gained.look({"a": (100 * MB, 0)}, {}, RATE, 10.0)
    learning, moved = gained.look({"a": (20 * MB, 0)}, {}, RATE, 10.5)
    assert (learning, moved) == (True, RATE // 2)
    last = 10.5 + LEARNT_S
    assert gained.look({"a": (20 * MB, 0)}, {}, RATE, last) == (False, 0)
    assert gained.look({"a": (12 * MB, 3 * MB)}, {}, RATE, last + 0.5) == (False, 5 * MB)


def test_the_end_of_a_blob_counts_and_one_that_is_given_up_does_not() -> None:
    gained = Gained()
    gained.look({"a": (40 * MB, 0), "b": (40 * MB, 0)}, {}, RATE, 0.0)
    gained.look({"a": (10 * MB, 8 * MB), "b": (10 * MB, 8 * MB)}, {}, RATE, LEARNT_S + 1)
    assert gained.look({}, {"a": 11 * MB}, RATE, LEARNT_S + 2) == (False, 7 * MB)
    assert gained.look({}, {"a": 11 * MB}, RATE, LEARNT_S + 3) == (False, 0)


def test_bytes_that_this_node_seems_to_lose_are_not_somebody_elses() -> None:
    gained = Gained()
    gained.look({"a": (40 * MB, 8 * MB)}, {}, RATE, 0.0)
    assert gained.look({"a": (40 * MB, 0)}, {}, RATE, LEARNT_S + 1)[1] == 0
