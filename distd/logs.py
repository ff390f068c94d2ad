"""Logging: one line an event on standard error, as text for people or JSON for collectors.

Messages never hold tokens or URLs with a query; what names a pull carries it as `pull`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time

FIELDS = ("pull", "event")
"""Extra attributes of a record that are shown."""


class TextFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.123Z INFO org/name@main: ... [pull=...]`; without the time under journald."""

    def __init__(self, *, with_time: bool) -> None:
        super().__init__()
        self._with_time = with_time

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={getattr(record, name)}" for name in FIELDS if hasattr(record, name))
        # A Hub's words may be part of a message; they must not look like lines of this log.
        message = record.getMessage().replace("\r", "\\r").replace("\n", "\\n")
        text = f"{record.levelname} {message}{fields and f' [{fields[1:]}]'}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return f"{_moment(record.created)} {text}" if self._with_time else text


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _moment(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        } | {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up_logging(level: str, format_: str) -> None:
    """Replaces the root logger's handlers. `format_`: `auto` is `text`; journald adds its own times."""
    handler = logging.StreamHandler(sys.stderr)
    under_journal = format_ == "journal" or (format_ == "auto" and "JOURNAL_STREAM" in os.environ)
    handler.setFormatter(JsonFormatter() if format_ == "json" else TextFormatter(with_time=not under_journal))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("httpx2", "httpcore2", "asyncio", "huggingface_hub"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _moment(created: float) -> str:
    milliseconds = int(created % 1 * 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(created))}.{milliseconds:03d}Z"
