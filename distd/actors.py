"""On whose behalf something is done: set where a request enters, read where it is told or passed on.

A task that a request starts goes on in its name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

NAME_CHARS_MAX = 100
"""Of a person, as another member names it."""

_ACTOR: ContextVar[str] = ContextVar("actor", default="distd")


def actor() -> str:
    """Who asked: `alice`, `api-token`, `member gpu-17 (alice)`; `distd` where nobody did."""
    return _ACTOR.get()


@contextmanager
def acting(name: str) -> Iterator[None]:
    """What is done inside is done on behalf of `name`."""
    token = _ACTOR.set(name)
    try:
        yield
    finally:
        _ACTOR.reset(token)


def on_behalf(member: str, of: str) -> str:
    """A member that passes a person's request on: who that is, it says itself."""
    return f"member {member} ({of[:NAME_CHARS_MAX]})" if of else f"member {member}"
