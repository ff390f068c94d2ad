"""`distctl` on a pseudo-terminal, and a screen that understands what it sends.

The screen knows what our programs use: text, line ends, cursor up, and erase. Any other control
sequence fails the test that caused it.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable

from tests.cli.serving import WAIT_S, ServedDaemon, command, environment

_TOKENS = re.compile(r"\x1b\[(\d*)([A-Za-z])|\r|\n|[^\x1b\r\n]", re.DOTALL)


class Screen:
    """Rows of text as they would be seen, scrolled-off ones included."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.rows = [""]
        self._row = 0
        self._column = 0

    def feed(self, text: str) -> None:
        position = 0
        while position < len(text):
            token = _TOKENS.match(text, position)
            assert token is not None, f"unknown control sequence at {text[position : position + 20]!r}"
            self._take(token)
            position = token.end()

    def _take(self, token: re.Match[str]) -> None:
        if token[2] == "A":
            self._row = max(0, self._row - int(token[1] or 1))
        elif token[2] == "J":
            assert self._column == 0
            del self.rows[self._row + 1 :]
            self.rows[self._row] = ""
        elif token[2] is not None:
            raise AssertionError(f"unknown control sequence {token[0]!r}")
        elif token[0] == "\r":
            self._column = 0
        elif token[0] == "\n":
            self._row += 1
            self.rows.extend([""] * (self._row + 1 - len(self.rows)))
        else:
            self._print(token[0])

    def _print(self, c: str) -> None:
        assert c.isprintable(), f"a control character reached the terminal: {c!r}"
        if self._column == self.columns:
            self._column = 0
            self._row += 1
            self.rows.extend([""] * (self._row + 1 - len(self.rows)))
        row = self.rows[self._row].ljust(self._column)
        self.rows[self._row] = row[: self._column] + c + row[self._column + 1 :]
        self._column += 1


class OnTerminal:
    """One run of `distctl` whose stdin, stdout and stderr are a terminal of `columns` by `rows`."""

    def __init__(
        self, daemon: ServedDaemon, *args: str, columns: int = 80, rows: int = 24, **env: str
    ) -> None:
        self._master, slave = pty.openpty()
        self.resize(columns, rows)
        self.screen = Screen(columns)
        self.sent = ""
        self._process = subprocess.Popen(
            command(*args),
            env=environment(daemon, **({"TERM": "xterm-256color"} | env)),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def until(self, holds: Callable[[str], bool], what: str) -> None:
        """Reads until the screen's text fulfils the condition."""
        give_up_at = time.monotonic() + WAIT_S
        while not holds(self.text):
            assert time.monotonic() < give_up_at, f"waited in vain for {what}; the screen:\n{self.text}"
            self._read(0.05)

    def ended(self) -> int:
        """Reads to the end and returns the exit code."""
        give_up_at = time.monotonic() + WAIT_S
        while self._read(0.05):
            assert time.monotonic() < give_up_at, f"it does not end; the screen:\n{self.text}"
        return self._process.wait(WAIT_S)

    def close(self) -> None:
        """Ends it, where it has not ended. Idempotent."""
        self._process.kill()
        self._process.wait(WAIT_S)
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    @property
    def text(self) -> str:
        return "\n".join(self.screen.rows)

    def _read(self, wait_s: float) -> bool:
        if not select.select([self._master], [], [], wait_s)[0]:
            return True
        try:
            got = os.read(self._master, 65536)
        except OSError:  # Linux reports the other side's end as EIO
            return False
        text = got.decode()
        self.sent += text
        self.screen.feed(text)
        return bool(got)
