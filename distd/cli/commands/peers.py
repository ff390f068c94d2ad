"""`distctl peers`: the members of the cluster."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from distd.cli.options import Command, Settings, examples
from distd.cli.output import document, say, table
from distd.cli.text import safe, size
from distd.units import format_duration, format_rate


@click.command(cls=Command, epilog=examples("distctl peers", "distctl peers --json | jq '.items[].name'"))
@click.pass_obj
def command(settings: Settings) -> None:
    """List the members of the cluster.

    With zone, state, round trip, and what flows between them and this node.
    """
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
    if not peer["fetches_hub"]:
        notes.append("does not fetch from the Hub")
    if peer["state"] not in ("alive", "left") and peer["seen_at"] is not None:
        ago = (now - datetime.fromisoformat(peer["seen_at"])).total_seconds()
        notes.append(f"last heard {format_duration(max(0.0, ago))} ago")
    if peer["clock_skew_s"] is not None and abs(peer["clock_skew_s"]) >= SKEW_TOLD_S:
        notes.append(f"its clock differs by {peer['clock_skew_s']:+.0f} s")
    if peer["trouble"]:
        notes.append(peer["trouble"])
    return notes
