"""A scrape as Prometheus reads it: metrics by name, and what Prometheus' naming rules say of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

BASE_UNITS = ("seconds", "bytes", "ratio", "per_second", "info", "total")
OTHER_UNITS = re.compile(
    r"_(milliseconds|microseconds|nanoseconds|minutes|hours|days|ms|kilobytes|megabytes|gigabytes|kib|mib|bits|percent)(_|$)"
)
TYPE_WORDS = re.compile(r"_(gauge|counter|histogram|summary|metric)s?(_|$)")
SUFFIXES_OF_SAMPLES = ("_count", "_sum", "_bucket")
RESERVED_LABELS = {"le", "quantile", "job", "instance"}


@dataclass(frozen=True)
class Scrape:
    """One answer of `/metrics` in Prometheus' text format."""

    text: str

    def families(self) -> list[Metric]:
        return list(text_string_to_metric_families(self.text))

    def value(self, name: str, **labels: str) -> float:
        """Of the one sample with this name and exactly these labels. Raises AssertionError when there is none."""
        found = [
            sample.value
            for family in self.families()
            for sample in family.samples
            if sample.name == name and sample.labels == labels
        ]
        assert len(found) == 1, f"{len(found)} samples {name}{labels}"
        return float(found[0])

    def by_label(self, name: str) -> dict[str, float]:
        """Of a metric with one label: value by that label's."""
        return {
            next(iter(sample.labels.values())): float(sample.value)
            for family in self.families()
            for sample in family.samples
            if sample.name == name
        }

    def names(self) -> dict[str, set[str]]:
        """Sample name -> the names of its labels."""
        found: dict[str, set[str]] = {}
        for family in self.families():
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
        return found


def lint(scrape: Scrape) -> list[str]:
    """What https://prometheus.io/docs/practices/naming and `promtool check metrics` would object to."""
    return [fault for family in scrape.families() for fault in _faults(family)]


def _faults(family: Metric) -> Iterator[str]:
    # The parser takes `_total` off a counter's name; what is judged is the name in the text.
    name = family.name
    if not family.documentation:
        yield f"{name} has no help"
    if family.type == "unknown":
        yield f"{name} has no type"
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        yield f"{name} is not lower snake case"
    if not name.startswith(("distd_", "process_")):
        yield f"{name} does not begin with the program's name"
    if OTHER_UNITS.search(name):
        yield f"{name} is not in base units"
    if TYPE_WORDS.search(name):
        yield f"{name} names its type"
    for sample in family.samples:
        if family.type == "counter" and not sample.name.endswith("_total"):
            yield f"counter {sample.name} does not end in _total"
        if family.type != "counter" and sample.name.endswith("_total"):
            yield f"{family.type} {sample.name} ends in _total"
        if family.type == "gauge" and sample.name.endswith(SUFFIXES_OF_SAMPLES):
            yield f"gauge {sample.name} is named as a part of a histogram"
        for label in sample.labels.keys() - ({"le"} if family.type == "histogram" else set()):
            if label in RESERVED_LABELS or not re.fullmatch(r"[a-z][a-z0-9_]*", label):
                yield f"{sample.name} has a label {label}"
    if family.type == "histogram" and not any(s.labels.get("le") == "+Inf" for s in family.samples):
        yield f"histogram {name} has no bucket for all"
