"""A request to several members: each has its row, whoever is dead, silent, slow or says no."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from distd.api.schema import RemovedView
from distd.core.audience import Node, NodeSilent, chosen
from distd.core.refs import Repo
from distd.errors import Conflict, InvalidRequest
from distd.nodes import operations
from distd.nodes.operations import NodeOperations, Patience
from distd.nodes.questions import Question, RemoveAsked, Reply

REPO = Repo("model", "acme/tiny")
NODES = [
    Node("gone", "a", False, "left"),
    Node("n0", "a", True),
    Node("n1", "a", True),
    Node("n2", "b", False, "dead", "no answer in time"),
    Node("n3", "b", True, "suspect"),
]


class Script:
    """Members that answer as a test says, by name; others freed ten bytes."""

    me = "n0"

    def __init__(self, **answers: Reply | Exception | None) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Question]] = []
        self.at_once = 0
        self.at_once_max = 0
        self.nodes: Sequence[Node] = NODES

    def known(self) -> Sequence[Node]:
        return self.nodes

    async def ask(self, node: str, question: Question, timeout_s: float) -> Reply:
        self.asked.append((node, question))
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        try:
            await asyncio.sleep(0)
            answer = self.answers.get(node, Reply(msgspec.msgpack.encode(RemovedView(("c1",), 10))))
            if answer is None:
                await asyncio.Event().wait()
            if isinstance(answer, Exception):
                raise answer
            assert isinstance(answer, Reply)
            return answer
        finally:
            self.at_once -= 1


async def test_every_member_but_those_who_left_has_a_row_and_the_dead_are_not_asked() -> None:
    script = Script(
        n1=Reply(problem=Conflict("acme/tiny is pinned").problem()),
        n3=NodeSilent("n3 cannot be reached: reset"),
    )
    rows = await NodeOperations(script).remove(["all"], None, REPO, None)
    assert [(row.name, row.state, row.freed_bytes, row.error and row.error.detail) for row in rows] == [
        ("n0", "alive", 10, None),
        ("n1", "alive", 0, "acme/tiny is pinned"),
        ("n2", "dead", 0, "it is dead: no answer in time"),
        ("n3", "suspect", 0, "n3 cannot be reached: reset"),
    ]
    assert script.asked == [(name, RemoveAsked("model", "acme/tiny", None)) for name in ("n0", "n1", "n3")]


async def test_a_member_that_never_answers_costs_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "LOOK", Patience(5.0, 0.05))
    rows = await NodeOperations(Script(n1=None)).models(["n1"], None)
    (row,) = rows
    assert row.error is not None
    assert (row.error.title, row.error.retryable) == ("Node not reachable", True)


async def test_an_answer_of_another_kind_is_a_reason_and_no_failure_of_the_whole() -> None:
    (row,) = await NodeOperations(Script(n1=Reply(b"\xc1"))).remove(["n1"], None, REPO, None)
    assert row.error is not None
    assert "another version" in row.error.detail


async def test_a_large_fleet_is_not_asked_all_at_once() -> None:
    script = Script()
    script.nodes = [Node(f"m{index:04}", "", True) for index in range(300)]
    rows = await NodeOperations(script).remove(["all"], None, REPO, None)
    assert len(rows) == 300
    assert script.at_once_max == operations.ASKED_AT_ONCE


@pytest.mark.parametrize(
    ("nodes", "zone", "dead_too", "names"),
    [
        (["all"], None, False, "n0 n1 n3"),
        (["all"], None, True, "n0 n1 n2 n3"),
        ([], "b", True, "n2 n3"),
        (["n2", "n0"], None, True, "n0 n2"),
        (["all", "n1"], "a", False, "n0 n1"),
    ],
)
def test_who_is_meant(nodes: list[str], zone: str | None, dead_too: bool, names: str) -> None:
    assert " ".join(node.name for node in chosen(nodes, zone, NODES, dead_too=dead_too)) == names


@pytest.mark.parametrize(
    ("nodes", "zone", "says"),
    [
        (["n9"], None, "no member of the cluster is called 'n9'; members: n0, n1, n2, n3"),
        (["gone"], None, "gone is not reachable"),
        (["n0"], "b", "n0 is not in zone 'b'; members there: n2, n3"),
        ([], "c", "no member of the cluster is in zone 'c'; zones: 'a', 'b'"),
    ],
)
def test_who_is_not_there_is_refused_with_the_names_that_are(
    nodes: list[str], zone: str | None, says: str
) -> None:
    with pytest.raises(InvalidRequest, match=says.replace("(", r"\(")):
        chosen(nodes, zone, NODES, dead_too=True)
