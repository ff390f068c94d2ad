"""`distctl pull`: start a pull, watch it, and end with the path of its snapshot."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from distd.cli.displays import choose_display
from distd.cli.failures import CommandFailed
from distd.cli.options import Command, Settings, examples
from distd.cli.output import document, note, say
from distd.cli.progress import name, node_summary, summary
from distd.cli.selection import selection, selection_options
from distd.cli.text import columns_of, safe
from distd.errors import EXIT_CODES, EXIT_FAILED, EXIT_INTERRUPTED


@click.command(
    cls=Command,
    epilog=examples(
        "distctl pull Qwen/Qwen3-32B",
        "distctl pull Qwen/Qwen3-32B@refs/pr/1 --weights safetensors",
        "distctl pull squad --type dataset --include '*.parquet'",
        "distctl pull --nodes all openai/gpt-oss-120b",
        "distctl pull --detach --pin openai/gpt-oss-120b",
        'MODEL="$(distctl pull --quiet openai/gpt-oss-20b)"',
    ),
)
@selection_options
@click.option("--priority", type=click.IntRange(-100, 100), help="Higher goes first [0].")
@click.option("-d", "--detach", is_flag=True, help="Do not wait; print the pull's id.")
@click.option("--nodes", metavar="all|NAME,...", help="Have these members pull it.")
@click.option("--zone", metavar="Z", help="Only members of this zone.")
@click.option("--at", metavar="WHEN", help="Start later.")
@click.option("--pin", is_flag=True, help="Protect it from removal (distctl rm).")
@click.pass_obj
def command(
    settings: Settings,
    /,
    detach: bool,
    priority: int | None,
    nodes: str | None,
    zone: str | None,
    at: str | None,
    pin: bool,
    **selected: Any,
) -> None:
    """Pull a repo into the node's cache, with progress.

    Waits until every file is verified and published, and prints the path of the snapshot last on
    stdout. Ctrl-C stops the waiting, not the pull.

    With --nodes or --zone the members named pull it, this node only when it is among them. Exits with 1
    when any of them failed.
    """
    body = selection(**selected)
    named = [word.strip() for word in (nodes or "").split(",") if word.strip()]
    given = {"priority": priority, "nodes": named, "zone": zone, "at": at, "pin": pin}
    body |= {field: value for field, value in given.items() if value}
    pull = settings.client().call("POST", "/v1/pulls", body=body)
    if detach:
        _show_detached(settings, pull)
        return
    _end(settings, _watched(settings, pull))


def _watched(settings: Settings, pull: dict[str, Any]) -> dict[str, Any]:
    from distd.cli.waiting import wait

    display = choose_display(settings.quiet)
    try:
        return wait(settings.client(), pull, display)
    except KeyboardInterrupt:
        display.close()
        pull_id = safe(pull["id"])
        raise CommandFailed(
            f"stopped waiting; the pull goes on: distctl show {pull_id} looks at it, distctl cancel {pull_id} stops it",
            EXIT_INTERRUPTED,
        ) from None
    finally:
        display.close()


def _show_detached(settings: Settings, pull: dict[str, Any]) -> None:
    if settings.json:
        document(pull)
        return
    if not settings.quiet:
        note(f"{name(pull)} is {pull['state']}: distctl show {safe(pull['id'])} looks at it")
    say(safe(pull["id"]))


def _end(settings: Settings, pull: dict[str, Any]) -> None:
    """Prints the result. Raises CommandFailed with the error's exit code unless all of it is complete."""
    if settings.json:
        document(pull)
    if pull["nodes"] and not settings.quiet and not settings.json:
        _note_nodes(pull["nodes"])
    if pull["state"] == "cancelled":
        raise CommandFailed(f"the pull of {name(pull)} was cancelled")
    if pull["state"] == "failed":
        error = pull["error"] or {"code": "internal", "title": "Failed", "detail": "without a reason"}
        code = EXIT_FAILED if pull["nodes"] else EXIT_CODES.get(error["code"], EXIT_FAILED)
        raise CommandFailed(f"{error['title']}: {error['detail']}", code)
    if not settings.quiet and not settings.json:
        note(summary(pull, _seconds(pull)))
    if not settings.json and pull["snapshot_path"] is not None:  # None: this node was not among the named
        say(safe(pull["snapshot_path"]))
    failed = [safe(node["name"]) for node in pull["nodes"] if node["state"] in ("failed", "cancelled")]
    if failed:
        raise CommandFailed(f"not complete on {', '.join(failed)}: distctl show {safe(pull['id'])} says why")


def _note_nodes(nodes: list[dict[str, Any]]) -> None:
    longest = max(columns_of(safe(node["name"])) for node in nodes)
    for node in nodes:
        note(node_summary(node, longest))


def _seconds(pull: dict[str, Any]) -> float | None:
    """From the start of the work to its end; None where the daemon does not say, or it took no time."""
    if not pull["started_at"] or not pull["finished_at"]:
        return None
    started, finished = (datetime.fromisoformat(pull[key]) for key in ("started_at", "finished_at"))
    return (finished - started).total_seconds() or None
