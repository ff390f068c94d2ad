"""`distctl doctor`: what is wrong, and how to fix it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from distd.cli.failures import CommandFailed
from distd.cli.options import Command, Settings, examples
from distd.cli.output import document, note, say
from distd.cli.text import safe
from distd.errors import EXIT_FAILED

if TYPE_CHECKING:
    from distd.cli.client import Client
    from distd.cli.diagnosis import Finding


@click.command(
    cls=Command,
    epilog=examples(
        "distctl doctor", "distctl doctor --json", "sudo distctl doctor --bundle /tmp/distd.tar.gz"
    ),
)
@click.option("--bundle", metavar="FILE", help="Also write a support archive, secrets removed.")
@click.pass_obj
def command(settings: Settings, bundle: str | None) -> None:
    """Look for what is wrong and how to fix it.

    Looks from outside (is the daemon there, is its configuration valid) and asks the daemon to look at
    itself. Exits with 1 when something fails.

    The archive of --bundle has the findings, the configuration, what the daemon tells of itself and of
    its last pulls, and its log; names of repos and hosts are in it, tokens and secrets are not.
    """
    from distd.cli.diagnosis import diagnose

    client = settings.client()
    findings = diagnose(client)
    if bundle is not None:
        _bundle(settings, bundle, client, findings)
    failed = any(found.outcome == "fail" for found in findings)
    if settings.json:
        document({"ok": not failed, "findings": [found.as_dict() for found in findings]})
    else:
        width = max(len(found.name) for found in findings)
        for found in findings:
            if settings.quiet and found.outcome == "ok":
                continue
            say(f"{found.outcome:<4}  {safe(found.name):<{width}}  {safe(found.detail)}")
            if found.fix and found.outcome != "ok":
                say(f"{'':<{width + 4}}  fix: {safe(found.fix)}")
    if failed:
        raise click.exceptions.Exit(EXIT_FAILED)


def _bundle(settings: Settings, path: str, client: Client, findings: list[Finding]) -> None:
    from distd.cli.bundle import write_bundle

    try:
        names = write_bundle(path, client, findings)
    except FileExistsError:
        raise CommandFailed(f"{path} is there already: name another file") from None
    if not settings.quiet:
        note(f"{path}: {len(names)} texts, readable by this user alone; look through it before you send it")
