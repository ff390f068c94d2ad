"""`distctl rates`: how fast the sources are, and were."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from distd.cli.options import Command, Settings, examples
from distd.cli.output import document, say, table
from distd.cli.text import safe, size
from distd.units import format_duration, format_rate

NAMES = {"hub": "hub", "peers": "peers", "cluster": "hub, to the cluster", "hashing": "hashing"}


@click.command(cls=Command, epilog=examples("distctl rates", "distctl rates --since 7d --peer gpu-17"))
@click.option("--since", metavar="WHEN", default="24h", help="How far back: 24h, 7d, or a time [24h].")
@click.option("--peer", metavar="NAME", help="Of this member only.")
@click.pass_obj
def command(settings: Settings, /, since: str, peer: str | None) -> None:
    """Show rates now and by the hour.

    Per source and per member. A rate of an hour is over the time in use: pauses do not count.
    """
    query = {"since": since, **({"peer": peer} if peer is not None else {})}
    page = settings.client().get("/v1/rates", query)
    if settings.json:
        document(page)
        return
    if settings.quiet:
        for each in page["items"]:
            say(f"{_name(each)}\t{each['rate_10s_bytes_per_s']:.0f}")
        return
    windows = ["1 S", "10 S", "60 S"]
    table(
        ["SOURCE", *windows],
        [
            [_name(each), *(format_rate(each[f"rate_{w}_bytes_per_s"]) for w in ("1s", "10s", "60s"))]
            for each in page["items"]
            if each["source"] != "hashing"  # in turns of many blobs: by the hour it is a rate
        ],
        numbers=windows,
    )
    rows = [
        [_hour(hour["hour"]), _name(each), size(hour["bytes"]), format_duration(hour["busy_s"]), _rate(hour)]
        for each in page["items"]
        for hour in each["hours"]
    ]
    say()
    if rows:
        table(
            ["HOUR", "SOURCE", "BYTES", "IN USE", "RATE"], sorted(rows), numbers=["BYTES", "IN USE", "RATE"]
        )
    else:
        say(f"nothing was measured since {safe(since)}")


def _name(each: dict[str, Any]) -> str:
    if each["peer"] is not None:
        return f"{'from' if each['source'] == 'peer' else 'to'} {safe(each['peer'])}"
    return NAMES.get(each["source"], safe(each["source"]))


def _hour(text: str) -> str:
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M")


def _rate(hour: dict[str, Any]) -> str:
    return "?" if hour["rate_bytes_per_s"] is None else format_rate(hour["rate_bytes_per_s"])
