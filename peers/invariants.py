"""What a state machine raises when it finds itself in a state that must not exist.

Every machine of this package has a ``check()`` that tests call after every event and that production may call
behind a flag. A violation is a defect in the machine, never the fault of a peer or of the Hub.
"""

from __future__ import annotations


class InvariantViolated(AssertionError):
    """A machine contradicts itself: stop using it and report ``facts``; trying again does not help."""

    retryable = False

    def __init__(self, rule: str, **facts: object) -> None:
        super().__init__(rule)
        self.rule = rule
        self.facts = facts

    def __str__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self.facts.items())
        return f"{self.rule} ({told})" if told else self.rule


def require(holds: bool, rule: str, **facts: object) -> None:
    """Raise `InvariantViolated` with ``facts`` unless ``holds``."""
    if not holds:
        raise InvariantViolated(rule, **facts)
