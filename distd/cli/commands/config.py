"""`distctl config`: the daemon's configuration, read and checked here without asking it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from distd.cli.failures import CommandFailed
from distd.cli.options import Group, Settings, examples
from distd.cli.output import document, say
from distd.cli.text import safe_lines
from distd.errors import EXIT_USAGE

if TYPE_CHECKING:
    from distd.config import Config


def _sources(function: Callable[..., Any]) -> Callable[..., Any]:
    function = click.option(
        "--set", "settings_", multiple=True, metavar="SECTION.KEY=VALUE", help="Override a key; repeatable."
    )(function)
    return click.option("--config", "file", metavar="FILE", help="Instead of $DISTD_CONFIG.")(function)


@click.group(
    cls=Group,
    epilog=examples("distctl config check", "distctl config show --config ./config.toml"),
)
def command() -> None:
    """Check or show the daemon's configuration.

    Defaults, the file, the environment and --set, as distd itself would read them here and now.
    """


@command.command(epilog=examples("distctl config check --set hub.connections=16"))
@_sources
@click.pass_obj
def check(settings: Settings, file: str | None, settings_: tuple[str, ...]) -> None:
    """Say everything that is wrong with it.

    Exits with 2 when there is something.
    """
    _load(file, settings_)
    if settings.json:
        document({"valid": True})
    elif not settings.quiet:
        say("the configuration is valid")


@command.command(epilog=examples("distctl config show --json | jq .cache"))
@_sources
@click.pass_obj
def show(settings: Settings, file: str | None, settings_: tuple[str, ...]) -> None:
    """Print every key with the value in force."""
    from msgspec import structs, to_builtins

    from distd.config.show import config_as_toml

    config = _load(file, settings_)
    # Both default to a directory below state_dir; what is shown is where they are.
    cache = structs.replace(config.cache, hub_dir=config.hub_dir, store_dir=config.store_dir)
    config = structs.replace(config, cache=cache)
    if settings.json:
        document(to_builtins(config))
    else:
        say(safe_lines(config_as_toml(config)))


def _load(file: str | None, settings: tuple[str, ...]) -> Config:
    from distd.config import ConfigError, load_config

    try:
        return load_config(file, settings)
    except ConfigError as error:
        raise CommandFailed(f"the configuration is not valid\n{error}", EXIT_USAGE) from None
