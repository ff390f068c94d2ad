"""The door of `distctl`: finds the command, and turns every ending into a line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from io import StringIO, TextIOWrapper

import click

from distd import __version__
from distd.cli.failures import CommandFailed
from distd.cli.live import ENDING
from distd.cli.options import Group
from distd.cli.text import safe_lines
from distd.errors import EXIT_CODES, EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, DistdError

COMMANDS = {
    "pull": "Pull a repo into the node's cache, with progress.",
    "plan": "Show what a pull would fetch, without pulling.",
    "estimate": "Show how long a pull would take.",
    "status": "Show the node, its cache, rates and active pulls.",
    "top": "Show pulls, peers and rates live, full screen.",
    "pulls": "List pulls, newest first.",
    "show": "Show one pull with its files.",
    "cancel": "Cancel a pull.",
    "pause": "Pause a pull.",
    "resume": "Resume a paused pull.",
    "story": "Show what happened to a pull.",
    "ls": "List what the cache holds.",
    "path": "Print the snapshot path of a held repo.",
    "wait": "Wait until a repo is published.",
    "env": "Print the environment with which a model server loads a held repo.",
    "verify": "Hash held files again.",
    "rm": "Remove a repo or one of its revisions.",
    "pin": "Protect a held repo from removal.",
    "unpin": "Take a pin away.",
    "gc": "Make room in the cache.",
    "adopt": "Take over a Hugging Face cache on the daemon's machine.",
    "export": "Write a held repo into one file.",
    "import": "Take in a file that export wrote.",
    "peers": "List the members of the cluster.",
    "audit": "Show who pulled, removed, pinned or banned what.",
    "limits": "Show or set the node's bandwidth limits.",
    "prefetch": "List, add or remove what is kept present.",
    "rates": "Show rates now and by the hour.",
    "cluster": "Set up a cluster.",
    "config": "Check or show the daemon's configuration.",
    "doctor": "Look for what is wrong and how to fix it.",
    "completion": "Print the completion script of a shell.",
}
"""Names in the order of the help, and the sentence that each command's own help begins with."""

EXAMPLES = """\b
Examples:
  distctl pull Qwen/Qwen3-32B
  distctl plan Qwen/Qwen3-32B --weights gguf
  vllm serve "$(distctl path Qwen/Qwen3-32B)"
  distctl doctor"""


class Commands(Group):
    """The commands by name; each is imported when it is chosen, and none for the help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found = import_module(f"distd.cli.commands.{cmd_name}").command
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=Commands, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="distctl %(version)s")
def distctl() -> None:
    """Brings model weights onto this node and keeps them: the command line of distd."""


def run() -> None:
    """The entry point. Never shows a traceback, unless `$DISTD_DEBUG` is set."""
    # A parent may have closed either (`>&-`); printing then goes nowhere instead of failing.
    sys.stdout = sys.stdout or StringIO()
    sys.stderr = sys.stderr or StringIO()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    for stop in ENDING:
        if signal.getsignal(stop) == signal.SIG_DFL:  # `nohup` has it ignored
            signal.signal(stop, _interrupted)
    sys.exit(_ended(_outcome()))


def _interrupted(*_: object) -> None:
    """Told to stop, as with Ctrl-C: what a command began is taken back, a terminal left as it was, and the code says it."""
    raise KeyboardInterrupt


def _outcome() -> int:
    """Runs the command and returns its exit code."""
    try:
        returned = distctl.main(prog_name="distctl", standalone_mode=False)
        return returned if isinstance(returned, int) else EXIT_DONE
    except click.exceptions.NoArgsIsHelpError as error:
        return _complain(error.format_message(), EXIT_USAGE)
    except click.UsageError as error:
        usage = f"{error.ctx.get_usage()}\n" if error.ctx else ""
        return _complain(f"{usage}distctl: {error.format_message()}", EXIT_USAGE)
    except click.ClickException as error:
        return _complain(f"distctl: {error.format_message()}", EXIT_FAILED)
    except CommandFailed as error:
        return _complain(f"distctl: {error}" if str(error) else "", error.exit_code)
    except DistdError as error:
        return _complain(f"distctl: {error.title}: {error}", EXIT_CODES[error.code])
    except (KeyboardInterrupt, click.Abort):
        return _complain("distctl: interrupted", EXIT_INTERRUPTED)
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        return _complain(f"distctl: {what}{error.strerror or error}", EXIT_FAILED)
    except Exception as error:
        if os.environ.get("DISTD_DEBUG"):
            raise
        return _complain(
            f"distctl: unexpected {type(error).__name__}: {error}; please report this with the output of"
            " the same command under DISTD_DEBUG=1",
            EXIT_FAILED,
        )


def _complain(text: str, exit_code: int) -> int:
    try:
        if text:
            print(safe_lines(text), file=sys.stderr)
    except OSError:
        pass  # nobody reads stderr: the exit code says it
    return exit_code


def _ended(exit_code: int) -> int:
    """Flushes. A reader that left (`distctl ls | head`) is no reason for noise at interpreter exit.

    (One that leaves while the command still prints, click notices and ends quietly with 1.)
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        exit_code = exit_code or EXIT_FAILED
    except OSError as error:
        exit_code = _complain(f"distctl: cannot write the output: {error.strerror}", EXIT_FAILED)
    else:
        return exit_code
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return exit_code
