"""`distctl limits`: the node's bandwidth limits, shown and set while it works."""

from __future__ import annotations

from typing import Any

import click

from distd.cli.options import Group, Settings, examples
from distd.cli.output import document, say, table
from distd.cli.text import safe
from distd.units import format_rate, parse_duration, parse_rate

PATH = "/v1/limits"
KEYS = ("hub_down", "hub_down_cluster", "peer_up", "peer_down")
CONFIGURED = "config"


@click.group(
    cls=Group,
    invoke_without_command=True,
    epilog=examples(
        "distctl limits",
        'distctl limits set hub_down="50 MB/s" --for 2h',
        "distctl limits set hub_down=config   # what the configuration says again",
    ),
)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Show or set the node's bandwidth limits.

    Without a subcommand: show.
    """
    if ctx.invoked_subcommand is None:
        _show(ctx.obj)


@command.command(epilog=examples("distctl limits show", "distctl limits show --json | jq .in_force"))
@click.pass_obj
def show(settings: Settings) -> None:
    """Say which limits hold, why, and until when."""
    _show(settings)


@command.command(
    "set",
    epilog=examples(
        'distctl limits set peer_up="1 Gbit/s" hub_down=0',
        "distctl limits set hub_down_cluster=200Mbit/s --for 8h",
        "distctl limits set hub_down=config",
    ),
)
@click.argument("changes", metavar="KEY=RATE...", nargs=-1, required=True)
@click.option("--for", "for_", metavar="DURATION", help="Only so long; else for good, restarts included.")
@click.pass_obj
def set_(settings: Settings, changes: tuple[str, ...], for_: str | None) -> None:
    """Set limits; transfers under way obey at once.

    KEY is hub_down, hub_down_cluster, peer_up or peer_down. RATE is as in the configuration, 0 for no limit, or
    `config` for what the configuration says. What is set comes before windows.
    """
    body: dict[str, Any] = {}
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals or key not in KEYS:
            raise click.UsageError(f"write KEY=RATE, with one of {', '.join(KEYS)}, not {change!r}")
        try:
            body[key] = None if text == CONFIGURED else parse_rate(text)
        except ValueError as error:
            raise click.UsageError(f"{key}: {error}, 0 for no limit, or {CONFIGURED}") from None
    if for_ is not None:
        try:
            body["for_s"] = parse_duration(for_)
        except ValueError as error:
            raise click.UsageError(f"--for: {error}") from None
    _print(settings, settings.client().call("PUT", PATH, body=body))


def _show(settings: Settings) -> None:
    _print(settings, settings.client().get(PATH))


def _print(settings: Settings, view: dict[str, Any]) -> None:
    if settings.json:
        document(view)
    elif settings.quiet:
        for key in KEYS:
            say(f"{key} {view['in_force'][key]}")
    else:
        table(["LIMIT", "NOW", "WHY"], [_row(view, key) for key in KEYS], numbers=["NOW"])
        for line in _notes(view):
            say(line)


def _row(view: dict[str, Any], key: str) -> list[str]:
    source = view["sources"][key]
    why = "configured" if source == "limits" else source
    if source == "set":
        until = view["set"][key]["until"]
        why = f"set until {until}" if until else "set"
    elif source.startswith("window "):
        window = view["windows"][int(source.removeprefix("window "))]
        days = ",".join(window["days"]) or "every day"
        why = f"window {days} {window['from']}-{window['to']} {window['tz']}"
    return [key, _rate(view["in_force"][key]), safe(why)]


def _notes(view: dict[str, Any]) -> list[str]:
    notes = []
    lowest = view["hub_down_cluster_lowest"]
    if lowest and lowest != view["in_force"]["hub_down_cluster"]:
        notes.append(f"the cluster's limit is {format_rate(lowest)}, the lowest among its members")
    if view["hub_down_now"]:
        notes.append(f"from the Hub this node may take {format_rate(view['hub_down_now'])} now")
    if view["next_change_at"]:
        notes.append(f"the limits change next at {view['next_change_at']}")
    return notes


def _rate(rate_bytes_per_s: int) -> str:
    return format_rate(rate_bytes_per_s) if rate_bytes_per_s else "none"
