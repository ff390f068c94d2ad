"""Pin and unpin: two commands of one shape."""

from __future__ import annotations

import click

from distd.cli.fleet import CHANGE_TIMEOUT_S, audience, nodes_options, report_changes
from distd.cli.options import Command, Settings, examples, parsed_repo, repo_argument
from distd.cli.output import document, note


def pinning_command(verb: str, help: str, method: str) -> click.Command:
    """A command `VERB REPO[@REVISION]`. Idempotent, as the route is."""

    @click.command(
        verb,
        cls=Command,
        help=help,
        epilog=examples(f"distctl {verb} Qwen/Qwen3-32B", f"distctl {verb} --nodes all Qwen/Qwen3-32B"),
    )
    @repo_argument
    @nodes_options
    @click.pass_obj
    def command(settings: Settings, repo: str, type_: str, nodes: str | None, zone: str | None) -> None:
        from distd.cli.client import model_path

        parsed, revision = parsed_repo(repo, type_)
        query = {"revision": revision} if revision else {}
        if (meant := audience(nodes, zone)) is not None:
            path = model_path(parsed, "/pin")
            rows = settings.client().call(method, path, query=query | meant, timeout_s=CHANGE_TIMEOUT_S)
            report_changes(
                rows["items"], f"{verb}ning", lambda _: f"{verb}ned", json=settings.json, quiet=settings.quiet
            )
            return
        model = settings.client().call(method, model_path(parsed, "/pin"), query=query)
        if settings.json:
            document(model)
        elif not settings.quiet:
            note(f"{parsed}{f'@{revision}' if revision else ''} is {verb}ned")

    return command
