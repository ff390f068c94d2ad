"""Why a command ends without success: a message for stderr and the contract's exit code."""

from __future__ import annotations

from dataclasses import dataclass

from distd.errors import EXIT_CODES, EXIT_DAEMON_UNREACHABLE, EXIT_FAILED


@dataclass
class CommandFailed(Exception):
    """Ends the command with `exit_code`; an empty message prints nothing."""

    message: str
    exit_code: int = EXIT_FAILED

    def __str__(self) -> str:
        return self.message


@dataclass
class DaemonUnreachable(CommandFailed):
    """No answer, or not one of distd's. Trying again helps once the daemon runs."""

    exit_code: int = EXIT_DAEMON_UNREACHABLE


class ProblemAnswered(CommandFailed):
    """The daemon refused: `code` is one of the contract's; a code newer than this distctl counts as failed."""

    def __init__(self, code: str, title: str, detail: str, status: int) -> None:
        super().__init__(f"{title}: {detail}", EXIT_CODES.get(code, EXIT_FAILED))
        self.code = code
        self.status = status
