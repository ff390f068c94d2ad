"""`distctl top`: the node live, on the whole terminal.

It asks once a second instead of following the event stream: that tells of pulls, and rates and what flows between members,
which change all the time, would be asked for beside it all the same. A look costs the daemon 2 ms.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from distd.cli.client import Client
from distd.cli.failures import DaemonUnreachable
from distd.cli.options import Command, Settings, examples
from distd.cli.output import document, is_terminal, say
from distd.cli.overview import Line, overview

EVERY_S = 1.0
ASK_TIMEOUT_S = 5.0
PIPED_COLUMNS = 120
STYLES = {"plain": "", "head": "bold", "dim": "dim", "bad": "red"}


@click.command(cls=Command, epilog=examples("distctl top", "distctl top | head -20"))
@click.pass_obj
def command(settings: Settings) -> None:
    """Show pulls, peers and rates live, full screen.

    `q` or Ctrl-C ends it. Piped, or on a terminal that cannot move its cursor, it prints what is now and ends.
    """
    client = settings.client()
    if settings.json:
        status, peers, rates = _ask(client)
        document({"status": status, "peers": peers, "rates": rates})
    elif settings.quiet or not is_terminal(sys.stdout):
        for line in overview(*_ask(client), columns=PIPED_COLUMNS, rows=10_000):
            say(line.text)
    else:
        _live(client)


def _ask(client: Client) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    status = client.get("/v1/status", timeout_s=ASK_TIMEOUT_S)
    peers = list(client.items("/v1/peers", {"limit": 1000}))
    return status, peers, client.get("/v1/rates", {"since": "1s"}, timeout_s=ASK_TIMEOUT_S)["items"]


def _live(client: Client) -> None:
    """rich keeps the other screen and leaves it, whatever ends this."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    answers = _ask(client)  # a daemon that is not there is told on the usual screen
    console = Console(highlight=False, markup=False, emoji=False)
    since: float | None = None
    with _keys(), Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            columns, rows = console.size
            lines = overview(*answers, columns=columns, rows=rows - (since is not None))
            if since is not None:
                lines.append(
                    Line(
                        f"the daemon does not answer since {time.monotonic() - since:.0f} s"[:columns], "bad"
                    )
                )
            drawn = Text("\n", no_wrap=True, overflow="crop").join(
                Text(line.text, style=STYLES[line.style], no_wrap=True, overflow="crop") for line in lines
            )
            live.update(drawn, refresh=True)
            if _quit_within(EVERY_S):
                return
            try:
                answers, since = _ask(client), None
            except DaemonUnreachable:
                since = since or time.monotonic()


@contextmanager
def _keys() -> Iterator[None]:
    """Keys come at once and unseen, where stdin is a terminal; Ctrl-C ends what is inside without noise."""
    if not sys.stdin.isatty():
        try:
            yield
        except KeyboardInterrupt:
            return
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    except KeyboardInterrupt:
        return
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _quit_within(wait_s: float) -> bool:
    if not sys.stdin.isatty():
        time.sleep(wait_s)
        return False
    ready, _, _ = select.select([sys.stdin], [], [], wait_s)
    return bool(ready) and os.read(sys.stdin.fileno(), 64) in (b"q", b"Q", b"\x1b", b"")
