"""`distctl ls`: what the cache holds."""

from __future__ import annotations

from typing import Any

import click

from distd.cli.fleet import audience, end, nodes_options, trouble
from distd.cli.options import Command, Settings, examples
from distd.cli.output import document, note, say, table
from distd.cli.text import safe, size

HEADERS = ["REPO", "TYPE", "REVISION", "COMMIT", "FILES", "SIZE", "NOTES"]
NUMBERS = ["FILES", "SIZE"]


@click.command(cls=Command, epilog=examples("distctl ls", "distctl ls --quiet", "distctl ls --nodes all"))
@nodes_options
@click.pass_obj
def command(settings: Settings, nodes: str | None, zone: str | None) -> None:
    """List what the cache holds.

    With --nodes or --zone what each member's cache holds. Exits with 1 when any of them gave no answer.
    """
    if (meant := audience(nodes, zone)) is not None:
        _print_nodes(settings, settings.client().get("/v1/models", meant)["items"])
        return
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
        table(HEADERS, rows, numbers=NUMBERS)


def _print_nodes(settings: Settings, answers: list[dict[str, Any]]) -> None:
    if settings.json:
        document({"items": answers, "next": None})
    elif settings.quiet:
        for answer in answers:
            for model in answer["models"]:
                say(f"{safe(answer['name'])} {safe(model['repo'])}")
    else:
        rows = []
        for answer in answers:
            held = [row for model in answer["models"] for row in _rows(model)]
            empty = trouble(answer) or "holds nothing"
            rows += [[answer["name"], *row] for row in held or [[""] * 6 + [empty]]]
            if answer["more"]:
                rows.append([answer["name"], *[""] * 6, "and more: ask that node itself"])
        table(["NODE", *HEADERS], rows, numbers=NUMBERS)
    end(answers, "the question")


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
