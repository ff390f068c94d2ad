"""Where output goes: data to stdout, everything else to stderr, tables drawn only on a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import IO, Any

from distd.cli.text import columns_of, pad, safe


def say(text: str = "") -> None:
    """One line of data."""
    print(text)


def note(text: str) -> None:
    """One line for the person, not for the program that reads stdout."""
    print(text, file=sys.stderr)


def document(value: Any) -> None:
    """One JSON document, in ASCII: what is not printable is escaped."""
    print(json.dumps(value, indent=2))


def is_terminal(stream: IO[str]) -> bool:
    """Whether lines on this stream can be moved over and redrawn."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str] = ()) -> None:
    """Aligned columns; those named in `numbers` to the right. Cells are made safe here.

    On a terminal long cells fold to its width; piped, a row is a line and nothing is cut.
    """
    cells = [[safe(cell) for cell in row] for row in rows]
    if is_terminal(sys.stdout) and not os.environ.get("NO_COLOR"):
        _draw(headers, cells, numbers)
        return
    widths = [max(columns_of(row[n]) for row in [headers, *cells]) for n in range(len(headers))]
    for row in [headers, *cells]:
        padded = [
            " " * (width - columns_of(cell)) + cell if header in numbers else pad(cell, width)
            for header, cell, width in zip(headers, row, widths, strict=True)
        ]
        say("  ".join(padded).rstrip())


def _draw(headers: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in headers:
        is_number = header in numbers
        drawn.add_column(header, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    Console(highlight=False, markup=False, emoji=False).print(drawn)
