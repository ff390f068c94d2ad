"""`distctl export`: a held snapshot as one file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import BinaryIO

import click

from distd.cli.held import DEFAULT_REVISION
from distd.cli.options import Command, Settings, examples, parsed_repo, repo_argument
from distd.cli.output import document, note
from distd.cli.text import safe, size

PART_BYTES = 1 << 20


@click.command(
    cls=Command,
    epilog=examples(
        "distctl export Qwen/Qwen3-32B /mnt/usb/qwen.tar", "distctl export gpt2 - | ssh far distctl import -"
    ),
)
@repo_argument
@click.argument("file", metavar="FILE")
@click.pass_obj
def command(settings: Settings, repo: str, type_: str, file: str) -> None:
    """Write a held repo into one file.

    For `distctl import` on a node without a Hub: a tar with the manifest first. FILE `-` is stdout. Nothing is at
    FILE before it is whole. Takes the revision that is held as main, unless another is named.
    """
    from distd.cli.client import model_path

    parsed, revision = parsed_repo(repo, type_)
    wanted = revision or DEFAULT_REVISION
    client = settings.client()
    with client.stream("POST", model_path(parsed, "/export"), {"revision": wanted}) as answer:
        shown = not settings.quiet and sys.stderr.isatty()
        with click.progressbar(
            length=answer.size_bytes, label=f"exporting {safe(parsed.id)}", file=sys.stderr, hidden=not shown
        ) as bar:

            def write(target: BinaryIO) -> None:
                for part in answer.parts(PART_BYTES):
                    target.write(part)
                    bar.update(len(part))

            if file == "-":
                write(sys.stdout.buffer)
                sys.stdout.buffer.flush()
            else:
                _write_whole(file, write)
    if settings.json and file != "-":
        document({"file": file, "bytes": answer.size_bytes})
    elif not settings.quiet:
        note(f"{safe(parsed.id)}@{safe(wanted)}: {size(answer.size_bytes)}")


def _write_whole(file: str, write: Callable[[BinaryIO], None]) -> None:
    begun = f"{file}.part"
    try:
        with open(begun, "wb") as target:
            write(target)
            target.flush()
            os.fsync(target.fileno())
        os.replace(begun, file)
    except BaseException:
        if os.path.exists(begun):
            os.unlink(begun)
        raise
