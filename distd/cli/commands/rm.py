"""`distctl rm`: remove from the cache."""

from __future__ import annotations

import sys
from typing import Any

import click

from distd.cli.failures import CommandFailed
from distd.cli.fleet import CHANGE_TIMEOUT_S, audience, nodes_options, report_changes
from distd.cli.options import Command, Settings, examples, parsed_repo, repo_argument
from distd.cli.output import document, note
from distd.cli.text import plural, safe, size


@click.command(
    cls=Command,
    epilog=examples(
        "distctl rm Qwen/Qwen3-32B", "distctl rm -y gpt2@refs/pr/1", "distctl rm --nodes all Qwen/Qwen3-32B"
    ),
)
@repo_argument
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@nodes_options
@click.pass_obj
def command(
    settings: Settings, repo: str, type_: str, yes: bool, nodes: str | None, zone: str | None
) -> None:
    """Remove a repo or one of its revisions.

    Without a revision, all of them. Asks first when at a terminal. A pinned one is refused.

    With --nodes or --zone on each of these members. Exits with 1 when it was not removed on any of them.
    """
    from distd.cli.client import model_path

    parsed, revision = parsed_repo(repo, type_)
    client = settings.client()
    meant = audience(nodes, zone)
    if not yes and sys.stdin.isatty() and sys.stderr.isatty():
        if meant is None:
            held = client.get(model_path(parsed))
            what = f"{parsed}@{revision}" if revision else f"{parsed} ({size(held['bytes'])}, all revisions)"
        else:
            where = " ".join(f"--{name} {value}" for name, value in meant.items())
            what = f"{parsed}{f'@{revision}' if revision else ', all revisions,'} on {where}"
        if not click.confirm(f"Remove {safe(what)}?", err=True):
            raise CommandFailed("nothing was removed")
    query = {"revision": revision} if revision else {}
    if meant is not None:
        rows = client.call("DELETE", model_path(parsed), query=query | meant, timeout_s=CHANGE_TIMEOUT_S)
        report_changes(rows["items"], "removing", _done, json=settings.json, quiet=settings.quiet)
        return
    removed = client.call("DELETE", model_path(parsed), query=query)
    if settings.json:
        document(removed)
    elif not settings.quiet:
        note(_done(removed))


def _done(removed: dict[str, Any]) -> str:
    return f"removed {plural(len(removed['removed']), 'revision')}, freed {size(removed['freed_bytes'])}"
