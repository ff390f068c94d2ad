"""`distctl path`: where a held snapshot lies."""

from __future__ import annotations

import click

from distd.cli.held import DEFAULT_REVISION, held_revision
from distd.cli.options import Command, Settings, examples, parsed_repo, repo_argument
from distd.cli.output import document, note, say
from distd.cli.text import safe


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
    wanted = revision or DEFAULT_REVISION
    model = settings.client().get(model_path(parsed), {"use": wanted})
    held = held_revision(model, wanted)
    if settings.json:
        document(held)
        return
    if not held["complete"] and not settings.quiet:
        note(f"distctl: {safe(model['repo'])} is held as a selection of its files")
    say(safe(held["snapshot_path"]))
