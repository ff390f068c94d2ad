"""`distctl status`: the node at a glance."""

from __future__ import annotations

from typing import Any

import click

from distd.cli.options import Command, Settings, examples
from distd.cli.output import document, say
from distd.cli.progress import plain_line
from distd.cli.text import safe, size
from distd.units import format_duration, format_rate


@click.command(
    cls=Command,
    epilog=examples("distctl status", "distctl status --json | jq .cache.free_bytes"),
)
@click.pass_obj
def command(settings: Settings) -> None:
    """Show the node, its cache, rates and active pulls."""
    status = settings.client().get("/v1/status")
    if settings.json:
        document(status)
    elif settings.quiet:
        say("ready" if status["ready"] else "not ready")
    else:
        _print(status)


def _print(status: dict[str, Any]) -> None:
    cache, cluster, rates = status["cache"], status["cluster"], status["rates"]
    ready = "ready" if status["ready"] else "not ready: distctl doctor says why"
    up = format_duration(status["uptime_s"])
    limit = f" of at most {size(cache['max_bytes'])}" if cache["max_bytes"] else ""
    say(f"node     {safe(status['node'])}, distd {safe(status['version'])}, up {up}, {ready}")
    say(f"hub      {safe(status['hub_endpoint'])}")
    if cluster["members"] > 1:
        named = f"{safe(cluster['name'])}: " if cluster["name"] else ""
        say(f"cluster  {named}{cluster['reachable']} of {cluster['members']} members reachable")
    say(
        f"cache    {size(cache['bytes'])}{limit} in {safe(cache['hub_dir'])}, {size(cache['free_bytes'])} free"
    )
    say(
        f"rates    hub {format_rate(rates['hub_bytes_per_s'])}, peers {format_rate(rates['peers_bytes_per_s'])}"
    )
    say(f"pulls    {len(status['active_pulls']) or 'none'} active")
    for pull in status["active_pulls"]:
        say(f"  {safe(pull['id'])}  {plain_line(pull)}")
