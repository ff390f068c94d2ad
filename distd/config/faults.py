"""What is wrong with a configuration, as facts and as lines for the operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong: where it was written, which key, which value, and what is allowed instead."""

    source: str
    key: str
    value: object
    reason: str

    def __str__(self) -> str:
        shown = f" = {self.value!r}" if self.key and self.value != "" else ""
        key = f" {self.key}{shown}:" if self.key else ""
        return f"{self.source}:{key} {self.reason}"


class ConfigError(Exception):
    """The configuration cannot be used. `faults` is never empty; print one a line and exit with 2."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(faults)
        self.faults = tuple(faults)

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)
