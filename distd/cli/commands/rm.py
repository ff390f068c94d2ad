"""`distctl rm`: remove from the cache."""

from __future__ import annotations

import sys

import click

from distd.cli.failures import CommandFailed
from distd.cli.options import Command, Settings, examples, parsed_repo, repo_argument
from distd.cli.output import document, note
from distd.cli.text import plural, safe, size


@click.command(cls=Command, epilog=examples("distctl rm Qwen/Qwen3-32B", "distctl rm -y gpt2@refs/pr/1"))
@repo_argument
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def command(settings: Settings, repo: str, type_: str, yes: bool) -> None:
    """Remove a repo or one of its revisions.

    Without a revision, all of them. Asks first when at a terminal. A pinned one is refused.
    """
    from distd.cli.client import model_path

    parsed, revision = parsed_repo(repo, type_)
    client = settings.client()
    if not yes and sys.stdin.isatty() and sys.stderr.isatty():
        held = client.get(model_path(parsed))
        what = f"{parsed}@{revision}" if revision else f"{parsed} ({size(held['bytes'])}, all revisions)"
        if not click.confirm(f"Remove {safe(what)}?", err=True):
            raise CommandFailed("nothing was removed")
    removed = client.call("DELETE", model_path(parsed), query={"revision": revision} if revision else None)
    if settings.json:
        document(removed)
    elif not settings.quiet:
        note(f"removed {plural(len(removed['removed']), 'revision')}, freed {size(removed['freed_bytes'])}")
