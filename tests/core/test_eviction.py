from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from distd.core.eviction import (
    HOPELESS_S,
    Decision,
    Inventory,
    Snapshot,
    Stored,
    Upkeep,
    Wanted,
    decide,
    evictable_bytes,
    used_at,
)

ETAGS = [f"e{number}" for number in range(8)]


def stored(*sizes: int) -> dict[str, Stored]:
    return {ETAGS[index]: Stored(size, size) for index, size in enumerate(sizes)}


def snapshot(name: str, etags: Iterable[str], at: float, kept: str = "") -> Snapshot:
    return Snapshot((name, "c"), frozenset(etags), at, kept)


def names(decision: Decision) -> list[str]:
    return [each.key[0] for each in decision.snapshots]


def test_the_least_recently_used_goes_first_and_no_more_than_is_wanted() -> None:
    held = Inventory(
        stored(5, 5, 5), (snapshot("c", ["e2"], 3), snapshot("a", ["e0"], 1), snapshot("b", ["e1"], 2))
    )
    assert names(decide(held, Wanted(quota_bytes=6))) == ["a", "b"]
    assert names(decide(held, Wanted(disk_bytes=5))) == ["a"]
    assert decide(held, Wanted()).is_empty


def test_what_nothing_shows_goes_before_any_snapshot_and_begun_parts_next() -> None:
    held = Inventory(stored(5, 5), (snapshot("a", ["e0"], 1),), frozenset({"e1"}), {"p": 7})
    assert decide(held, Wanted(quota_bytes=5)).loose == ("e1",)
    decision = decide(held, Wanted(quota_bytes=12))
    assert (decision.loose, decision.parts, names(decision)) == (("e1",), ("p",), [])
    assert names(decide(held, Wanted(quota_bytes=13))) == ["a"]


def test_collecting_takes_what_nothing_shows_and_leaves_the_rest() -> None:
    held = Inventory(stored(5, 5), (snapshot("a", ["e0"], 1),), frozenset({"e1"}), {"p": 7})
    decision = decide(held, Wanted(), collect=True)
    assert (decision.loose, decision.parts, names(decision)) == (("e1",), (), [])
    assert decision.enough


def test_a_shared_blob_goes_with_the_last_snapshot_that_has_it() -> None:
    held = Inventory(stored(9, 1), (snapshot("old", ["e0", "e1"], 1), snapshot("new", ["e0"], 2, "pinned")))
    decision = decide(held, Wanted(quota_bytes=1))
    assert (names(decision), decision.blobs, decision.quota_bytes) == (["old"], {"e1"}, 1)
    assert not decide(held, Wanted(quota_bytes=2)).enough


def test_two_snapshots_of_the_same_blobs_go_together_or_not_at_all() -> None:
    twins = (snapshot("a", ["e0"], 1), snapshot("b", ["e0"], 2))
    held = Inventory(stored(9, 4), (*twins, snapshot("c", ["e1"], 3)))
    assert names(decide(held, Wanted(quota_bytes=9))) == ["a", "b"]
    lone = Inventory(stored(9, 4), (snapshot("a", ["e0"], 1), snapshot("b", ["e0"], 2, "open in a program")))
    assert decide(lone, Wanted(quota_bytes=1)).is_empty


def test_what_is_busy_stays_although_its_snapshot_goes() -> None:
    blobs = stored(5, 5) | {"e1": Stored(5, 5, busy=True)}
    decision = decide(Inventory(blobs, (snapshot("a", ["e0", "e1"], 1),)), Wanted(quota_bytes=5))
    assert (names(decision), decision.blobs) == (["a"], {"e0"})


def test_a_file_that_somebody_else_links_frees_quota_and_no_disk() -> None:
    held = Inventory(
        {"e0": Stored(5, 0), "e1": Stored(5, 5)}, (snapshot("a", ["e0"], 1), snapshot("b", ["e1"], 2))
    )
    assert names(decide(held, Wanted(quota_bytes=5))) == ["a"]
    assert names(decide(held, Wanted(disk_bytes=5))) == ["b"]


def test_reads_of_small_files_that_many_repos_share_count_for_none_of_them() -> None:
    users = {"licence": 3, "weights": 1}
    reads = {"licence": 50.0}
    assert used_at(frozenset({"licence", "weights"}), [10.0], reads, users) == 10.0
    assert used_at(frozenset({"licence"}), [10.0], reads, users) == 50.0
    assert used_at(frozenset({"licence", "weights"}), [], reads | {"weights": 20.0}, users) == 20.0


@st.composite
def inventories(draw: st.DrawFn) -> Inventory:
    sizes = st.integers(0, 9)
    blobs = {}
    for etag in ETAGS:
        size = draw(sizes)
        blobs[etag] = Stored(
            size, draw(st.sampled_from([size, size, 0])), draw(st.booleans()) and size % 3 == 0
        )
    count = draw(st.integers(0, 5))
    snapshots = tuple(
        snapshot(
            f"s{number}",
            draw(st.frozensets(st.sampled_from(ETAGS), min_size=1, max_size=4)),
            draw(st.integers(0, 3)),
            draw(st.sampled_from(["", "", "", "pinned"])),
        )
        for number in range(count)
    )
    shown = {etag for each in snapshots for etag in each.etags}
    parts = draw(st.dictionaries(st.sampled_from(["p0", "p1"]), sizes))
    return Inventory(blobs, snapshots, frozenset(set(ETAGS[:3]) - shown), parts)


def freed(held: Inventory, decision: Decision, without: Snapshot | None = None) -> tuple[int, int]:
    """Counted anew, by what is left."""
    left = {e for s in held.snapshots if s not in decision.snapshots or s == without for e in s.etags}
    gone = {e for s in decision.snapshots for e in s.etags} - left | set(decision.loose)
    going = [held.blobs[etag] for etag in gone if not held.blobs[etag].busy]
    parts = sum((held.parts or {})[etag] for etag in decision.parts)
    return sum(b.size_bytes for b in going) + parts, sum(b.frees_bytes for b in going) + parts


@given(inventories(), st.integers(0, 40), st.integers(0, 40), st.booleans())
def test_what_goes_is_enough_and_no_more(
    held: Inventory, quota_bytes: int, disk_bytes: int, collect: bool
) -> None:
    wanted = Wanted(quota_bytes, disk_bytes)
    decision = decide(held, wanted, collect=collect)
    assert (decision.quota_bytes, decision.disk_bytes) == freed(held, decision)
    assert not any(each.kept for each in decision.snapshots)
    assert not any(held.blobs[etag].busy for etag in decision.blobs)
    kept = {etag for each in held.snapshots if each not in decision.snapshots for etag in each.etags}
    assert not decision.blobs & kept, "a blob of a snapshot that stays, stays"
    if decision.enough:
        assert decision.quota_bytes >= quota_bytes
        assert decision.disk_bytes >= disk_bytes
        for victim in decision.snapshots:
            without = freed(held, decision, victim)
            assert without[0] < quota_bytes or without[1] < disk_bytes, "it went for nothing"
    else:
        everything = decide(held, Wanted(1 << 40, 1 << 40), collect=collect)
        assert set(decision.snapshots) == set(everything.snapshots)
        assert everything.quota_bytes < quota_bytes or everything.disk_bytes < disk_bytes
    assert evictable_bytes(held) >= decision.disk_bytes


@given(st.lists(st.integers(0, 20), min_size=1, max_size=8, unique=True), st.integers(0, 8))
def test_of_equal_snapshots_the_oldest_go(times: list[int], count: int) -> None:
    blobs = stored(*[1] * len(times))
    held = Inventory(blobs, tuple(snapshot(f"s{at:02}", [ETAGS[i]], at) for i, at in enumerate(times)))
    decision = decide(held, Wanted(quota_bytes=count))
    assert names(decision) == [f"s{at:02}" for at in sorted(times)][:count]
    assert decision.enough == (count <= len(times))


def test_room_is_made_as_soon_as_it_is_wanted_and_as_long_as_that_helps() -> None:
    upkeep, enough = Upkeep(), decide(Inventory({}, ()), Wanted())
    assert not upkeep.is_due(Wanted(), 0.0)
    for now in (1.0, 2.0, 3.0):
        assert upkeep.is_due(Wanted(disk_bytes=1), now)
        assert upkeep.may_carry_out(enough, now)


def test_nothing_goes_where_all_would_not_be_enough_and_it_is_looked_at_again_later() -> None:
    held = Inventory(stored(5), (snapshot("a", ["e0"], 1),))
    upkeep, wanted = Upkeep(), Wanted(disk_bytes=1 << 50)
    assert upkeep.is_due(wanted, 100.0)
    assert not upkeep.may_carry_out(decide(held, wanted), 100.0)
    assert upkeep.is_hopeless
    assert not upkeep.is_due(wanted, 100.0 + HOPELESS_S - 1)
    assert upkeep.is_due(wanted, 100.0 + HOPELESS_S)
    upkeep.is_due(Wanted(), 100.0 + HOPELESS_S)  # somebody made room
    assert not upkeep.is_hopeless
    assert upkeep.is_due(wanted, 101.0 + HOPELESS_S)
