"""`distctl ls`: what the cache holds."""

from __future__ import annotations

from typing import Any

import click

from distd.cli.options import Command, Settings, examples
from distd.cli.output import document, note, say, table
from distd.cli.text import safe, size


@click.command(cls=Command, epilog=examples("distctl ls", "distctl ls --quiet"))
@click.pass_obj
def command(settings: Settings) -> None:
    """List what the cache holds."""
    models = list(settings.client().items("/v1/models", {"limit": 1000}))
    if settings.json:
        document({"items": models, "next": None})
    elif settings.quiet:
        for model in models:
            say(safe(model["repo"]))
    elif not models:
        note("the cache holds nothing yet: distctl pull REPO")
    else:
        rows = [row for model in models for row in _rows(model)]
        table(
            ["REPO", "TYPE", "REVISION", "COMMIT", "FILES", "SIZE", "NOTES"], rows, numbers=["FILES", "SIZE"]
        )


def _rows(model: dict[str, Any]) -> list[list[str]]:
    return [
        [
            model["repo"],
            model["type"],
            ", ".join(held["refs"]) or "-",
            held["commit"][:12],
            str(held["files"]),
            size(held["bytes"]),
            ", ".join(_notes(held)),
        ]
        for held in model["revisions"]
    ]


def _notes(held: dict[str, Any]) -> list[str]:
    return [
        word for word, holds in (("pinned", held["pinned"]), ("selection", not held["complete"])) if holds
    ]
