"""A snapshot that the node holds, found in what the API tells of its repo."""

from __future__ import annotations

from typing import Any

from distd.cli.failures import CommandFailed
from distd.cli.text import safe
from distd.errors import EXIT_NOT_FOUND

DEFAULT_REVISION = "main"


def find_revision(model: dict[str, Any], revision: str) -> dict[str, Any] | None:
    """By commit or by ref."""
    for held in model["revisions"]:
        if revision == held["commit"] or revision in held["refs"]:
            return dict(held)
    return None


def held_revision(model: dict[str, Any], revision: str) -> dict[str, Any]:
    """As `find_revision`; raises CommandFailed, which names what is held."""
    held = find_revision(model, revision)
    if held is not None:
        return held
    words = (word for held in model["revisions"] for word in (held["refs"] or [held["commit"]]))
    known = ", ".join(safe(word) for word in words)
    raise CommandFailed(
        f"Not found: {safe(model['repo'])} is not held at {safe(revision)}; held are {known or 'none'}",
        EXIT_NOT_FOUND,
    )
