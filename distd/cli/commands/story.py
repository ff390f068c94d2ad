"""`distctl story`: a pull's event log."""

from __future__ import annotations

import click

from distd.cli.options import Command, Settings, examples
from distd.cli.output import document, say
from distd.cli.text import safe


@click.command(cls=Command, epilog=examples("distctl story 12-9f3c", "distctl story 12-9f3c --json"))
@click.argument("pull")
@click.pass_obj
def command(settings: Settings, pull: str) -> None:
    """Show what happened to a pull."""
    from distd.cli.client import pull_path

    entries = settings.client().items(pull_path(pull, "/story"), {"limit": 1000})
    if settings.json:
        document({"items": list(entries), "next": None})
        return
    for entry in entries:
        say(f"{safe(entry['time'])}  {safe(entry['event']):<12}  {safe(entry['text'])}")
