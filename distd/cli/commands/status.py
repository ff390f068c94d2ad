"""`distctl status`: the node at a glance."""

from __future__ import annotations

from typing import Any

import click

from distd.cli.fleet import audience, end, nodes_options, trouble
from distd.cli.options import Command, Settings, examples
from distd.cli.output import document, say, table
from distd.cli.progress import plain_line
from distd.cli.text import plural, safe, size
from distd.units import format_duration, format_rate


@click.command(
    cls=Command,
    epilog=examples(
        "distctl status", "distctl status --json | jq .cache.free_bytes", "distctl status --nodes all"
    ),
)
@nodes_options
@click.pass_obj
def command(settings: Settings, nodes: str | None, zone: str | None) -> None:
    """Show the node, its cache, rates and active pulls.

    With --nodes or --zone a line for each member. Exits with 1 when any of them gave no answer.
    """
    if (meant := audience(nodes, zone)) is not None:
        _print_nodes(settings, settings.client().get("/v1/status", meant)["items"])
        return
    status = settings.client().get("/v1/status")
    if settings.json:
        document(status)
    elif settings.quiet:
        say("ready" if status["ready"] else "not ready")
    else:
        _print(status)


def _print(status: dict[str, Any]) -> None:
    cache, cluster, rates = status["cache"], status["cluster"], status["rates"]
    ready = "ready" if status["ready"] else "not ready: distctl doctor says why"
    up = format_duration(status["uptime_s"])
    limit = f" of at most {size(cache['max_bytes'])}" if cache["max_bytes"] else ""
    say(f"node     {safe(status['node'])}, distd {safe(status['version'])}, up {up}, {ready}")
    if status["service"] != "in_service":
        say(f"service  {status['service']}: distctl peers drain tells what is left, undrain ends it")
    say(f"hub      {safe(status['hub_endpoint'])}")
    if cluster["members"] > 1:
        named = f"{safe(cluster['name'])}: " if cluster["name"] else ""
        say(f"cluster  {named}{cluster['reachable']} of {cluster['members']} members reachable")
    say(
        f"cache    {size(cache['bytes'])}{limit} in {safe(cache['hub_dir'])}, {size(cache['free_bytes'])} free"
    )
    if cache.get("scrub"):
        scrub = cache["scrub"]
        oldest = scrub["oldest_check_at"] or "none yet"
        say(
            f"scrub    {size(scrub['bytes_checked'])} read, {plural(scrub['rotten_files'], 'rotten file')}; oldest check {oldest}"
        )
    say(
        f"rates    hub {format_rate(rates['hub_bytes_per_s'])}, peers {format_rate(rates['peers_bytes_per_s'])}"
    )
    say(f"pulls    {len(status['active_pulls']) or 'none'} active")
    for pull in status["active_pulls"]:
        say(f"  {safe(pull['id'])}  {plain_line(pull)}")


def _print_nodes(settings: Settings, rows: list[dict[str, Any]]) -> None:
    if settings.json:
        document({"items": rows, "next": None})
    elif settings.quiet:
        for row in rows:
            word = "unknown" if row["error"] else "ready" if row["status"]["ready"] else "not ready"
            say(f"{safe(row['name'])} {word}")
    else:
        numbers = ["CACHE", "FREE", "HUB", "PEERS", "PULLS"]
        table(["NODE", "ZONE", "STATE", *numbers, "NOTES"], [_row(row) for row in rows], numbers=numbers)
    end(rows, "the question")


def _row(row: dict[str, Any]) -> list[str]:
    head = [row["name"], row["zone"], row["state"]]
    status = row["status"]
    if status is None:
        return [*head, "", "", "", "", "", trouble(row)]
    cache, rates = status["cache"], status["rates"]
    return [
        *head,
        size(cache["bytes"]),
        size(cache["free_bytes"]),
        format_rate(rates["hub_bytes_per_s"]),
        format_rate(rates["peers_bytes_per_s"]),
        str(len(status["active_pulls"])),
        "; ".join(
            [
                *([] if status["ready"] else ["not ready"]),
                *([] if status["service"] == "in_service" else [status["service"]]),
            ]
        ),
    ]
