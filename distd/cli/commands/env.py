"""`distctl env`: the variables with which a model server loads a held snapshot, offline."""

from __future__ import annotations

import os
import shlex

import click

from distd.cli.held import DEFAULT_REVISION, held_revision
from distd.cli.options import Command, Settings, examples, parsed_repo, repo_argument
from distd.cli.output import document, say
from distd.cli.serving import SERVERS, Snapshot, serving
from distd.cli.text import safe


@click.command(
    cls=Command,
    epilog=examples(
        'eval "$(distctl env --export Qwen/Qwen3-32B)"; vllm serve "$DISTD_MODEL"',
        "distctl env --for vllm Qwen/Qwen3-32B > /run/vllm.env",
        "distctl env --for docker Qwen/Qwen3-32B@refs/pr/1",
    ),
)
@repo_argument
@click.option("--for", "server", type=click.Choice(SERVERS), help="What is to load it.")
@click.option("--export", is_flag=True, help="Lines for a shell's eval.")
@click.pass_obj
def command(settings: Settings, repo: str, type_: str, server: str | None, export: bool) -> None:
    """Print the environment with which a model server loads a held repo.

    One NAME=value a line, for EnvironmentFile= and docker --env-file too; comments say how it is used.
    $DISTD_MODEL is the snapshot of the commit that is held now. Exits with 4 when it is not held.
    """
    from distd.cli.client import model_path

    parsed, revision = parsed_repo(repo, type_)
    client = settings.client()
    wanted = revision or DEFAULT_REVISION
    held = held_revision(client.get(model_path(parsed), {"use": wanted}), wanted)
    hub_dir = client.get("/v1/status")["cache"]["hub_dir"]
    path = held["snapshot_path"]
    found = serving(Snapshot(parsed.id, held["commit"], path, hub_dir), server, _files(path), _group(hub_dir))
    if settings.json:
        document({"variables": found.variables, "command": found.command, "remarks": found.remarks})
        return
    if not settings.quiet:
        for remark in [*found.remarks, *filter(None, [found.command])]:
            say(f"# {safe(remark)}")
    for name, value in found.variables.items():
        # A docker env file knows no quotes: they appear only where a shell needs them.
        say(f"{'export ' if export else ''}{name}={shlex.quote(safe(value))}")


def _files(snapshot_path: str) -> list[str] | None:
    """Names below the snapshot; None where this user may not look, or the daemon is on another host."""
    try:
        os.listdir(snapshot_path)
    except OSError:
        return None
    return [
        os.path.relpath(os.path.join(directory, name), snapshot_path)
        for directory, _, names in os.walk(snapshot_path)
        for name in names
    ]


def _group(hub_dir: str) -> int | None:
    try:
        return os.stat(hub_dir).st_gid
    except OSError:
        return None
