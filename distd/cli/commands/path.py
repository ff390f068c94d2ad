"""`distctl path`: where a held snapshot lies."""

from __future__ import annotations

from typing import Any

import click

from distd.cli.failures import CommandFailed
from distd.cli.options import Command, Settings, examples, parsed_repo, repo_argument
from distd.cli.output import document, note, say
from distd.cli.text import safe
from distd.errors import EXIT_NOT_FOUND


@click.command(
    cls=Command,
    epilog=examples('vllm serve "$(distctl path Qwen/Qwen3-32B)"', "distctl path gpt2@refs/pr/1"),
)
@repo_argument
@click.pass_obj
def command(settings: Settings, repo: str, type_: str) -> None:
    """Print the snapshot path of a held repo.

    Exits with 4 when this node does not hold the repo at this revision (main, where none is named).
    """
    from distd.cli.client import model_path

    parsed, revision = parsed_repo(repo, type_)
    model = settings.client().get(model_path(parsed))
    held = _revision(model, revision or "main")
    if settings.json:
        document(held)
        return
    if not held["complete"] and not settings.quiet:
        note(f"distctl: {safe(model['repo'])} is held as a selection of its files")
    say(safe(held["snapshot_path"]))


def _revision(model: dict[str, Any], revision: str) -> dict[str, Any]:
    for held in model["revisions"]:
        if revision == held["commit"] or revision in held["refs"]:
            return dict(held)
    known = ", ".join(
        safe(word) for held in model["revisions"] for word in (held["refs"] or [held["commit"]])
    )
    raise CommandFailed(
        f"Not found: {safe(model['repo'])} is not held at {safe(revision)}; held are {known or 'none'}",
        EXIT_NOT_FOUND,
    )
