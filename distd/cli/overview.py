"""What `distctl top` shows: pure functions from the API's answers to lines of text, for a terminal of any size.

Columns go before content does: where it is narrow the less telling ones are left out, and names are cut last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from distd.cli.progress import name, whole
from distd.cli.text import (
    columns_of,
    cut_end,
    cut_start,
    format_left,
    format_percent,
    format_range,
    limit_word,
    pad,
    safe,
    size,
)
from distd.units import format_rate

Style = Literal["plain", "head", "dim", "bad"]
BAR_COLUMNS = 14
NAME_COLUMNS_MIN = 8
GAP = "  "


@dataclass(frozen=True, slots=True)
class Line:
    text: str
    style: Style = "plain"


@dataclass(frozen=True, slots=True)
class Column:
    """`rank`: those with the highest are left out first; the column of rank 0 is the one whose text is cut."""

    head: str
    rank: int
    is_number: bool = False


def overview(
    status: dict[str, Any],
    peers: Sequence[dict[str, Any]],
    rates: Sequence[dict[str, Any]],
    columns: int,
    rows: int,
) -> list[Line]:
    """At most `rows` lines of at most `columns`. Pulls come first where rows are few."""
    pulls = _wholes(status["active_pulls"], status["node"])
    blocks = [_head(status, columns), _pulls(pulls, columns), _rates(rates, columns)]
    others = [peer for peer in peers if not peer["is_self"]]
    if others:
        blocks.insert(2, _peers(others, columns))
    lines: list[Line] = []
    for block in blocks:
        lines += [*([Line("")] if lines else []), *block]
    if len(lines) > rows:
        lines = [
            *lines[: max(0, rows - 1)],
            Line(cut_end(f"and {len(lines) - rows + 1} more lines", columns), "dim"),
        ]
    return lines[:rows]


def _head(status: dict[str, Any], columns: int) -> list[Line]:
    cache, cluster = status["cache"], status["cluster"]
    ready = "ready" if status["ready"] else "NOT READY"
    members = f"{cluster['reachable']} of {cluster['members']} members"
    parts = [
        f"{safe(status['node'])} {ready}",
        f"disk {size(cache['bytes'])} used, {size(cache['free_bytes'])} free",
        *([members] if cluster["members"] > 1 else []),
    ]
    while len(parts) > 1 and columns_of(GAP.join(parts)) > columns:
        parts.pop()
    return [Line(cut_end(GAP.join(parts), columns), "head" if status["ready"] else "bad")]


def _wholes(pulls: Sequence[dict[str, Any]], me: str) -> list[dict[str, Any]]:
    """Without this node's own part of a pull on several nodes, which is shown as a line of its whole."""
    parts = {
        node["pull_id"]
        for pull in pulls
        for node in pull["nodes"]
        if node["name"] == me and node["pull_id"] != pull["id"]
    }
    return [pull for pull in pulls if pull["id"] not in parts]


_PULL = (
    Column("PULL", 0),
    Column("STATE", 3),
    Column("", 5),
    Column("DONE", 1, True),
    Column("OF", 4, True),
    Column("HUB", 6, True),
    Column("PEERS", 6, True),
    Column("LEFT", 2, True),
    Column("RANGE", 7),
    Column("LIMIT", 8),
)


def _pulls(pulls: Sequence[dict[str, Any]], columns: int) -> list[Line]:
    if not pulls:
        return [Line(cut_end("no active pulls", columns), "dim")]
    rows, styles = [], []
    for pull in pulls:
        rows.append(_pull_row(whole(pull) if pull["nodes"] else pull))
        styles.append(_style(pull))
        for node in pull["nodes"]:
            rows.append(_pull_row(node | {"repo": None}))
            styles.append(_style(node))
    return _table(_PULL, rows, styles, columns)


def _pull_row(pull: dict[str, Any]) -> list[str]:
    total, done, state = pull["bytes_total"], pull["bytes_done"], pull["state"]
    moving = state == "downloading"
    left = format_left(pull["eta_s"]).removesuffix(" left") if pull["eta_s"] is not None else ""
    waits = pull["stalled_reason"]
    return [
        name(pull) if pull["repo"] is not None else f"  {safe(pull['name'])}",
        "stalled" if waits and moving else state,
        bar(done, total, BAR_COLUMNS) if total else "",
        format_percent(done, total) if total is not None else "",
        size(total) if total is not None else "",
        format_rate(pull["rate_hub_bytes_per_s"]) if moving else "",
        format_rate(pull["rate_peers_bytes_per_s"]) if moving else "",
        left if state != "complete" else "",
        format_range(pull["eta_low_s"], pull["eta_high_s"]) if left and state != "complete" else "",
        safe(waits) if waits else limit_word(pull["limited_by"]),
    ]


def _style(pull: dict[str, Any]) -> Style:
    if pull["state"] == "failed" or pull["stalled_reason"]:
        return "bad"
    return "plain" if pull["state"] not in ("complete", "queued", "paused") else "dim"


_PEER = (
    Column("MEMBER", 0),
    Column("STATE", 1),
    Column("ZONE", 5),
    Column("RECEIVES", 2, True),
    Column("SENDS", 2, True),
    Column("RECEIVED", 4, True),
    Column("SENT", 4, True),
    Column("RTT", 3, True),
)


def _peers(peers: Sequence[dict[str, Any]], columns: int) -> list[Line]:
    rows = [
        [
            safe(peer["name"]),
            peer["state"],
            safe(peer["zone"]),
            format_rate(peer["receive_rate_bytes_per_s"]),
            format_rate(peer["send_rate_bytes_per_s"]),
            size(peer["received_bytes"]),
            size(peer["sent_bytes"]),
            f"{peer['rtt_s'] * 1000:.1f} ms" if peer["rtt_s"] is not None else "?",
        ]
        for peer in peers
    ]
    styles: list[Style] = ["plain" if peer["state"] == "alive" else "bad" for peer in peers]
    return _table(_PEER, rows, styles, columns)


_RATE = (Column("RATE OF", 0), Column("1 s", 1, True), Column("10 s", 2, True), Column("60 s", 3, True))
_SHOWN = {"hub": "the Hub", "peers": "all members", "cluster": "the Hub, to all members"}


def _rates(rates: Sequence[dict[str, Any]], columns: int) -> list[Line]:
    rows = [
        [
            _SHOWN[each["source"]],
            *(format_rate(each[f"rate_{window}_bytes_per_s"]) for window in ("1s", "10s", "60s")),
        ]
        for each in rates
        if each["source"] in _SHOWN
    ]
    return _table(_RATE, rows, ["plain"] * len(rows), columns)


def bar(done: float, total: float, columns: int) -> str:
    """`#####.....`: in ASCII, so that it is right on a serial line too."""
    full = int(columns * done // total) if total else columns
    return "#" * full + "." * (columns - full)


def _table(
    heads: Sequence[Column], rows: Sequence[Sequence[str]], styles: Sequence[Style], columns: int
) -> list[Line]:
    """Aligned columns; those that don't fit are left out by rank, then the first is cut."""
    widths = [
        max(columns_of(row[n]) for row in [[head.head for head in heads], *rows]) for n in range(len(heads))
    ]
    kept = [n for n in range(len(heads)) if n == 0 or any(row[n] for row in rows)]
    least = min(widths[0], NAME_COLUMNS_MIN)
    while len(kept) > 1 and least + sum(len(GAP) + widths[n] for n in kept[1:]) > columns:
        highest = max(heads[n].rank for n in kept)
        kept = [n for n in kept if heads[n].rank < highest or n == 0]
    widths[0] = max(0, min(widths[0], columns - sum(len(GAP) + widths[n] for n in kept[1:])))
    lines = []
    for row, style in zip([[head.head for head in heads], *rows], ["head", *styles], strict=True):
        cells = [pad(cut_start(row[0], widths[0]), widths[0])]
        for n in kept[1:]:
            cells.append(
                " " * (widths[n] - columns_of(row[n])) + row[n]
                if heads[n].is_number
                else pad(row[n], widths[n])
            )
        lines.append(Line(GAP.join(cells).rstrip(), style))
    return lines
