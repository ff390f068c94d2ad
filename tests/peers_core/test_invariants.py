from __future__ import annotations

import pytest

from peers.invariants import InvariantViolated, require


def test_a_violation_names_the_rule_and_the_facts() -> None:
    with pytest.raises(InvariantViolated) as violated:
        require(False, "a piece is leased once", piece=3, holders=("a", "b"))
    assert (violated.value.rule, violated.value.facts["piece"]) == ("a piece is leased once", 3)
    assert str(violated.value) == "a piece is leased once (piece=3, holders=('a', 'b'))"
    assert str(InvariantViolated("time goes on")) == "time goes on"


def test_what_holds_is_silent() -> None:
    require(True, "anything")
