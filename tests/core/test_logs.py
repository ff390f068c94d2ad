"""Log lines: one an event, whatever the message holds."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from distd.logs import JournalFormatter, JsonFormatter, TextFormatter


def record(message: str, *args: object, **extra: str) -> logging.LogRecord:
    made = logging.LogRecord("distd.pulls", logging.INFO, "x.py", 1, message, args, None)
    made.created = 1_769_860_800.1239
    for name, value in extra.items():
        setattr(made, name, value)
    return made


def test_a_text_line_has_time_level_message_and_the_pull() -> None:
    line = TextFormatter().format(record("%s begins", "org/name", pull="1", event="planned"))
    assert line == "2026-01-31T12:00:00.123Z INFO org/name begins [pull=1 event=planned]"


def test_the_journal_has_time_and_level_as_fields() -> None:
    assert JournalFormatter().format(record("stopping", pull="1")) == "stopping"


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter(), JournalFormatter()])
def test_a_secret_in_a_message_or_a_trace_is_hidden(formatter: logging.Formatter) -> None:
    failed = record("GET %s failed", "https://cdn.example/x?Signature=0123abcd")
    try:
        raise ValueError("the token hf_AbCdEfGhIjKlMnOp")
    except ValueError:
        failed.exc_info = sys.exc_info()
    line = formatter.format(failed)
    assert "0123abcd" not in line
    assert "AbCdEf" not in line


def test_a_message_with_line_breaks_stays_one_line() -> None:
    line = TextFormatter().format(record("the Hub says: %s", "no\r\nCRITICAL all is lost"))
    assert line.endswith("Z INFO the Hub says: no\\r\\nCRITICAL all is lost")


def test_a_json_line_is_one_object_with_the_same_facts() -> None:
    line = JsonFormatter().format(record("a\nb", pull="7"))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2026-01-31T12:00:00.123Z",
        "level": "info",
        "logger": "distd.pulls",
        "message": "a\nb",
        "pull": "7",
    }


def test_a_failure_is_shown_with_its_trace() -> None:
    failed = record("planning failed")
    try:
        raise ValueError("seven")
    except ValueError:
        failed.exc_info = sys.exc_info()
    assert "ValueError: seven" in TextFormatter().format(failed)
    assert "ValueError: seven" in json.loads(JsonFormatter().format(failed))["exception"]
