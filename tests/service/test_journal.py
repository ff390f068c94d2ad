"""Lines as fields of the journal, on a real datagram socket: by the handler, and by a daemon that pulls."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distd.journal import FIELD_BYTES_MAX, JournalHandler, is_stderr_journal
from distd.logs import FIELDS, JournalFormatter
from tests.daemon.daemon import SERVES, DaemonProcess
from tests.daemon.repos import Repos
from tests.hub import HubProcess
from tests.service.journal import FakeJournal

TOKEN = "hf_AbCdEfGhIjKlMnOp"
IN_ITS_OWN_RUN = (
    *("unshare", "--user", "--map-root-user", "--mount", "sh", "-c"),
    'mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && mount --bind "$0" /run/systemd/journal && exec "$@"',
)
"""Puts a directory where the journal's socket is, in a mount namespace: the next word is the directory."""


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[FakeJournal]:
    with FakeJournal(tmp_path / "socket") as journal:
        yield journal


@pytest.fixture
def log(journal: FakeJournal) -> Iterator[logging.Logger]:
    handler = JournalHandler(FIELDS, journal.path)
    handler.setFormatter(JournalFormatter())
    log = logging.getLogger("tests.journal")
    log.addHandler(handler)
    log.propagate = False
    log.setLevel(logging.DEBUG)
    yield log
    log.removeHandler(handler)
    handler.close()


def test_a_record_becomes_fields(log: logging.Logger, journal: FakeJournal) -> None:
    log.info("%s begins", "org/name", extra={"pull": "17-ab12", "event": "planned", "repo": "org/name"})
    assert journal.entries() == [
        {
            "MESSAGE": "org/name begins",
            "PRIORITY": "6",
            "SYSLOG_IDENTIFIER": "distd",
            "LOGGER": "tests.journal",
            "DISTD_PULL": "17-ab12",
            "DISTD_EVENT": "planned",
            "DISTD_REPO": "org/name",
        }
    ]


def test_levels_are_priorities_and_a_trace_keeps_its_lines(log: logging.Logger, journal: FakeJournal) -> None:
    log.debug("d")
    log.warning("w")
    try:
        raise ValueError("seven")
    except ValueError:
        log.exception("failed")
    debug, warning, failed = journal.entries()
    assert (debug["PRIORITY"], warning["PRIORITY"], failed["PRIORITY"]) == ("7", "4", "3")
    assert failed["MESSAGE"].startswith("failed\nTraceback")
    assert failed["MESSAGE"].endswith("ValueError: seven")


def test_a_value_cannot_make_fields_of_its_own(log: logging.Logger, journal: FakeJournal) -> None:
    log.info("x\nPRIORITY=0\nDISTD_PULL=other", extra={"pull": "1\nMESSAGE=owned"})
    (entry,) = journal.entries()
    assert (entry["PRIORITY"], entry["DISTD_PULL"]) == ("6", "1\nMESSAGE=owned")
    assert entry["MESSAGE"] == "x\nPRIORITY=0\nDISTD_PULL=other"


def test_a_line_of_a_megabyte_is_cut_and_a_secret_hidden(log: logging.Logger, journal: FakeJournal) -> None:
    log.info("ü" * 500_000)
    log.info("the token hf_AbCdEfGhIjKlMnOp was refused")
    long, secret = journal.entries()
    assert FIELD_BYTES_MAX - 2 <= len(long["MESSAGE"].encode()) <= FIELD_BYTES_MAX + 3
    assert "AbCdEf" not in secret["MESSAGE"]


def test_without_a_journal_the_line_goes_to_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = JournalHandler(FIELDS, str(tmp_path / "gone"))
    handler.setFormatter(JournalFormatter())
    handler.emit(logging.LogRecord("x", logging.INFO, "x.py", 1, "still told", (), None))
    handler.close()
    assert capsys.readouterr().err == "still told\n"


def test_an_inherited_variable_alone_does_not_make_stderr_the_journal(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream:
        found = os.fstat(stream.fileno())
        told = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        assert is_stderr_journal(told, stream.fileno())
        assert not is_stderr_journal(told, sys.__stdout__.fileno() if sys.__stdout__ else 1)
        assert not is_stderr_journal({}, stream.fileno())


class JournalledDaemon(DaemonProcess):
    """Says where it serves in the journal, as everything else."""

    def __init__(self, *args: Any, journal: FakeJournal, **options: Any) -> None:
        super().__init__(*args, **options)
        self._journal = journal
        self.entries: list[dict[str, str]] = []

    def read(self) -> list[dict[str, str]]:
        self.entries += self._journal.entries()
        return self.entries

    def _served_url(self, seen: int) -> str | None:
        found = [SERVES.search(entry["MESSAGE"]) for entry in self.read()]
        return next((each[1] for each in found if each), None)


def test_the_journal_of_a_daemon_tells_the_story_of_a_pull_and_no_secret(
    hub: HubProcess, tmp_path: Path
) -> None:
    directory = tmp_path / "journal"
    directory.mkdir()
    hub.add_token(TOKEN, "bob")
    repo = Repos(hub, tmp_path / "repos").make(weight_mib=1)
    settings = {"node.log_format": "journal", "node.log_level": "info"}
    with FakeJournal(directory / "socket") as journal:
        daemon = JournalledDaemon(
            tmp_path / "node",
            hub.url,
            settings,
            token=TOKEN,
            wrapper=[*IN_ITS_OWN_RUN, str(directory)],
            journal=journal,
        )
        with daemon:
            pull = daemon.pulled(repo.id)
            told = daemon.story(pull["id"])
        entries = daemon.read()
    story = [entry for entry in entries if entry.get("DISTD_PULL") == pull["id"]]
    assert [entry["DISTD_EVENT"] for entry in story] == [line["event"] for line in told]
    assert [story[0]["DISTD_EVENT"], story[-1]["DISTD_EVENT"]] == ["planned", "complete"]
    assert {entry["DISTD_REPO"] for entry in story} == {repo.id}
    assert {entry["SYSLOG_IDENTIFIER"] for entry in entries} == {"distd"}
    assert not any(TOKEN in value for entry in entries for value in entry.values())
    assert daemon.log() == ""  # nothing beside the journal
    # Quiet: a pull that goes well is its story and who asked for it, and beside it the daemon tells of its start and its end.
    assert len(entries) <= len(story) + 4, [entry["MESSAGE"] for entry in entries]
