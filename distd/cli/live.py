"""A few lines at the bottom of a terminal that are redrawn in place, also after it was resized."""

from __future__ import annotations

import os
import signal
from typing import IO

from distd.cli.text import columns_of, cut_end

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What a person or a service manager ends a command with; all raise KeyboardInterrupt (`main.py`)."""
COLUMNS_DEFAULT, ROWS_DEFAULT = 80, 24
"""For terminals that do not know their size (serial lines report 0 by 0)."""


class LiveArea:
    """The lines drawn last are replaced by the next ones; `clear` leaves nothing behind."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._drawn: list[str] = []

    def size(self) -> tuple[int, int]:
        """Columns and rows of the terminal now."""
        try:
            columns, rows = os.get_terminal_size(self._stream.fileno())
        except OSError:
            columns, rows = 0, 0
        return columns or COLUMNS_DEFAULT, rows or ROWS_DEFAULT

    def draw(self, lines: list[str]) -> None:
        """Replaces what is shown. Lines are cut to the terminal; the last column stays free of wrapping."""
        columns, rows = self.size()
        kept = [cut_end(line, columns - 1) for line in lines[-max(1, rows - 1) :]]
        self._replace(self._erase(columns, rows) + "\n".join(kept), kept)

    def clear(self) -> None:
        columns, rows = self.size()
        if self._drawn:
            self._replace(self._erase(columns, rows), [])

    def _erase(self, columns: int, rows: int) -> str:
        """To the first drawn line, and delete from there. A terminal made narrower has folded the lines."""
        above = sum(max(1, -(-columns_of(line) // columns)) for line in self._drawn) - 1
        up = f"\x1b[{min(above, rows - 1)}A" if above > 0 else ""
        return f"\r{up}\x1b[J" if self._drawn else ""

    def _replace(self, text: str, drawn: list[str]) -> None:
        """Writes, and remembers what is seen then. What ends the program waits: between the two it would leave lines behind."""
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
            self._stream.write(text)
            self._stream.flush()
            self._drawn = drawn
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
