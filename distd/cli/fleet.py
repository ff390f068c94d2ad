"""`--nodes` and `--zone`: the same command on several members, a line for each, and what failed in the exit code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from distd.cli.failures import CommandFailed
from distd.cli.output import document, note
from distd.cli.text import columns_of, pad, safe

CHANGE_TIMEOUT_S = 240.0
"""More than the daemon takes for all nodes together."""


def nodes_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Parameters `nodes` and `zone`, for `audience`."""
    function = click.option("--zone", metavar="Z", help="The members of this zone.")(function)
    return click.option("--nodes", metavar="all|NAME,...", help="These members instead of this node.")(
        function
    )


def audience(nodes: str | None, zone: str | None) -> dict[str, str] | None:
    """The query that means these members; None when only this node is meant."""
    words = [word.strip() for word in (nodes or "").split(",") if word.strip()]
    if nodes is not None and not words:
        raise click.BadParameter("name members with commas between, or all", param_hint="--nodes")
    query = {"nodes": ",".join(words)} if words else {}
    return query | ({"zone": zone} if zone is not None else {}) or None


def trouble(row: dict[str, Any]) -> str:
    """Why a node's row has no answer; empty when it has one."""
    error = row["error"]
    return f"{safe(error['title'])}: {safe(error['detail'])}" if error else ""


def end(rows: Sequence[dict[str, Any]], what: str) -> None:
    """Raises CommandFailed unless every node did it."""
    failed = [safe(row["name"]) for row in rows if row["error"]]
    if failed:
        raise CommandFailed(f"{what} failed on {len(failed)} of {len(rows)} nodes: {', '.join(failed)}")


def report_changes(
    rows: Sequence[dict[str, Any]],
    what: str,
    done: Callable[[dict[str, Any]], str],
    *,
    json: bool,
    quiet: bool,
) -> None:
    """A line a node on stderr, or the rows as JSON; then as `end`."""
    if json:
        document({"items": list(rows), "next": None})
    else:
        longest = max(columns_of(safe(row["name"])) for row in rows)
        for row in rows:
            if row["error"] or not quiet:
                note(f"{pad(safe(row['name']), longest)}  {trouble(row) or done(row)}")
    end(rows, what)
