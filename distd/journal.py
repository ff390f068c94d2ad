"""Log records for systemd's journal, with fields: `journalctl DISTD_PULL=17-ab12` is the story of a pull.

The journal's native protocol: a datagram of fields to its unix socket. What cannot be handed over goes to standard error.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import sys
from collections.abc import Mapping

SOCKET = "/run/systemd/journal/socket"
FIELD_BYTES_MAX = 32 * 1024
"""Of one field: a datagram may have some 200 kB, and a line that is longer than this is nobody's to read."""
IDENTIFIER = "distd"

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG_PRIORITY = 7


class JournalHandler(logging.Handler):
    """Sends records with the message that the formatter makes. `fields` are attributes of a record that become
    `DISTD_NAME`. While the journal does not listen, the formatted line goes to stderr instead: nothing is lost."""

    def __init__(self, fields: tuple[str, ...], path: str = SOCKET) -> None:
        super().__init__()
        self._fields = fields
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)  # a journal that is busy must not hold the event loop

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:
            self.handleError(record)
            return
        try:
            self._socket.sendto(datagram(self._fields_of(record, text)), self._path)
        except OSError:
            sys.stderr.write(text + "\n")

    def close(self) -> None:
        self._socket.close()
        super().close()

    def _fields_of(self, record: logging.LogRecord, text: str) -> dict[str, str]:
        found = {
            "MESSAGE": text,
            "PRIORITY": str(
                next((told for level, told in _PRIORITIES if record.levelno >= level), _DEBUG_PRIORITY)
            ),
            "SYSLOG_IDENTIFIER": IDENTIFIER,
            "LOGGER": record.name,
        }
        for name in self._fields:
            if hasattr(record, name):
                found[f"DISTD_{name.upper()}"] = str(getattr(record, name))
        return found


def datagram(fields: Mapping[str, str]) -> bytes:
    """The fields as systemd's "Native Journal Protocol" has them: with a length where a value has line breaks."""
    parts = []
    for name, value in fields.items():
        content = value.encode("utf-8", "backslashreplace")
        if len(content) > FIELD_BYTES_MAX:
            content = content[:FIELD_BYTES_MAX].decode("utf-8", "ignore").encode() + "…".encode()
        if b"\n" in content:
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(content)) + content + b"\n")
        else:
            parts.append(name.encode() + b"=" + content + b"\n")
    return b"".join(parts)


def is_stderr_journal(environment: Mapping[str, str], descriptor: int = 2) -> bool:
    """Whether standard error is what systemd connected to the journal, as `$JOURNAL_STREAM` says: the variable alone
    is inherited by everything that a service starts."""
    told = environment.get("JOURNAL_STREAM", "")
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return told == f"{found.st_dev}:{found.st_ino}"
