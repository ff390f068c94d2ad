"""Rules match what they name and nothing else; plans send exactly what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import hub as hub_package
from tests.hub.body import Cut, Literal, Plan, Send, Stall, plan_body, split_steps
from tests.hub.faults import FAULTS, Faults, Phase, Rule
from tests.hub.limits import Pace, Quotas
from tests.hub.repo import Source
from tests.hub.wire import Content

DATA = bytes(range(256)) * 4


def read(source: Source, start: int, count: int) -> bytes:
    assert isinstance(source, bytes)
    return source[start : start + count]


def plan(*rules: Rule, start: int = 0, count: int = len(DATA)) -> Plan:
    return plan_body(Content(DATA, start, count), rules, read)


def sent(planned: Plan) -> bytes:
    """What a client receives before the first cut."""
    body = b""
    for step in planned.steps:
        match step:
            case Send(start, count):
                body += DATA[start : start + count]
            case Literal(data):
                body += data
            case Cut():
                break
    return body


def test_unknown_names_kinds_and_parameters_are_refused_by_name() -> None:
    faults = Faults()
    with pytest.raises(ValueError, match="unknown fault 'cutt'"):
        faults.add("cutt")
    with pytest.raises(ValueError, match="unknown kind 'download'"):
        faults.add("cut", on="download")
    with pytest.raises(ValueError, match=r"no \['seconds'\]; it has: after, reset"):
        faults.add("cut", seconds=3)
    assert faults.rules == []


def test_a_rule_lets_some_pass_then_acts_so_often() -> None:
    rule = Faults().add("status", on="body", skip=2, times=3)
    acted = [rule.acts("body", "acme/m/x.bin", "", None) for _ in range(8)]
    assert acted == [False, False, True, True, True, False, False, False]


def test_a_rule_without_times_always_acts() -> None:
    rule = Faults().add("status", times=None)
    assert all(rule.acts("api", "/api/models/a/b", "", None) for _ in range(100))


def test_a_rule_matches_kind_path_in_the_repo_and_agent() -> None:
    rule = Faults().add("status", on="body", path="sub/*.bin", agent="*distd*", times=None)
    assert rule.acts("body", "acme/m/sub/x.bin", "distd/1.0", None)
    assert not rule.acts("head", "acme/m/sub/x.bin", "distd/1.0", None)
    assert not rule.acts("body", "acme/m/x.bin", "distd/1.0", None)
    assert not rule.acts("body", "acme/m/sub/x.bin", "curl", None)
    assert Faults().add("status", path="acme/m/*").acts("body", "acme/m/x.bin", "", None)
    assert Faults().add("status", path="m.bin").acts("body", "gpt2/m.bin", "", None)


def test_probability_is_drawn_from_the_seed() -> None:
    def draws(seed: int) -> list[bool]:
        rule = Faults().add("status", times=None, probability=0.3, seed=seed)
        return [rule.acts("api", "/", "", None) for _ in range(1000)]

    assert draws(1) == draws(1) != draws(2)
    assert 200 < sum(draws(1)) < 400


def test_a_wrong_byte_waits_for_a_range_that_contains_it() -> None:
    rule = Faults().add("wrong_byte", at=100)
    assert not rule.acts("body", "x", "", (0, 100))
    assert not rule.acts("body", "x", "", (101, 50))
    assert not rule.acts("head", "x", "", None)
    assert rule.acts("body", "x", "", (100, 1))


def test_faults_are_taken_in_their_phase_only() -> None:
    faults = Faults()
    rule = faults.add("cut", on="*")
    for phase in Phase:
        assert faults.take(phase, "body", "x", "") == ([rule] if phase is Phase.BODY else [])
    assert faults.remove(rule.id)
    assert not faults.remove(rule.id)


def test_the_readme_lists_every_fault_with_its_parameters() -> None:
    table = (Path(hub_package.__file__).parent / "README.md").read_text()
    rows = {
        row.split("|")[1].strip(" `"): row.split("|")[2]
        for row in table.splitlines()
        if row.startswith("| `")
    }
    documented = {name: set(re.findall(r"`(\w+)` \(", cell)) for name, cell in rows.items()}
    assert documented == {name: set(parameters) for name, (_, parameters) in FAULTS.items()}


def test_every_phase_is_used() -> None:
    assert {phase for phase, _ in FAULTS.values()} == set(Phase)


def test_a_body_without_faults_is_one_send() -> None:
    assert plan(start=3, count=10) == Plan((Send(3, 10),), 10)


def test_a_wrong_byte_changes_that_byte_alone() -> None:
    for at in (0, 5, 1023):
        planned = plan(Rule("wrong_byte", parameters={"at": at}))
        assert planned.length == len(DATA)
        assert [i for i, pair in enumerate(zip(sent(planned), DATA, strict=True)) if pair[0] != pair[1]] == [
            at
        ]
    planned = plan(Rule("wrong_byte", parameters={"at": 7}), start=5, count=10)
    assert planned.steps == (Send(5, 2), Literal(bytes([7 ^ 0xFF])), Send(8, 7))


def test_two_wrong_bytes_and_a_cut_combine() -> None:
    rules = [Rule("wrong_byte", parameters={"at": at}) for at in (2, 3)]
    planned = plan(*rules, Rule("cut", parameters={"after": 4}))
    assert planned.steps == (Send(0, 2), Literal(b"\xfd"), Literal(b"\xfc"), Cut(False))
    assert planned.length == len(DATA)


def test_lengths_are_wrong_consistently() -> None:
    short = plan(Rule("wrong_length", parameters={"delta": -3}))
    assert (short.length, sent(short)) == (len(DATA) - 3, DATA[:-3])
    long = plan(Rule("wrong_length", parameters={"delta": 3}))
    assert (long.length, sent(long)) == (len(DATA) + 3, DATA + bytes(3))


def test_a_stall_and_a_slow_body_send_everything() -> None:
    planned = plan(Rule("stall", parameters={"after": 10}), Rule("slow", parameters={"bytes_per_s": 5}))
    assert planned == Plan((Send(0, 10), Stall(None), Send(10, len(DATA) - 10)), len(DATA), 5)


def test_splitting_beyond_the_end_leaves_nothing() -> None:
    steps: list[Send | Literal | Stall | Cut] = [Send(0, 4), Literal(b"abc")]
    assert split_steps(steps, 6) == ([Send(0, 4), Literal(b"ab")], [Literal(b"c")])
    assert split_steps(steps, 7) == (steps, [])
    assert split_steps(steps, 99) == (steps, [])


def test_a_pace_spaces_sends_by_their_size() -> None:
    pace = Pace(100)
    assert [pace.reserve(50, now) for now in (10.0, 10.0, 10.5)] == [0.5, 1.0, 1.0]
    assert pace.reserve(50, 100.0) == 0.5
    # Waking up a little late is made up for.
    assert pace.reserve(50, 100.55) == pytest.approx(0.45)
    assert Pace(None).reserve(10**9, 0.0) == 0.0


def test_quota_windows_are_fixed_and_per_caller() -> None:
    quotas = Quotas({"api": 1})
    assert not quotas.count("api", "a", 299.0).exceeded
    standing = quotas.count("api", "a", 299.0)
    assert (standing.exceeded, standing.remaining, standing.reset_s) == (True, 0, 1)
    assert not quotas.count("api", "b", 299.0).exceeded
    assert not quotas.count("api", "a", 300.0).exceeded
    assert not quotas.count("resolvers", "a", 300.0).exceeded
