"""Cancel, pause and resume: three commands of one shape."""

from __future__ import annotations

import click

from distd.cli.options import Command, Settings, examples
from distd.cli.output import document, note
from distd.cli.progress import name


def steering_command(verb: str, help: str, method: str, rest: str) -> click.Command:
    """A command `VERB PULL` that asks `method /v1/pulls/{PULL}{rest}`. Idempotent, as the routes are."""

    @click.command(verb, cls=Command, help=help, epilog=examples(f"distctl {verb} 12-9f3c"))
    @click.argument("pull")
    @click.pass_obj
    def command(settings: Settings, pull: str) -> None:
        from distd.cli.client import pull_path

        changed = settings.client().call(method, pull_path(pull, rest))
        if settings.json:
            document(changed)
        elif not settings.quiet:
            note(f"{name(changed)} is {changed['state']}")

    return command
