"""`distctl show`: one pull."""

from __future__ import annotations

from typing import Any

import click

from distd.cli.options import Command, Settings, examples
from distd.cli.output import document, say, table
from distd.cli.progress import plain_line
from distd.cli.text import format_percent, safe, size


@click.command(cls=Command, epilog=examples("distctl show 12-9f3c", "distctl show 12-9f3c --json"))
@click.argument("pull")
@click.pass_obj
def command(settings: Settings, pull: str) -> None:
    """Show one pull with its files."""
    from distd.cli.client import pull_path

    found = settings.client().get(pull_path(pull))
    if settings.json:
        document(found)
    elif settings.quiet:
        say(found["state"])
    else:
        _print(found)


def _print(pull: dict[str, Any]) -> None:
    lines = {
        "pull": pull["id"],
        "type": pull["type"],
        "commit": pull["commit"],
        "created": pull["created_at"],
        "started": pull["started_at"],
        "finished": pull["finished_at"],
        "stalled": pull["stalled_reason"],
        "snapshot": pull["snapshot_path"],
    }
    say(plain_line(pull))
    for word, value in lines.items():
        if value is not None:
            say(f"  {word:<9} {safe(value)}")
    say(
        f"  {'bytes':<9} hub {size(pull['bytes_from_hub'])}, peers {size(pull['bytes_from_peers'])},"
        f" reused {size(pull['bytes_reused'])}"
    )
    if pull["error"] is not None:
        say(f"  {'error':<9} {safe(pull['error']['title'])}: {safe(pull['error']['detail'])}")
    if pull["nodes"]:
        say()
        _print_nodes(pull["nodes"])
    if pull["files"]:
        say()
        rows = [
            [
                file["path"],
                file["state"],
                format_percent(file["bytes_done"], file["size"]),
                size(file["size"]),
            ]
            for file in pull["files"]
        ]
        table(["FILE", "STATE", "DONE", "SIZE"], rows, numbers=["DONE", "SIZE"])


def _print_nodes(nodes: list[dict[str, Any]]) -> None:
    rows = [
        [
            node["name"],
            node["pull_id"] or "",
            node["state"],
            format_percent(node["bytes_done"], node["bytes_total"]) if node["bytes_total"] else "",
            size(node["bytes_from_hub"]),
            size(node["bytes_from_peers"]),
            node["error"]["detail"] if node["error"] else node["stalled_reason"] or "",
        ]
        for node in nodes
    ]
    table(["NODE", "PULL", "STATE", "DONE", "HUB", "PEERS", "NOTES"], rows, numbers=["DONE", "HUB", "PEERS"])
