"""`distctl estimate`: how long a pull would take, as measured and over links that one thinks of."""

from __future__ import annotations

from typing import Any

import click

from distd.cli.options import Command, Settings, examples
from distd.cli.output import document, say, table
from distd.cli.selection import selection, selection_options
from distd.cli.text import format_between, limit_word, safe, size
from distd.units import format_duration


@click.command(
    cls=Command,
    epilog=examples(
        "distctl estimate meta-llama/Llama-3.3-70B-Instruct",
        "distctl estimate Qwen/Qwen3-32B --link '25 Gbit/s' --link '500 MB/s'",
    ),
)
@selection_options
@click.option(
    "--link",
    "links",
    metavar="RATE",
    multiple=True,
    help="A link: '2 Gbit/s' (bits) or '200 MB/s'; may repeat.",
)
@click.pass_obj
def command(settings: Settings, /, links: tuple[str, ...], **selected: Any) -> None:
    """Show how long a pull would take.

    From what earlier pulls measured and what runs now; where nothing was measured it says so. The table is what a
    link alone would take, without --link at 100 Mbit/s, 1 and 10 Gbit/s.
    """
    from distd.cli.client import HUB_TIMEOUT_S

    query = {**selection(**selected), **({"link": list(links)} if links else {})}
    found = settings.client().get("/v1/estimate", query, timeout_s=HUB_TIMEOUT_S)
    if settings.json:
        document(found)
    elif settings.quiet:
        say("unknown" if found["eta_s"] is None else f"{found['eta_s']:.0f}")
    else:
        _print(found)


def _print(found: dict[str, Any]) -> None:
    missing = found["bytes_from_hub"] + found["bytes_from_peers"]
    say(f"{safe(found['repo'])}@{safe(found['revision'])}: {size(found['bytes_total'])}")
    say(
        f"  from the Hub {size(found['bytes_from_hub'])}, from peers {size(found['bytes_from_peers'])},"
        f" held already {size(found['bytes_reused'])}"
    )
    if found["eta_s"] is None:
        say(f"  time unknown: {safe(found['unknown_reason'] or 'nothing was measured yet')}")
    else:
        limit = limit_word(found["limited_by"])
        by = f", limited by {limit}" if limit and missing else ""
        say(f"  time {format_between(found['eta_s'], found['eta_low_s'], found['eta_high_s'])}{by}")
    say()
    links = found["links"]
    heads = [_link(link["rate_bytes_per_s"]) for link in links]
    rows = [["all", size(found["bytes_total"]), *(format_duration(link["all_s"]) for link in links)]]
    if missing != found["bytes_total"]:
        rows.append(["missing here", size(missing), *(format_duration(link["missing_s"]) for link in links)])
    table(["OVER A LINK OF", "SIZE", *heads], rows, numbers=["SIZE", *heads])


def _link(rate_bytes_per_s: int) -> str:
    """As links are sold: in bits."""
    bits, unit = rate_bytes_per_s * 8.0, "bit/s"
    for unit in ("bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"):
        if bits < 1000 or unit == "Tbit/s":
            break
        bits /= 1000
    return f"{bits:g} {unit}"
