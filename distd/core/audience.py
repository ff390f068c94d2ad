"""Which members of the cluster a request means: `all`, names, a zone; and the two ways in which one does not do it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from distd.errors import InvalidRequest, Problem

NodeState = Literal["alive", "suspect", "dead", "left"]

NAMES_TOLD_MAX = 50
"""Members listed in a refusal; a person looks for a typing error among them."""


@dataclass(frozen=True, slots=True)
class Node:
    """A member of the cluster as a target. `live`: not known to be dead or gone, and not banned here.

    `trouble`: why it was not reached last, or is not to be. `draining`: it is being taken out of service.
    """

    name: str
    zone: str
    live: bool
    state: NodeState = "alive"
    trouble: str = ""
    draining: bool = False


class NodeSilent(Exception):
    """The node gave no answer, or asked to be asked later. The text says why."""


class NodeRefused(Exception):
    """The node said no, and would say it again."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def chosen(
    nodes: Collection[str], zone: str | None, known: Sequence[Node], *, dead_too: bool = False
) -> tuple[Node, ...]:
    """The members that `nodes` and `zone` stand for, by name. Raises InvalidRequest naming who there is.

    No `nodes` with a `zone` means all of that zone. Who is being taken out of service is meant by name only. `dead_too`: members that are believed dead can be meant as well, and
    `all` includes them and those out of service, so that what was not done there is told; who left is never meant.
    """
    there = [node for node in known if node.live or (dead_too and node.state != "left")]
    names = {node.name for node in there}
    serving = names if dead_too else {node.name for node in there if not node.draining}
    wanted = set(nodes) - {"all"} if nodes else serving
    if "all" in nodes:
        wanted |= serving
    if unknown := sorted(wanted - names):
        gone = sorted(node.name for node in known if node.name in unknown)
        said = f"{gone[0]} is not reachable" if gone else f"no member of the cluster is called {unknown[0]!r}"
        raise InvalidRequest(f"{said}; members: {_listed(names)}")
    if zone is not None:
        zones = {node.zone for node in there}
        if zone not in zones:
            raise InvalidRequest(
                f"no member of the cluster is in zone {zone!r};"
                f" zones: {_listed(repr(each) for each in zones)}; members: {_listed(names)}"
            )
        inside = {node.name for node in there if node.zone == zone}
        if outside := sorted(wanted - inside) if nodes and "all" not in nodes else []:
            raise InvalidRequest(f"{outside[0]} is not in zone {zone!r}; members there: {_listed(inside)}")
        wanted &= inside
    if not wanted and not serving:
        raise InvalidRequest("every member is being taken out of service: name the one that is meant")
    return tuple(sorted((node for node in there if node.name in wanted), key=lambda node: node.name))


def _listed(words: Iterable[str]) -> str:
    names = sorted(words)
    more = f" and {len(names) - NAMES_TOLD_MAX} more" if len(names) > NAMES_TOLD_MAX else ""
    return ", ".join(names[:NAMES_TOLD_MAX]) + more
