# ruff: noqa: N999  (the command is called import, and so is its file)
"""`distctl import`: a snapshot that `export` wrote."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from typing import BinaryIO

import click

from distd.cli.options import Command, Settings, examples
from distd.cli.output import document, note, say
from distd.cli.text import plural, safe, size

PART_BYTES = 1 << 20


@click.command(
    cls=Command,
    epilog=examples("distctl import /mnt/usb/qwen.tar", "ssh far distctl export gpt2 - | distctl import -"),
)
@click.argument("file", metavar="FILE")
@click.pass_obj
def command(settings: Settings, file: str) -> None:
    """Take in a file that export wrote.

    Every file is verified against the manifest in it before the snapshot is published; no Hub is asked. FILE `-` is
    stdin. Prints the snapshot path. Exits with 6 when content does not match its hash, with 7 when it does not fit.
    """
    source = sys.stdin.buffer if file == "-" else open(file, "rb")  # noqa: SIM115  # closed below
    with source:
        stats = os.fstat(source.fileno())
        size_bytes = stats.st_size if stat.S_ISREG(stats.st_mode) and file != "-" else None
        shown = not settings.quiet and sys.stderr.isatty()
        with click.progressbar(
            length=size_bytes or 0, label="importing", file=sys.stderr, hidden=not (shown and size_bytes)
        ) as bar:

            def parts(source: BinaryIO) -> Iterator[bytes]:
                while part := source.read(PART_BYTES):
                    yield part
                    bar.update(len(part))

            told = settings.client().upload("/v1/import", parts(source), size_bytes)
    if settings.json:
        document(told)
        return
    if not settings.quiet:
        note(
            f"{safe(told['repo'])}@{told['commit'][:12]}: {plural(told['files'], 'file')}, {size(told['bytes'])},"
            f" held already {size(told['bytes_reused'])}"
        )
    say(safe(told["snapshot_path"]))
