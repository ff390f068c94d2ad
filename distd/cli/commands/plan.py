"""`distctl plan`: what a pull would do."""

from __future__ import annotations

from typing import Any

import click

from distd.cli.options import Command, Settings, examples
from distd.cli.output import document, say, table
from distd.cli.selection import selection, selection_options
from distd.cli.text import format_between, limit_word, plural, safe, size
from distd.errors import EXIT_NO_SPACE


@click.command(
    cls=Command,
    epilog=examples(
        "distctl plan Qwen/Qwen3-32B", "distctl plan unsloth/Qwen3-32B-GGUF --include '*Q4_K_M*'"
    ),
)
@selection_options
@click.pass_obj
def command(settings: Settings, /, **selected: Any) -> None:
    """Show what a pull would fetch, without pulling.

    Exits with 7 when it would not fit on the disk.
    """
    from distd.cli.client import HUB_TIMEOUT_S

    plan = settings.client().get("/v1/plan", selection(**selected), timeout_s=HUB_TIMEOUT_S)
    if settings.json:
        document(plan)
    elif settings.quiet:
        say(str(plan["bytes_from_hub"] + plan["bytes_from_peers"]))
    else:
        _print(plan)
    if not plan["disk"]["fits"]:
        raise click.exceptions.Exit(EXIT_NO_SPACE)


def _print(plan: dict[str, Any]) -> None:
    table(
        ["FILE", "SIZE", "HELD"],
        [[file["path"], size(file["size"]), size(file["bytes_held"])] for file in plan["files"]],
        numbers=["SIZE", "HELD"],
    )
    disk = plan["disk"]
    say()
    say(f"{safe(plan['repo'])}@{safe(plan['revision'])} is commit {safe(plan['commit'])}")
    say(f"{plural(len(plan['files']), 'file')}, {size(plan['bytes_total'])}, weights: {plan['weights']}")
    say(
        f"  from the Hub {size(plan['bytes_from_hub'])}, from peers {size(plan['bytes_from_peers'])},"
        f" held already {size(plan['bytes_reused'])}"
    )
    if plan["left_out"]:
        say(
            f"  left out {plural(len(plan['left_out']), 'file')}, {size(plan['bytes_left_out'])}: {_reasons(plan)}"
        )
    say(
        f"  disk {safe(disk['path'])}: {size(disk['free_bytes'])} free, {size(disk['free_bytes_after'])} after"
    )
    if disk["evicts_bytes"]:
        say(f"  evicts {size(disk['evicts_bytes'])} of what was not used for longest (distctl gc --dry-run)")
    if not disk["fits"]:
        say(f"  does not fit: {size(disk['reserve_bytes'])} stay reserved (cache.min_free_bytes)")
    say(f"  time {_time(plan)}")


def _reasons(plan: dict[str, Any]) -> str:
    return "; ".join(dict.fromkeys(safe(file["reason"]) for file in plan["left_out"]))


def _time(plan: dict[str, Any]) -> str:
    if plan["eta_s"] is None:
        return f"unknown: {safe(plan['unknown_reason'] or 'nothing was measured yet')}"
    limit = limit_word(plan["limited_by"])
    between = format_between(plan["eta_s"], plan["eta_low_s"], plan["eta_high_s"])
    return f"{between}, limited by {limit}" if limit else between
