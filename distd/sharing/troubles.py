"""Errors as members tell them to each other: the kind and its facts, so that a pull fails alike wherever it was asked.

What a member says is not trusted to be an error of ours: unknown kinds and odd facts become StorageFailed.
"""

from __future__ import annotations

from dataclasses import fields

import msgspec

from distd.errors import (
    AccessDenied,
    DistdError,
    FileNotFound,
    HashMismatch,
    HubUnreachable,
    NoSpace,
    RateLimited,
    RepoNotFound,
    RevisionNotFound,
    StorageFailed,
    UnsafePath,
)

FACT_CHARS_MAX = 1000
"""Longer texts are cut: a reason is a sentence, a path has at most some hundred characters."""

_KINDS: dict[str, type[DistdError]] = {
    kind.__name__: kind
    for kind in (
        AccessDenied,
        FileNotFound,
        HashMismatch,
        HubUnreachable,
        NoSpace,
        RateLimited,
        RepoNotFound,
        RevisionNotFound,
        StorageFailed,
        UnsafePath,
    )
}
_TYPES: dict[str, tuple[type, ...]] = {"str": (str,), "bool": (bool,), "int": (int,), "float": (int, float)}


class Trouble(msgspec.Struct, frozen=True):
    """An error on its way."""

    kind: str
    facts: dict[str, str | bool | int | float]


def told(error: DistdError) -> Trouble:
    """What to send of `error`; kinds that concern this node alone are told as StorageFailed."""
    if type(error).__name__ not in _KINDS:
        error = StorageFailed("another member", str(error))
    facts: dict[str, str | bool | int | float] = {}
    for name, value in error.facts().items():
        if isinstance(value, bool | int | float):
            facts[name] = value
        else:
            facts[name] = str(value)[:FACT_CHARS_MAX]
    return Trouble(type(error).__name__, facts)


def error_of(trouble: Trouble, member: str) -> DistdError:
    """The error that `member` told."""
    kind = _KINDS.get(trouble.kind)
    if kind is not None:
        known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]  # all kinds are dataclasses
        sound = set(trouble.facts) == set(known) and all(
            isinstance(value, _TYPES.get(str(known[name].type), ())) for name, value in trouble.facts.items()
        )
        if sound:
            return kind(**trouble.facts)
    return StorageFailed(member, f"it failed with {trouble.kind[:80]!r}")


def is_final(error: DistdError) -> bool:
    """Whether no other member can do better: the Hub itself is wrong or has no such thing.

    A repo that one token cannot see, another may; and a disk that is full here is not full elsewhere.
    """
    return isinstance(error, RevisionNotFound | UnsafePath | HashMismatch)
