"""`distctl pulls`: the list of pulls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from distd.cli.options import Command, Settings, examples
from distd.cli.output import document, note, say, table
from distd.cli.progress import name
from distd.cli.text import format_percent, safe, size

if TYPE_CHECKING:
    from distd.cli.client import Query

STATES = (
    "queued",
    "resolving",
    "downloading",
    "verifying",
    "publishing",
    "complete",
    "paused",
    "failed",
    "cancelled",
)
"""As `distd.api.schema.PullState`, which is not imported for its cost; a test holds the two equal."""


@click.command(
    cls=Command, epilog=examples("distctl pulls", "distctl pulls --state downloading --state queued")
)
@click.option("--state", multiple=True, type=click.Choice(STATES), help="Only in this state; repeatable.")
@click.option("--limit", type=click.IntRange(1), default=100, help="At most so many [100].")
@click.pass_obj
def command(settings: Settings, state: tuple[str, ...], limit: int) -> None:
    """List pulls, newest first."""
    query: Query = {"state": list(state), "limit": min(limit, 1000)}
    pulls = list(settings.client().items("/v1/pulls", query, limit))
    if settings.json:
        document({"items": pulls, "next": None})
    elif settings.quiet:
        for pull in pulls:
            say(safe(pull["id"]))
    elif not pulls:
        note("no pulls")
    else:
        table(
            ["PULL", "REPO", "STATE", "DONE", "SIZE", "CREATED"],
            [
                [
                    pull["id"],
                    name(pull),
                    pull["state"],
                    format_percent(pull["bytes_done"], pull["bytes_total"]) if pull["bytes_total"] else "",
                    size(pull["bytes_total"]),
                    pull["created_at"],
                ]
                for pull in pulls
            ],
            numbers=["DONE", "SIZE"],
        )
