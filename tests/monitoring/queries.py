"""Every query of `monitoring/` as data, and what it asks for: names, labels, whether a counter is taken as one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml
from prometheus_client import Metric
from promql_parser import AggregateExpr, Call, MatrixSelector, VectorSelector

FOLDER = Path(__file__).parents[2] / "monitoring"
BOARD = FOLDER / "grafana/distd.json"
RULES = FOLDER / "prometheus/distd.rules.yml"
RULES_TEST = FOLDER / "prometheus/distd.test.yml"
VARIABLES = {"$__rate_interval": "1m", "$__range": "10m", "$job": "distd", "$instance": ".*"}
"""What Grafana puts in for its variables."""
TARGET_LABELS = frozenset({"job", "instance"})
"""What Prometheus adds to each sample."""
ITS_OWN = frozenset({"up"})
"""Series that Prometheus makes itself, not the daemon."""
OF_COUNTERS = frozenset({"rate", "irate", "increase"})


@dataclass(frozen=True)
class Query:
    where: str
    expr: str


def board() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(BOARD.read_text(encoding="utf-8"))
    return loaded


def panel_queries() -> list[Query]:
    """With the variables filled in."""
    found = []
    for panel in board()["panels"]:
        for target in panel.get("targets", ()):
            expr = target["expr"]
            for variable, value in VARIABLES.items():
                expr = expr.replace(variable, value)
            found.append(Query(f"{panel['title']} {target['refId']}", expr))
    return found


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alert_queries() -> list[Query]:
    return [Query(rule["alert"], rule["expr"]) for rule in alerts()]


@dataclass(frozen=True)
class Known:
    """Sample name -> its labels and the type of its metric."""

    samples: dict[str, tuple[frozenset[str], str]]

    @staticmethod
    def of(families: list[Metric]) -> Known:
        found: dict[str, tuple[frozenset[str], str]] = {}
        for family in families:
            for sample in family.samples:
                labels = found.get(sample.name, (frozenset(), ""))[0] | set(sample.labels)
                found[sample.name] = labels | TARGET_LABELS, family.type
        return Known(found)


def faults(query: Query, known: Known) -> Iterator[str]:
    """What is asked for and is not there, or is taken for what it is not."""
    selected: list[tuple[VectorSelector, bool]] = []
    labels: set[str] = set()
    over_time: list[MatrixSelector] = []

    def visit(node: Any) -> bool:
        if isinstance(node, Call) and node.func.name in OF_COUNTERS:
            over_time.extend(arg for arg in node.args if isinstance(arg, MatrixSelector))
        if isinstance(node, AggregateExpr) and node.modifier is not None:
            labels.update(node.modifier.labels)
        if isinstance(node, VectorSelector):
            selected.append((node, any(node.name == each.vector_selector.name for each in over_time)))
        return True

    promql_parser.walk(promql_parser.parse(query.expr), visit)
    available: set[str] = set(TARGET_LABELS)
    for selector, is_rate in selected:
        name = str(selector.name)
        if name in ITS_OWN:
            continue
        if name not in known.samples:
            yield f"{query.where}: there is no {name}"
            continue
        has, kind = known.samples[name]
        available |= has
        for matcher in selector.matchers.matchers:
            if matcher.name not in has:
                yield f"{query.where}: {name} has no label {matcher.name}"
        if is_rate != (kind in ("counter", "histogram")):
            yield f"{query.where}: {name} is a {kind}"
    for label in sorted(labels - available):
        yield f"{query.where}: nothing selected has the label {label}"
