"""`distctl completion`: scripts that complete commands and options in a shell."""

from __future__ import annotations

import click

from distd.cli.options import Command, examples
from distd.cli.output import say


@click.command(
    cls=Command,
    epilog=examples(
        'eval "$(distctl completion bash)"',
        "distctl completion bash > /etc/bash_completion.d/distctl",
        "distctl completion fish > ~/.config/fish/completions/distctl.fish",
    ),
)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    completion = get_completion_class(shell)
    assert completion is not None
    say(completion(ctx.find_root().command, {}, "distctl", "_DISTCTL_COMPLETE").source())
