"""Options that every command shares, accepted before and after the command's name.

`distctl --json ls` and `distctl ls --json` are the same; the one nearer to the end wins.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from distd.cli.target import BadTarget, choose_target

if TYPE_CHECKING:
    from distd.cli.client import Client
    from distd.core.refs import Repo


@dataclass(slots=True)
class Settings:
    """The shared options of this run."""

    url: str | None = None
    socket: str | None = None
    json: bool = False
    quiet: bool = False

    def client(self) -> Client:
        from distd.cli.client import Client

        try:
            return Client(choose_target(self.url, self.socket, os.environ))
        except BadTarget as error:
            raise click.UsageError(str(error)) from None


class Command(click.Command):
    """A command that takes the shared options too. Its callback gets the Settings first."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.params.extend(shared_options())


class Group(click.Group):
    """A group that takes the shared options too, and suggests what a mistyped command meant."""

    command_class = Command

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.params.extend(shared_options())

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name in self.list_commands(ctx) or name.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        from difflib import get_close_matches

        near = get_close_matches(name, self.list_commands(ctx))
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise click.UsageError(f"No such command {name!r}.{hint}", ctx)


def shared_options() -> list[click.Option]:
    def option(*names: str, help: str, **attributes: Any) -> click.Option:
        return click.Option(names, help=help, expose_value=False, callback=_remember, **attributes)

    return [
        option("--url", metavar="URL", help="The daemon's address [$DISTD_URL]."),
        option("--socket", metavar="PATH", help="The daemon's unix socket [$DISTD_SOCKET]."),
        option("--json", is_flag=True, help="One JSON document on stdout."),
        option("-q", "--quiet", is_flag=True, help="Only what a script needs."),
    ]


def _remember(ctx: click.Context, option: click.Parameter, value: Any) -> None:
    settings = ctx.ensure_object(Settings)
    if value and option.name:
        setattr(settings, option.name, value)


def examples(*lines: str) -> str:
    """The end of a command's help."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def repo_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """`REPO[@REVISION]` and `--type`: arguments `repo` and `type_` for `parsed_repo`."""
    function = type_option(function)
    return click.argument("repo", metavar="REPO[@REVISION]")(function)


def type_option(function: Callable[..., Any]) -> Callable[..., Any]:
    from distd.core.refs import REPO_TYPES

    return click.option(
        "--type", "type_", type=click.Choice(REPO_TYPES), default="model", help="Kind of repo [model]."
    )(function)


def parsed_repo(text: str, type_: str) -> tuple[Repo, str | None]:
    """The repo, and the revision where one is named. Raises InvalidRequest."""
    from distd.core.refs import parse_ref

    ref = parse_ref(text, type_)
    return ref.repo, ref.revision if "@" in text else None


class Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from distd.units import parse_duration

        if isinstance(value, float):
            return value
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
