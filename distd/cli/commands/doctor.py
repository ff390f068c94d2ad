"""`distctl doctor`: what is wrong, and how to fix it."""

from __future__ import annotations

import click

from distd.cli.options import Command, Settings, examples
from distd.cli.output import document, say
from distd.cli.text import safe
from distd.errors import EXIT_FAILED


@click.command(cls=Command, epilog=examples("distctl doctor", "distctl doctor --json"))
@click.pass_obj
def command(settings: Settings) -> None:
    """Look for what is wrong and how to fix it.

    Looks from outside (is the daemon there, is its configuration valid) and asks the daemon to look at
    itself. Exits with 1 when something fails.
    """
    from distd.cli.diagnosis import diagnose

    findings = diagnose(settings.client())
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
