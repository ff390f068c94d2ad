"""`distctl wait`: until a repo is published, here or on other nodes; for what has to start after it."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from distd.cli.events import Follower
from distd.cli.failures import CommandFailed, DaemonUnreachable, ProblemAnswered
from distd.cli.held import DEFAULT_REVISION, find_revision
from distd.cli.options import Command, Duration, Settings, examples, parsed_repo, repo_argument
from distd.cli.output import document, note, say
from distd.cli.text import format_percent, safe
from distd.errors import EXIT_TIMED_OUT

if TYPE_CHECKING:
    from distd.cli.client import Client
    from distd.core.refs import Repo

FIRST_PAUSE_S = 0.1
PAUSE_MAX_S = 2.0
"""Between questions: a model server that starts two seconds later than it could loses nothing beside its loading."""
PAUSE_GROWTH = 1.5
TOLD_PAUSE_S = 5.0
"""While the node tells what its pulls do: for what it gets otherwise, by `distctl import` for instance."""
FINISHED = ("complete", "failed", "cancelled")
ASK_TIMEOUT_S = 10.0
NOTE_INTERVAL_S = 10.0
"""Between notes whose numbers alone changed."""


@click.command(
    cls=Command,
    epilog=examples(
        "distctl wait Qwen/Qwen3-32B",
        "distctl wait --timeout 2h openai/gpt-oss-120b",
        "distctl wait --nodes all openai/gpt-oss-120b",
        "ExecStartPre=/usr/bin/distctl wait --quiet --timeout 4h org/name",
    ),
)
@repo_argument
@click.option("--timeout", "timeout_s", type=Duration(), metavar="D", help="Give up after this long, as 30m.")
@click.option("--nodes", metavar="all|NAME,...", help="Until it is published on these members.")
@click.pass_obj
def command(settings: Settings, repo: str, type_: str, timeout_s: float | None, nodes: str | None) -> None:
    """Wait until a repo is published.

    Starts no pull. Waits for the daemon too, so that it may stand in a unit that starts beside it. Prints
    the path of the snapshot when this node has it. Exits with 9 after --timeout; without it there is no end.
    """
    parsed, named = parsed_repo(repo, type_)
    revision = named or DEFAULT_REVISION
    wanted = [word.strip() for word in (nodes or "").split(",") if word.strip()]
    client = settings.client()
    notes = _Notes(settings.quiet)
    give_up_at = time.monotonic() + timeout_s if timeout_s is not None else None
    pause_s = FIRST_PAUSE_S
    # What other nodes have published is not in this one's stream.
    with Follower(client, "/v1/events") if not wanted else nullcontext() as follower:
        while True:
            try:
                held, missing = _look(client, parsed, revision, wanted)
            except DaemonUnreachable as error:
                held, missing = None, str(error)
            if not missing:
                break
            notes.tell(missing)
            left_s = give_up_at - time.monotonic() if give_up_at is not None else TOLD_PAUSE_S
            if left_s <= 0:
                what = f"{safe(parsed.id)}@{safe(revision)}"
                raise CommandFailed(f"timed out waiting for {what}: {missing}", EXIT_TIMED_OUT)
            _pause(follower, parsed, pause_s, left_s)
            pause_s = min(pause_s * PAUSE_GROWTH, PAUSE_MAX_S)
    if settings.json:
        document(held)
    elif held is not None:
        say(safe(held["snapshot_path"]))


def _pause(follower: Follower | None, repo: Repo, pause_s: float, left_s: float) -> None:
    """Until the node says that a pull of the repo has ended; where it says nothing by itself, for the pause."""
    began = time.monotonic()
    while True:
        is_told = follower is not None and follower.is_open
        due_s = min(TOLD_PAUSE_S if is_told else pause_s, left_s) - (time.monotonic() - began)
        if due_s <= 0:
            return
        event = follower.next(due_s) if follower is not None else None
        if event is None and not (follower is not None and follower.is_open):
            time.sleep(min(due_s, pause_s))
            return
        if event and event.kind == "pull" and _is_end(event.data, repo):
            return


def _is_end(pull: dict[str, Any], repo: Repo) -> bool:
    return pull["state"] in FINISHED and (pull["type"], pull["repo"]) == (repo.type, repo.id)


def _look(client: Client, repo: Repo, revision: str, nodes: list[str]) -> tuple[dict[str, Any] | None, str]:
    """What this node holds, and what is still missing in words, empty when nothing is."""
    from distd.cli.client import model_path

    held: dict[str, Any] | None = None
    try:
        held = find_revision(client.get(model_path(repo), {"use": revision}, ASK_TIMEOUT_S), revision)
    except ProblemAnswered as error:
        if error.code != "not_found":
            raise
    if nodes:
        query = {"revision": revision}
        members = client.get(model_path(repo, "/nodes"), query, ASK_TIMEOUT_S)["items"]
        return held, _missing_on(members, nodes)
    return held, "" if held is not None else _progress(client, repo, revision)


def _missing_on(members: list[dict[str, Any]], nodes: list[str]) -> str:
    """`all` means those that are alive now, as for `pull --nodes`."""
    by_name = {member["name"]: member for member in members}
    if nodes == ["all"]:
        nodes = [name for name, member in by_name.items() if member["state"] in ("alive", "suspect")]
    lacking = []
    for name in nodes:
        if name not in by_name:
            lacking.append(f"{safe(name)} (no such member)")
        elif by_name[name]["commit"] is None:
            trouble = by_name[name]["trouble"]
            lacking.append(f"{safe(name)} ({safe(trouble)})" if trouble else safe(name))
    return f"not yet on {', '.join(lacking)}" if lacking else ""


def _progress(client: Client, repo: Repo, revision: str) -> str:
    for pull in client.get("/v1/status", timeout_s=ASK_TIMEOUT_S)["active_pulls"]:
        if (pull["type"], pull["repo"]) == (repo.type, repo.id) and revision in (
            pull["revision"],
            pull["commit"],
        ):
            share = ""
            if pull["bytes_total"]:
                share = f" {format_percent(pull['bytes_done'], pull['bytes_total'])}"
            return f"its pull is {safe(pull['state'])}{share}"
    return f"nobody pulls it here: distctl pull {safe(repo.id)} does"


class _Notes:
    """What is waited for, on stderr: at each change of words, and every ten seconds when numbers changed."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._told = ""
        self._told_at = 0.0

    def tell(self, text: str) -> None:
        now = time.monotonic()
        changed = _words(text) != _words(self._told)
        if self._quiet or not (changed or (text != self._told and now - self._told_at >= NOTE_INTERVAL_S)):
            return
        self._told, self._told_at = text, now
        note(f"waiting: {text}")


def _words(text: str) -> str:
    return "".join(c for c in text if not c.isdecimal())
