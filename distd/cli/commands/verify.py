"""`distctl verify`: hash held files again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from distd.cli.options import Command, Settings, examples, parsed_repo, type_option
from distd.cli.output import document, note, say
from distd.cli.text import plural, safe, size
from distd.core.refs import Repo
from distd.errors import EXIT_HASH_MISMATCH

if TYPE_CHECKING:
    from distd.cli.client import Client


@click.command(cls=Command, epilog=examples("distctl verify", "distctl verify Qwen/Qwen3-32B"))
@click.argument("repo", metavar="[REPO[@REVISION]]", required=False)
@type_option
@click.pass_obj
def command(settings: Settings, repo: str | None, type_: str) -> None:
    """Hash held files again.

    All repos held, or the one named. Exits with 6 when a file lost its hash; it is then taken out of the
    store, and pulling fetches it again.
    """
    client = settings.client()
    reports = []
    for parsed, revision in _chosen(client, repo, type_):
        report = _verify(client, parsed, revision)
        reports.append(report)
        if not settings.json:
            _print(report, settings.quiet)
    if settings.json:
        document({"items": reports, "next": None})
    if any(report["bad"] for report in reports):
        raise click.exceptions.Exit(EXIT_HASH_MISMATCH)


def _chosen(client: Client, repo: str | None, type_: str) -> list[tuple[Repo, str | None]]:
    if repo is not None:
        return [parsed_repo(repo, type_)]
    held = client.items("/v1/models", {"limit": 1000})
    return [parsed_repo(model["repo"], model["type"]) for model in held]


def _verify(client: Client, repo: Repo, revision: str | None) -> dict[str, Any]:
    from distd.cli.client import model_path

    query = {"revision": revision} if revision else None
    # Without a time limit: hashing a large model takes minutes.
    return dict(client.call("POST", model_path(repo, "/verify"), query=query, timeout_s=None))


def _print(report: dict[str, Any], quiet: bool) -> None:
    for bad in report["bad"]:
        say(
            f"BAD {safe(report['repo'])} {safe(bad['path'])}: is {safe(bad['actual'])}, not {safe(bad['expected'])}"
        )
    if report["bad"]:
        note(f"distctl pull {safe(report['repo'])} fetches what was bad again")
    elif not quiet:
        say(f"ok  {safe(report['repo'])}: {plural(report['files'], 'file')}, {size(report['bytes'])}")
