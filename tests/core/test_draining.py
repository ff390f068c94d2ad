"""What a node has left to do before it may go."""

from __future__ import annotations

from distd.core.draining import ALONE_S, TARGETS_TRIED_MAX, Drain, HandOver, Snapshot


def snapshot(name: str, size_bytes: int = 100) -> Snapshot:
    return Snapshot("model", f"acme/{name}", "c" * 40, size_bytes)


def test_a_pull_is_paused_when_nobody_else_has_used_it_for_a_while() -> None:
    drain = Drain()
    assert drain.to_pause({"1": False, "2": True}, 0.0) == []
    assert drain.to_pause({"1": False, "2": True}, ALONE_S) == ["1"]
    assert drain.to_pause({"1": True, "2": False}, ALONE_S + 1) == []
    assert drain.to_pause({"1": False}, ALONE_S + 2) == []


def test_what_only_this_node_has_goes_to_the_member_with_the_most_room_two_at_a_time() -> None:
    drain = Drain()
    drain.looked([snapshot("small", 1), snapshot("large", 500), snapshot("mid", 100)])
    begun = drain.hand_over({"a": 550, "b": 200})
    assert begun == [HandOver(snapshot("large", 500), "a"), HandOver(snapshot("mid", 100), "b")]
    assert drain.hand_over({"a": 550, "b": 200}) == []
    drain.handed(snapshot("large", 500), "")
    assert drain.hand_over({"a": 50, "b": 200}) == [HandOver(snapshot("small", 1), "b")]


def test_what_a_member_could_not_take_is_offered_to_others_and_then_left_to_a_person() -> None:
    drain, one = Drain(), snapshot("one")
    rooms = dict.fromkeys("abcd", 200)
    tried = []
    for _ in range(TARGETS_TRIED_MAX):
        drain.looked([one])
        (order,) = drain.hand_over(rooms)
        tried.append(order.to)
        drain.handed(one, "its disk is full")
    assert len(set(tried)) == TARGETS_TRIED_MAX
    assert drain.hand_over(rooms) == []
    assert drain.sole[one].trouble == f"{tried[-1]}: its disk is full"
    assert drain.state([], served=False, looked=True) == "draining"


def test_without_room_anywhere_it_says_so() -> None:
    drain = Drain()
    drain.looked([snapshot("one", 1000)])
    assert drain.hand_over({"a": 10}) == []
    assert "1000 bytes free" in drain.sole[snapshot("one", 1000)].trouble


def test_it_is_drained_when_nothing_is_left() -> None:
    drain = Drain()
    assert drain.state([], served=False, looked=False) == "draining"
    drain.looked([])
    assert drain.state(["1"], served=False, looked=True) == "draining"
    assert drain.state([], served=True, looked=True) == "draining"
    assert drain.state([], served=False, looked=True) == "drained"
