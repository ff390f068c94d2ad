"""Faults on demand: rules that say which request fails how.

A rule matches requests by kind, path and agent, lets `skip` of them pass and then acts `times` times (None: always).
Each fault belongs to one phase, in which alone its matches are counted: a `cut` is not used up by a 403. Offsets and
sizes are bytes. Pure: what a fault does is in `mangle` (API answers, headers) and `body` (data).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from fnmatch import fnmatchcase
from typing import Any

from tests.hub.counters import path_matches
from tests.hub.wire import KINDS, Kind


class Phase(Enum):
    """When a fault is decided: on arrival, or once the good answer is known."""

    ARRIVAL = auto()
    TREE = auto()
    JSON = auto()
    HEADERS = auto()
    BODY = auto()


FAULTS: dict[str, tuple[Phase, dict[str, Any]]] = {
    "status": (Phase.ARRIVAL, {"status": 503}),
    "rate_limited": (Phase.ARRIVAL, {"retry_s": 2, "retry_after": False}),
    "delay": (Phase.ARRIVAL, {"seconds": 1.0}),
    "refuse": (Phase.ARRIVAL, {}),
    "gone": (Phase.ARRIVAL, {"seconds": None}),
    "expired_url": (Phase.ARRIVAL, {}),
    "redirect_loop": (Phase.ARRIVAL, {}),
    "foreign_redirect": (Phase.ARRIVAL, {}),
    "ignore_range": (Phase.ARRIVAL, {}),
    "traversal": (Phase.TREE, {"entry": "../../evil"}),
    "size_lie": (Phase.TREE, {"delta": 1, "only": "*"}),
    "wrong_oid": (Phase.TREE, {"only": "*"}),
    "duplicate_paths": (Phase.TREE, {"only": "*"}),
    "endless_pages": (Phase.TREE, {}),
    "foreign_next_page": (Phase.TREE, {}),
    "malformed_json": (Phase.JSON, {}),
    "oversized_json": (Phase.JSON, {"size": 64 * 1024 * 1024}),
    "wrong_etag": (Phase.HEADERS, {"etag": "0" * 64}),
    "no_commit": (Phase.HEADERS, {}),
    "cut": (Phase.BODY, {"after": 0, "reset": False}),
    "stall": (Phase.BODY, {"after": 0, "seconds": None}),
    "slow": (Phase.BODY, {"bytes_per_s": 64 * 1024}),
    "wrong_length": (Phase.BODY, {"delta": -1}),
    "wrong_content_range": (Phase.BODY, {"delta": 1}),
    "wrong_byte": (Phase.BODY, {"at": 0}),
    "no_length": (Phase.BODY, {}),
    "gzip": (Phase.BODY, {}),
}
"""Every fault, its phase, its parameters and their defaults."""

TRAVERSAL_ENTRIES = (
    "../../evil",
    "/etc/evil",
    "a/../../b",
    "..\\evil",
    "C:\\evil",
    "nul\x00byte",
    "a//b",
    "",
    ".",
    "..",
    "a/./b",
    "refs/../../../evil",
    "line\nbreak",
    "x" * 256,
)
"""Paths a client must refuse to write, for use as `traversal`'s `entry`."""


@dataclass(slots=True)
class Rule:
    """One fault and what it matches. `seen` counts matches, `hits` those it acted on."""

    name: str
    on: str = "*"
    path: str = "*"
    agent: str = "*"
    skip: int = 0
    times: int | None = 1
    probability: float = 1.0
    seed: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)
    id: int = 0
    seen: int = 0
    hits: int = 0
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.name not in FAULTS:
            raise ValueError(f"unknown fault {self.name!r}; known: {', '.join(FAULTS)}")
        if self.on not in (*KINDS, "*"):
            raise ValueError(f"unknown kind {self.on!r} of request; known: {', '.join(KINDS)}, *")
        defaults = FAULTS[self.name][1]
        unknown = set(self.parameters) - set(defaults)
        if unknown:
            raise ValueError(f"fault {self.name!r} has no {sorted(unknown)}; it has: {', '.join(defaults)}")
        self.parameters = {**defaults, **self.parameters}
        self._random = random.Random(self.seed)

    def __getitem__(self, parameter: str) -> Any:
        return self.parameters[parameter]

    @property
    def phase(self) -> Phase:
        return FAULTS[self.name][0]

    @property
    def spent(self) -> bool:
        return self.times is not None and self.hits >= self.times

    def acts(self, kind: Kind, path: str, agent: str, span: tuple[int, int] | None) -> bool:
        """Whether the rule acts on this request; counts it. `span` is (start, count) of the bytes to be sent."""
        if self.spent or self.on not in (kind, "*") or not path_matches(self.path, path):
            return False
        if not fnmatchcase(agent, self.agent):
            return False
        if self.name == "wrong_byte" and (span is None or not 0 <= self["at"] - span[0] < span[1]):
            return False
        self.seen += 1
        if self.seen <= self.skip or self._random.random() >= self.probability:
            return False
        self.hits += 1
        return True

    def as_json(self) -> dict[str, Any]:
        names = ("id", "name", "on", "path", "agent", "skip", "times", "probability", "seed", "seen", "hits")
        return {name: getattr(self, name) for name in names} | dict(self.parameters)


class Faults:
    """The rules in force, in the order they were added."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self._next_id = 1

    def add(
        self,
        name: str,
        *,
        on: str = "*",
        path: str = "*",
        agent: str = "*",
        skip: int = 0,
        times: int | None = 1,
        probability: float = 1.0,
        seed: int = 0,
        **parameters: Any,
    ) -> Rule:
        """Adds a rule and returns it; `rule.hits` tells later how often it acted. ValueError names what is unknown."""
        rule = Rule(name, on, path, agent, skip, times, probability, seed, parameters, self._next_id)
        self._next_id += 1
        self.rules.append(rule)
        return rule

    def remove(self, rule_id: int) -> bool:
        """Whether there was such a rule."""
        before = len(self.rules)
        self.rules = [rule for rule in self.rules if rule.id != rule_id]
        return len(self.rules) < before

    def clear(self) -> None:
        self.rules.clear()

    def take(
        self, phase: Phase, kind: Kind, path: str, agent: str, span: tuple[int, int] | None = None
    ) -> list[Rule]:
        """The rules of a phase that act on this request."""
        return [rule for rule in self.rules if rule.phase is phase and rule.acts(kind, path, agent, span)]


def named(rules: Iterable[Rule], name: str) -> Rule | None:
    """The first of these rules with that name."""
    return next((rule for rule in rules if rule.name == name), None)
