"""Logging: one line an event, as text for people, JSON for collectors, or fields for systemd's journal.

No message is made of tokens or URLs with a query, and what looks like one is taken out of every line all the same. What
names a pull carries it as `pull`, so that the lines of one pull are its story.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time

from distd.journal import JournalHandler, is_stderr_journal
from distd.redaction import redacted

FIELDS = ("pull", "event", "repo", "actor", "deed", "subject", "outcome")
"""Extra attributes of a record, shown as fields. In the journal they are `DISTD_PULL` and so on."""
SHOWN_IN_TEXT = ("pull", "event")
"""The rest is in the message already."""


class TextFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.123Z INFO org/name@main: ... [pull=...]`."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(
            f" {name}={getattr(record, name)}" for name in SHOWN_IN_TEXT if hasattr(record, name)
        )
        # A Hub's words may be part of a message; they must not look like lines of this log.
        message = record.getMessage().replace("\r", "\\r").replace("\n", "\\n")
        text = f"{record.levelname} {message}{fields and f' [{fields[1:]}]'}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return f"{_moment(record.created)} {redacted(text)}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _moment(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redacted(record.getMessage()),
        } | {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["exception"] = redacted(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


class JournalFormatter(logging.Formatter):
    """The message alone: time, level, pull and event are fields of their own."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return redacted(text)


def set_up_logging(level: str, format_: str) -> None:
    """Replaces the root logger's handlers. `auto` is `journal` where stderr is the journal, else `text`."""
    if format_ == "auto":
        format_ = "journal" if is_stderr_journal(os.environ) else "text"
    handler: logging.Handler
    if format_ == "journal":
        handler = JournalHandler(FIELDS)
        handler.setFormatter(JournalFormatter())
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter() if format_ == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("httpx2", "httpcore2", "asyncio", "huggingface_hub"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _moment(created: float) -> str:
    milliseconds = int(created % 1 * 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(created))}.{milliseconds:03d}Z"
