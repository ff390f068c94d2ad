"""`distctl peers`: the members of the cluster."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import click

from distd.cli.failures import CommandFailed
from distd.cli.fleet import audience, nodes_options, report_changes
from distd.cli.options import Duration, Group, Settings, examples
from distd.cli.output import document, note, say, table
from distd.cli.text import safe, size
from distd.errors import EXIT_FAILED, EXIT_TIMED_OUT
from distd.units import format_duration, format_rate

DRAIN_LOOKED_AT_S = 1.0


@click.group(
    cls=Group,
    invoke_without_command=True,
    epilog=examples(
        "distctl peers",
        "distctl peers --json | jq '.items[].name'",
        "distctl peers ban --nodes all --reason 'bad DIMM' gpu-17",
        "distctl peers drain --wait gpu-17",
        "distctl peers forget gpu-17",
    ),
)
@click.pass_context
def command(ctx: click.Context) -> None:
    """List the members of the cluster.

    With zone, state, round trip, and what flows between them and this node. Without a subcommand: list.
    """
    if ctx.invoked_subcommand is None:
        _list(ctx.obj)


@command.command(epilog=examples("distctl peers ban --nodes all --reason 'bad DIMM' gpu-17"))
@click.argument("member")
@click.option("--reason", metavar="TEXT", default="", help="Why; it is told to the member too.")
@nodes_options
@click.pass_obj
def ban(settings: Settings, member: str, reason: str, nodes: str | None, zone: str | None) -> None:
    """Have nothing to do with a member any more.

    Its requests are refused, it leads nothing and gets no lease here, and no connection is made to it. Holds until
    `unban`, restarts included, on this node; with --nodes or --zone on these members instead.
    """
    meant = audience(nodes, zone)
    answered = settings.client().call("PUT", _path(member, "/ban"), query=meant, body={"reason": reason})
    _changed(settings, answered, meant, "banning", f"{member} is banned")
    if meant is None and not settings.json and not settings.quiet:
        note("on this node alone: --nodes all does it on every member")


@command.command(epilog=examples("distctl peers unban --nodes all gpu-17"))
@click.argument("member")
@nodes_options
@click.pass_obj
def unban(settings: Settings, member: str, nodes: str | None, zone: str | None) -> None:
    """Let a banned member back: on this node, or on those of --nodes or --zone."""
    meant = audience(nodes, zone)
    answered = settings.client().call("DELETE", _path(member, "/ban"), query=meant)
    _changed(settings, answered, meant, "unbanning", f"{member} is not banned")


@command.command(epilog=examples("distctl peers recheck gpu-17"))
@click.argument("member")
@click.pass_obj
def recheck(settings: Settings, member: str) -> None:
    """Ask a member that was banned on evidence for copies again, and let it back when all are right.

    On this node. It happens by itself too, an hour after the ban and ever more seldom. Exits with 1 when it stays banned.
    """
    answered = settings.client().call("POST", _path(member, "/recheck"))
    if settings.json:
        document(answered)
    elif settings.quiet:
        say(answered["verdict"])
    else:
        word = "stays banned" if answered["ban"] else "is not banned any more"
        note(f"{safe(member)} {word}: {safe(answered['text'])}")
    if answered["ban"]:
        raise click.exceptions.Exit(EXIT_FAILED)


@command.command(epilog=examples("distctl peers bans"))
@click.pass_obj
def bans(settings: Settings) -> None:
    """List who is banned on this node, by whom and why."""
    found = list(settings.client().items("/v1/bans", {"limit": 1000}))
    if settings.json:
        document({"items": found, "next": None})
    elif settings.quiet:
        for each in found:
            say(safe(each["member"]))
    else:
        rows = [[each["member"], each["by"], each["since"], each["reason"]] for each in found]
        table(["MEMBER", "BY", "SINCE", "REASON"], rows)


@command.command(
    epilog=examples("distctl peers drain gpu-17", "distctl peers drain --wait --timeout 2h gpu-17")
)
@click.argument("node", required=False)
@click.option("--wait", is_flag=True, help="Until nothing is left to do there.")
@click.option(
    "--timeout",
    "timeout_s",
    type=Duration(),
    metavar="D",
    help="With --wait: give up after this long, as 30m.",
)
@click.pass_obj
def drain(settings: Settings, node: str | None, wait: bool, timeout_s: float | None) -> None:
    """Take a node out of service, this one where none is named.

    It takes no new pulls and fetches nothing more from the Hub, others leave it alone, and what only it has is given to others.
    Asked again, it tells how far that is. Holds until `undrain`, restarts included. Exits with 9 after --timeout.
    """
    client = settings.client()
    path = _path(node or str(client.get("/v1/status")["node"]), "/drain")
    view = client.call("PUT", path)
    give_up_at = time.monotonic() + timeout_s if timeout_s is not None else None
    while wait and view["state"] == "draining":
        if give_up_at is not None and time.monotonic() >= give_up_at:
            _drained(settings, view)
            raise CommandFailed(f"{view['node']} is not drained within the time given", EXIT_TIMED_OUT)
        time.sleep(DRAIN_LOOKED_AT_S)
        view = client.get(path)
    _drained(settings, view)


@command.command(epilog=examples("distctl peers undrain gpu-17"))
@click.argument("node", required=False)
@click.pass_obj
def undrain(settings: Settings, node: str | None) -> None:
    """Take a node back into service, this one where none is named.

    Pulls that were paused there because it left go on.
    """
    client = settings.client()
    _drained(settings, client.call("DELETE", _path(node or str(client.get("/v1/status")["node"]), "/drain")))


def _drained(settings: Settings, view: dict[str, Any]) -> None:
    if settings.json:
        document(view)
        return
    if settings.quiet:
        say(view["state"])
        return
    note(f"{safe(view['node'])} is {view['state'].replace('_', ' ')}")
    if view["pulls"]:
        note(f"  pulls that go on with others: {', '.join(view['pulls'])}")
    if view["paused"]:
        note(f"  paused until it is back in service: {', '.join(view['paused'])}")
    for each in view["only_here"]:
        where = f"given to {each['to']}" if each["to"] else each["trouble"] or "waiting"
        note(
            f"  only there: {safe(each['repo'])}@{each['commit'][:12]}, {size(each['bytes'])}: {safe(where)}"
        )


@command.command(epilog=examples("distctl peers forget gpu-17"))
@click.argument("member")
@click.pass_obj
def forget(settings: Settings, member: str) -> None:
    """Drop a dead member that will not be back from every member's list.

    One that is there after all is listed again when it is heard.
    """
    answered = settings.client().call("DELETE", _path(member))
    if settings.json:
        document(answered)
    elif not settings.quiet:
        note(f"{safe(member)} is forgotten")


def _path(member: str, rest: str = "") -> str:
    return f"/v1/peers/{quote(member, safe='')}{rest}"


def _changed(settings: Settings, answered: Any, meant: Any, what: str, done: str) -> None:
    if meant is not None:
        report_changes(
            answered["items"], what, lambda _: safe(done), json=settings.json, quiet=settings.quiet
        )
    elif settings.json:
        document(answered)
    elif not settings.quiet:
        note(safe(done))


def _list(settings: Settings) -> None:
    peers = list(settings.client().items("/v1/peers", {"limit": 1000}))
    if settings.json:
        document({"items": peers, "next": None})
    elif settings.quiet:
        for peer in peers:
            say(safe(peer["name"]))
    else:
        now = datetime.now(UTC)
        numbers = ["RTT", "RECEIVES", "SENDS", "RECEIVED", "SENT"]
        table(
            ["NAME", "ZONE", "STATE", "ADDRESS", *numbers, "NOTES"],
            [_row(peer, now) for peer in peers],
            numbers=numbers,
        )


def _row(peer: dict[str, Any], now: datetime) -> list[str]:
    flows = (
        [""] * 5
        if peer["is_self"]
        else [
            f"{peer['rtt_s'] * 1000:.1f} ms" if peer["rtt_s"] is not None else "?",
            format_rate(peer["receive_rate_bytes_per_s"]),
            format_rate(peer["send_rate_bytes_per_s"]),
            size(peer["received_bytes"]),
            size(peer["sent_bytes"]),
        ]
    )
    return [
        peer["name"],
        peer["zone"],
        peer["state"],
        peer["addresses"]["cluster"],
        *flows,
        "; ".join(_notes(peer, now)),
    ]


SKEW_TOLD_S = 10.0
"""Clock differences below it hurt nobody; from 60 s on members refuse each other."""


def _notes(peer: dict[str, Any], now: datetime) -> list[str]:
    notes = ["this node"] if peer["is_self"] else []
    if peer["draining"]:
        notes.append("out of service")
    if peer["ban"] is not None:
        notes.append(f"banned: {peer['ban']}")
    if not peer["fetches_hub"] and not peer["draining"]:
        notes.append("does not fetch from the Hub")
    if peer["state"] not in ("alive", "left") and peer["seen_at"] is not None:
        ago = (now - datetime.fromisoformat(peer["seen_at"])).total_seconds()
        notes.append(f"last heard {format_duration(max(0.0, ago))} ago")
    if peer["clock_skew_s"] is not None and abs(peer["clock_skew_s"]) >= SKEW_TOLD_S:
        notes.append(f"its clock differs by {peer['clock_skew_s']:+.0f} s")
    if peer["trouble"]:
        notes.append(peer["trouble"])
    return notes
