"""`distctl gc`: make room in the cache."""

from __future__ import annotations

from typing import Any

import click

from distd.cli.options import Command, Settings, examples
from distd.cli.output import document, note, say, table
from distd.cli.text import plural, safe, size
from distd.errors import EXIT_NO_SPACE


@click.command(cls=Command, epilog=examples("distctl gc --dry-run", "distctl gc --free 200GB"))
@click.option("--dry-run", is_flag=True, help="Only say what would go, and what stays and why.")
@click.option("--free", "wanted", metavar="SIZE", help="Free at least so much.")
@click.pass_obj
def command(settings: Settings, dry_run: bool, wanted: str | None) -> None:
    """Make room in the cache.

    Removes blobs that no snapshot has any more, and then, least recently used first, as many snapshots as
    cache.max_bytes, cache.min_free_bytes or --free demand. Never what is pinned, being pulled, open in a program, being
    sent to members or used within the last hour. Exits with 7 when that is not enough.
    """
    from distd.units import parse_size

    try:
        free_bytes = parse_size(wanted) if wanted else 0
    except ValueError as error:
        raise click.UsageError(f"--free: {error}") from None
    # Without a time limit: blocks of large files take their time to be freed.
    body = {"dry_run": dry_run, "free_bytes": free_bytes}
    told = settings.client().call("POST", "/v1/gc", body=body, timeout_s=None)
    if settings.json:
        document(told)
    elif settings.quiet:
        say(str(told["freed_bytes"]))
    else:
        _print(told)
    if not told["enough"]:
        raise click.exceptions.Exit(EXIT_NO_SPACE)


def _print(told: dict[str, Any]) -> None:
    rows = [[*_names(each), "evicted", each["last_used_at"] or "never"] for each in told["evicted"]]
    rows += [[*_names(each), f"kept: {safe(each['reason'])}", ""] for each in told["kept"]]
    if rows:
        table(["REPO", "TYPE", "COMMIT", "SIZE", "", "LAST USED"], rows, numbers=["SIZE"])
    would = "would go" if told["dry_run"] else "gone"
    if told["unpublished_blobs"]:
        say(
            f"{plural(told['unpublished_blobs'], 'blob')} of no snapshot, {size(told['unpublished_bytes'])}: {would}"
        )
    if told["parts"]:
        say(f"{plural(told['parts'], 'begun blob')} that no pull wants: {would}")
    say(f"{size(told['freed_bytes'])} {'would come free' if told['dry_run'] else 'came free'}")
    if not told["enough"]:
        note("distctl: not enough: what is left is pinned or in use")
    if not told["reads_known"]:
        note("distctl: the disk keeps no access times (noatime): reads are known only while a file is open")


def _names(each: dict[str, Any]) -> list[str]:
    return [safe(each["repo"]), each["type"], each["commit"][:12], size(each["bytes"])]
