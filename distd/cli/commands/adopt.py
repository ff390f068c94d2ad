"""`distctl adopt`: take over a Hugging Face cache."""

from __future__ import annotations

import os
from typing import Any

import click

from distd.cli.failures import CommandFailed
from distd.cli.options import Command, Settings, examples
from distd.cli.output import document, note, table
from distd.cli.text import safe, size


@click.command(
    cls=Command, epilog=examples("distctl adopt /data/huggingface/hub", "distctl adopt --copy /mnt/old/hub")
)
@click.argument("directory", metavar="DIR")
@click.option("--copy", is_flag=True, help="Copy what can be neither linked nor cloned.")
@click.pass_obj
def command(settings: Settings, directory: str, copy: bool) -> None:
    """Take over a Hugging Face cache on the daemon's machine.

    Every file is hashed, then linked or cloned into the store and published; nothing is downloaded. DIR has directories
    like models--org--name. Exits with 1 when something of it was not taken.
    """
    body = {"path": os.path.abspath(directory), "copy": copy}
    # Without a time limit: hashing a large cache takes its time.
    told = settings.client().call("POST", "/v1/adopt", body=body, timeout_s=None)
    if settings.json:
        document(told)
    elif not settings.quiet:
        rows = [_row(each) for each in told["snapshots"]]
        table(
            ["REPO", "TYPE", "COMMIT", "FILES", "LINKED", "CLONED", "COPIED", "HELD", "NOT TAKEN"],
            rows,
            numbers=["FILES", "LINKED", "CLONED", "COPIED", "HELD", "NOT TAKEN"],
        )
    for each in told["snapshots"]:
        if each["reason"]:
            named = f" ({', '.join(map(safe, each['wrong']))})" if each["wrong"] else ""
            note(f"distctl: {safe(each['repo'])}@{each['commit'][:12]}: {safe(each['reason'])}{named}")
    if any(each["reason"] for each in told["snapshots"]):
        raise CommandFailed("")


def _row(each: dict[str, Any]) -> list[str]:
    ways = ("linked", "cloned", "copied", "held", "not_taken")
    sizes = [size(each[f"bytes_{way}"]) for way in ways]
    return [safe(each["repo"]), each["type"], each["commit"][:12], str(each["files"]), *sizes]
