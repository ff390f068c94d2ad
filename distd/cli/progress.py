"""How a pull looks while it runs: pure functions from the API's pull object to lines of text."""

from __future__ import annotations

from typing import Any

from distd.cli.text import (
    columns_of,
    cut_end,
    cut_start,
    format_left,
    format_percent,
    format_rates,
    format_share,
    pad,
    plural,
    safe,
)
from distd.units import format_duration, format_rate, format_size

Pull = dict[str, Any]

FILES_SHOWN_MAX = 4
"""Lines of files at a time: more would move faster than one reads."""
_WIDE_COLUMNS = 60
"""From here on a file's line also has room for its sizes."""


def frame(pull: Pull, columns: int, rows: int) -> list[str]:
    """The live view in lines of at most `columns`: files at work, other nodes, and the total last."""
    room = max(0, rows - 2)
    lines = [_node_line(node, columns) for node in pull["nodes"]]
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
    nodes = "".join(f"; {safe(node['name'])} {node['state']}" for node in pull["nodes"])
    state = "downloading " if pull["state"] == "downloading" else ""
    return f"{name(pull)}: {state}{_total_forms(pull)[0]}{nodes}"


def name(pull: Pull) -> str:
    """`org/name@revision`; a commit in full is shortened."""
    revision = pull["revision"]
    at = pull["commit"][:8] if revision == pull["commit"] else revision
    return safe(f"{pull['repo']}@{at}")


def summary(pull: Pull, seconds: float | None) -> str:
    """What was done, once complete: size, time, average rate, and where the bytes came from."""
    fetched = pull["bytes_from_hub"] + pull["bytes_from_peers"]
    files = f", {plural(pull['files_total'], 'file')}" if pull["files_total"] is not None else ""
    held = f"{name(pull)}: {format_size(pull['bytes_done'])}{files}"
    if not fetched:
        return f"{held}, all held already: nothing fetched"
    took = f" in {format_duration(seconds)}, {format_rate(fetched / seconds)} average" if seconds else ""
    sources = ", ".join(
        f"{word} {format_size(pull[key])}"
        for word, key in (
            ("hub", "bytes_from_hub"),
            ("peers", "bytes_from_peers"),
            ("reused", "bytes_reused"),
        )
    )
    return f"{held}{took} ({sources})"


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
        return [
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
    return [f"{share}  {percent}  {state}", f"{percent}  {state}"]


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


def _node_line(node: dict[str, Any], columns: int) -> str:
    parts = [f"  {safe(node['name'])}", node["state"], format_size(node["bytes_done"])]
    if node["error"] is not None:
        parts.append(safe(node["error"]["title"]))
    elif node["eta_s"] is not None:
        parts.append(format_left(node["eta_s"]))
    return cut_end("  ".join(parts), columns)
