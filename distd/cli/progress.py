"""How a pull looks while it runs: pure functions from the API's pull object to lines of text.

A pull on several nodes has a line for each; the total is then that of all of them.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from distd.cli.text import (
    columns_of,
    cut_end,
    cut_start,
    format_left,
    format_percent,
    format_range,
    format_rates,
    format_share,
    limit_word,
    pad,
    plural,
    safe,
)
from distd.units import format_duration, format_rate, format_size

Pull = dict[str, Any]

FILES_SHOWN_MAX = 4
"""Lines of files at a time: more would move faster than one reads."""
NODES_NAMED_MAX = 8
"""Nodes named in a line of a log; of a larger fleet it counts the states."""
_SUMMED = (
    *("bytes_done", "bytes_from_hub", "bytes_from_peers", "bytes_reused"),
    *("rate_bytes_per_s", "rate_hub_bytes_per_s", "rate_peers_bytes_per_s"),
)
_WIDE_COLUMNS = 60
"""From here on a file's line also has room for its sizes."""


def frame(pull: Pull, columns: int, rows: int) -> list[str]:
    """The live view in lines of at most `columns`: files at work, or the nodes, and the total last."""
    room = max(0, rows - 2)
    if pull["nodes"]:
        return [*_node_lines(pull["nodes"], columns, room), _fitting(_total_forms(whole(pull)), columns)]
    lines: list[str] = []
    if pull["state"] == "downloading":
        active = [f for f in pull["files"] if f["state"] in ("downloading", "verifying")]
        shown = active[: min(FILES_SHOWN_MAX, room)]
        longest = max((columns_of(safe(file["path"])) for file in shown), default=0)
        lines += [_file_line(file, longest, columns) for file in shown]
        if len(active) > len(shown) and room > len(shown):
            lines.append(cut_end(f"  and {len(active) - len(shown)} more", columns))
    # The total is what is watched: where rows are few, it is what stays.
    return [*lines[len(lines) - min(len(lines), room) :], _fitting(_total_forms(pull), columns)]


def plain_line(pull: Pull) -> str:
    """The state in one line, for logs."""
    nodes = pull["nodes"]
    if len(nodes) <= NODES_NAMED_MAX:
        told = "".join(f"; {safe(node['name'])} {_node_word(node)}" for node in nodes)
    else:
        told = "".join(f"; {count} {state}" for state, count in Counter(n["state"] for n in nodes).items())
    state = "downloading " if pull["state"] == "downloading" else ""
    return f"{name(pull)}: {state}{_total_forms(whole(pull) if nodes else pull)[0]}{told}"


def whole(pull: Pull) -> Pull:
    """A pull on several nodes with the bytes and rates of all of them instead of those of one."""
    nodes = pull["nodes"]
    summed = {key: sum(node[key] for node in nodes) for key in _SUMMED}
    totals = [node["bytes_total"] for node in nodes if node["bytes_total"] is not None]
    # A node that has not planned yet will need what the others need.
    total = sum(totals) + max(totals) * (len(nodes) - len(totals)) if totals else None
    return pull | summed | {"bytes_total": total, "stalled_reason": None}


def name(pull: Pull) -> str:
    """`org/name@revision`; a commit in full is shortened."""
    revision = pull["revision"]
    at = pull["commit"][:8] if revision == pull["commit"] else revision
    return safe(f"{pull['repo']}@{at}")


def summary(pull: Pull, seconds: float | None) -> str:
    """What was done, once complete: size, time, average rate, and where the bytes came from. Of all nodes."""
    on = f" on {plural(len(pull['nodes']), 'node')}" if pull["nodes"] else ""
    pull = whole(pull) if pull["nodes"] else pull
    fetched = pull["bytes_from_hub"] + pull["bytes_from_peers"]
    files = f", {plural(pull['files_total'], 'file')}" if pull["files_total"] is not None else ""
    held = f"{name(pull)}: {format_size(pull['bytes_done'])}{files}{on}"
    if not fetched:
        return f"{held}, all held already: nothing fetched"
    took = f" in {format_duration(seconds)}, {format_rate(fetched / seconds)} average" if seconds else ""
    return f"{held}{took} ({_sources(pull)})"


def _sources(counted: dict[str, Any]) -> str:
    """Of a pull or of a node's part of one."""
    keys = (("hub", "bytes_from_hub"), ("peers", "bytes_from_peers"), ("reused", "bytes_reused"))
    return ", ".join(f"{word} {format_size(counted[key])}" for word, key in keys)


def _total_forms(pull: Pull) -> list[str]:
    """The total, from its longest form to its shortest."""
    total, done, state = pull["bytes_total"], pull["bytes_done"], pull["state"]
    if state == "queued":
        return ["queued: waiting for its turn", "queued"]
    if total is None:
        asking = ["resolving: asking the Hub for the list of files", "resolving: asking the Hub"]
        return asking if state == "resolving" else [state]
    share, percent = format_share(done, total), format_percent(done, total)
    if state == "downloading" and pull["stalled_reason"]:
        return [f"{share}  {percent}  stalled: {safe(pull['stalled_reason'])}"]
    if state == "downloading":
        rate, split = format_rates(
            pull["rate_bytes_per_s"], pull["rate_hub_bytes_per_s"], pull["rate_peers_bytes_per_s"]
        )
        left = f"  {format_left(pull['eta_s'])}" if pull["eta_s"] is not None else ""
        between = format_range(pull["eta_low_s"], pull["eta_high_s"]) if left else ""
        ranged = f"{left} ({between})" if between else left
        limit = limit_word(pull["limited_by"]) if left else ""
        return [
            *([f"{share}  {percent}  {rate} {split}{ranged}, limited by {limit}"] if limit else []),
            f"{share}  {percent}  {rate} {split}{ranged}",
            f"{share}  {percent}  {rate} {split}{left}",
            f"{share}  {percent}  {rate}{left}",
            f"{share}  {percent}{left}",
            f"{percent}{left}",
            percent,
        ]
    if state == "paused":
        return [
            f"{share}  {percent}  paused: distctl resume {safe(pull['id'])} continues",
            f"{percent}  paused",
        ]
    left = f"  {format_left(pull['eta_s'])}" if state in ("verifying", "publishing") and pull["eta_s"] else ""
    return [f"{share}  {percent}  {state}{left}", f"{percent}  {state}"]


def _fitting(forms: list[str], columns: int) -> str:
    return next((form for form in forms if columns_of(form) <= columns), cut_end(forms[-1], columns))


def _file_line(file: dict[str, Any], longest: int, columns: int) -> str:
    """`longest`: columns of the longest name beside it, so that the numbers stand in a column."""
    done, total = file["bytes_done"], file["size"]
    right = f"{format_percent(done, total):>4}"
    if columns >= _WIDE_COLUMNS:
        right += f"  {format_share(done, total):>16}"
    room = min(longest, columns - columns_of(right) - 4)
    return cut_end(f"  {pad(cut_start(safe(file['path']), room), room)}  {right}", columns)


def node_summary(node: dict[str, Any], columns: int) -> str:
    """How a node ended: its bytes by source, or why it has none. `columns`: of the longest name beside it."""
    start = f"  {pad(safe(node['name']), columns)}  {node['state']}"
    if node["error"] is not None:
        return f"{start}  {safe(node['error']['title'])}: {safe(node['error']['detail'])}"
    return f"{start}  {format_size(node['bytes_done'])} ({_sources(node)})"


def _node_lines(nodes: list[dict[str, Any]], columns: int, room: int) -> list[str]:
    """One a node; where rows are few, those that are not complete come first."""
    longest = max(columns_of(safe(node["name"])) for node in nodes)
    if len(nodes) <= room:
        return [_node_line(node, longest, columns) for node in nodes]
    if room == 0:
        return []
    first = sorted(nodes, key=lambda node: node["state"] == "complete")
    more = cut_end(f"  and {len(nodes) - room + 1} more", columns)
    return [*(_node_line(node, longest, columns) for node in first[: room - 1]), more]


def _node_line(node: dict[str, Any], longest: int, columns: int) -> str:
    parts = [pad(safe(node["name"]), longest), f"{node['state']:<11}"]
    if node["bytes_total"] is not None:
        parts.append(f"{format_percent(node['bytes_done'], node['bytes_total']):>4}")
    if node["error"] is not None:
        parts.append(safe(node["error"]["title"]))
    elif node["stalled_reason"]:
        parts.append(safe(node["stalled_reason"]))
    elif node["state"] == "downloading":
        parts.append(f"{format_rate(node['rate_bytes_per_s']):>10}")
        if node["eta_s"] is not None:
            between = format_range(node["eta_low_s"], node["eta_high_s"])
            parts.append(
                f"{format_left(node['eta_s'])} ({between})" if between else format_left(node["eta_s"])
            )
    return cut_end("  " + "  ".join(parts).rstrip(), columns)


def _node_word(node: dict[str, Any]) -> str:
    if node["state"] == "downloading" and node["bytes_total"] is not None:
        return f"downloading {format_percent(node['bytes_done'], node['bytes_total'])}"
    return str(node["state"])
