"""`distctl audit`: who changed what on this node."""

from __future__ import annotations

import click

from distd.cli.options import Command, Settings, examples
from distd.cli.output import document, note, say, table
from distd.cli.text import safe


@click.command(
    cls=Command,
    epilog=examples("distctl audit", "distctl audit --since 24h --deed remove", "distctl audit --text alice"),
)
@click.option("--since", metavar="WHEN", help="A duration (24h) or a moment.")
@click.option("--deed", metavar="WORD", help="Only pull, remove, pin, ban and so on.")
@click.option("--text", metavar="TEXT", help="Only with this in actor or subject.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, help="At most so many entries [100].")
@click.pass_obj
def command(settings: Settings, since: str | None, deed: str | None, text: str | None, limit: int) -> None:
    """Show who pulled, removed, pinned or banned what.

    Newest first. Reading changes nothing and is not in it.
    """
    given = {"since": since, "deed": deed, "text": text}
    query = {name: value for name, value in given.items() if value} | {"limit": str(min(limit, 1000))}
    entries = list(settings.client().items("/v1/audit", query, limit))
    if settings.json:
        document({"items": entries, "next": None})
    elif settings.quiet:
        for entry in entries:
            say(" ".join(safe(entry[name]) for name in ("time", "actor", "deed", "subject", "outcome")))
    elif not entries:
        note("nobody changed anything in that time")
    else:
        rows = [
            [
                entry["time"],
                entry["actor"],
                entry["deed"],
                entry["subject"],
                entry["outcome"],
                entry["detail"],
            ]
            for entry in entries
        ]
        table(["TIME", "WHO", "DEED", "WHAT", "OUTCOME", "REQUEST"], rows)
