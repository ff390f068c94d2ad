"""`distctl prefetch`: the repos that are kept present, by schedule or always."""

from __future__ import annotations

from typing import Any

import click

from distd.cli.options import Group, Settings, examples
from distd.cli.output import document, note, say, table
from distd.cli.selection import selection, selection_options
from distd.cli.text import safe

PATH = "/v1/prefetch"


@click.group(
    cls=Group,
    epilog=examples(
        "distctl prefetch add Qwen/Qwen3-32B",
        'distctl prefetch add Qwen/Qwen3-32B --schedule "0 3 * * *"',
        "distctl prefetch ls",
    ),
)
def command() -> None:
    """List, add or remove what is kept present.

    Without a schedule a repo is looked at every 15 minutes: a new commit of its branch is pulled.
    """


@command.command(epilog=examples("distctl prefetch ls", "distctl prefetch ls --json | jq '.items[].why'"))
@click.pass_obj
def ls(settings: Settings) -> None:
    """Show each entry with its last run, its next one, and why.

    With --quiet the ids alone.
    """
    entries = list(settings.client().items(PATH, {"limit": 1000}))
    if settings.json:
        document({"items": entries, "next": None})
    elif settings.quiet:
        for entry in entries:
            say(safe(entry["id"]))
    elif not entries:
        note("nothing is kept present: distctl prefetch add, or [[prefetch]] in the configuration")
    else:
        table(["ID", "REPO", "SCHEDULE", "LAST", "NEXT", "WHY"], [_row(entry) for entry in entries])


@command.command(
    epilog=examples(
        "distctl prefetch add openai/gpt-oss-120b --pin",
        'distctl prefetch add acme/nightly@main --schedule "30 2 * * mon-fri" --zone rack-4',
    )
)
@selection_options
@click.option("--schedule", default="", metavar="CRON", help="As in cron, in UTC [keep present].")
@click.option(
    "--zone", default="", metavar="ZONE", help="On the members of this zone [those that declare it]."
)
@click.option("--pin", is_flag=True, help="Protect what it brings; the pin goes with the branch.")
@click.pass_obj
def add(settings: Settings, /, schedule: str, zone: str, pin: bool, **selected: Any) -> None:
    """Keep a repo present from now on, on this node.

    An entry that is there already stays as it is.
    """
    body = selection(**selected) | {"schedule": schedule, "zone": zone, "pin": pin}
    entry = settings.client().call("POST", PATH, body=body)
    _told(settings, entry, f"{entry['id']}: {entry['repo']}@{entry['revision']} is kept present")


@command.command(epilog=examples("distctl prefetch rm 3f9a1c0b77d2"))
@click.argument("entry_id", metavar="ID")
@click.pass_obj
def rm(settings: Settings, entry_id: str) -> None:
    """Remove an entry; what it brought stays."""
    entry = settings.client().call("DELETE", f"{PATH}/{_quoted(entry_id)}")
    _told(settings, entry, f"{entry['repo']}@{entry['revision']} is no longer kept present")


@command.command(epilog=examples("distctl prefetch run 3f9a1c0b77d2"))
@click.argument("entry_id", metavar="ID")
@click.pass_obj
def run(settings: Settings, entry_id: str) -> None:
    """Run an entry now, without waiting for its end."""
    entry = settings.client().call("POST", f"{PATH}/{_quoted(entry_id)}/run")
    _told(settings, entry, f"{entry['repo']}@{entry['revision']} is being looked at: distctl prefetch ls")


def _told(settings: Settings, entry: dict[str, Any], text: str) -> None:
    if settings.json:
        document(entry)
    elif settings.quiet:
        say(safe(entry["id"]))
    else:
        note(safe(text))


def _row(entry: dict[str, Any]) -> list[str]:
    last = "never"
    if entry["last_run_at"]:
        last = f"{entry['last_outcome']} {_moment(entry['last_run_at'])}"
    why = entry["why"] + (f" ({entry['last_detail']})" if entry["last_outcome"] == "failed" else "")
    return [
        entry["id"],
        f"{entry['repo']}@{entry['revision']}",
        entry["schedule"] or "keep present",
        last,
        _moment(entry["next_run_at"]) if entry["next_run_at"] else "never",
        why,
    ]


def _moment(text: str) -> str:
    """To the second: `2026-11-22T06:23:36Z`."""
    return text.partition(".")[0] + "Z"


def _quoted(entry_id: str) -> str:
    from urllib.parse import quote

    return quote(entry_id, safe="")
