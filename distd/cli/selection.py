"""What to pull: repo, revision and the choice of files, shared by `pull` and `plan`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from distd.cli.options import repo_argument
from distd.core.refs import parse_ref

WEIGHTS = ("auto", "all", "safetensors", "gguf", "bin", "pth")
"""As `distd.api.schema.Weights`, which is not imported for its cost; a test holds the two equal."""


def selection_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds repo and selection; the callback hands its keywords on to `selection`."""
    for add in reversed(
        [
            repo_argument,
            click.option("--revision", metavar="R", help="Branch, tag, refs/pr/N or commit [main]."),
            click.option(
                "--include", multiple=True, metavar="GLOB", help="Only files that match; repeatable."
            ),
            click.option("--exclude", multiple=True, metavar="GLOB", help="No files that match; repeatable."),
            click.option("--weights", type=click.Choice(WEIGHTS), help="Which format of weights [auto]."),
        ]
    ):
        function = add(function)
    return function


def selection(
    repo: str,
    type_: str,
    revision: str | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    weights: str | None,
) -> dict[str, Any]:
    """The fields of a pull request; what was not given is left to the daemon. Raises InvalidRequest."""
    ref = parse_ref(repo, type_, revision)
    fields: dict[str, Any] = {"repo": ref.repo.id, "type": ref.repo.type, "revision": ref.revision}
    given = {"include": list(include), "exclude": list(exclude), "weights": weights}
    return fields | {name: value for name, value in given.items() if value}
