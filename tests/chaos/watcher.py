"""Looks at caches as their readers do, all the time: what can be seen has the bytes that its name says.

A file is hashed once and again whenever its inode, length or time of modification is another. What vanishes
between two looks was removed; a link that stays and leads nowhere was published wrongly.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.daemon.repos import etag_of

LOOK_EVERY_S = 0.1
DANGLING_LOOKS = 3
"""A link whose blob is missing is looked at as often: the snapshot may be on its way out between two looks."""

Identity = tuple[int, int, int]


class Watcher:
    """A thread over several cache and store directories, as a context manager; `faults` are what it found wrong.

    Leaving it looks once more at everything, hashing all of it anew. Counts: `looks`, `hashed` files.
    """

    def __init__(self, places: Sequence[tuple[Path, Path]]) -> None:
        """`places` are (hub_dir, store_dir)."""
        self.faults: list[str] = []
        self.looks = 0
        self.hashed = 0
        self._places = places
        self._right: dict[tuple[Identity, str], None] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if kind is None:
            self._right.clear()
            self.look()
            self.check()

    def check(self) -> None:
        assert not self.faults, self.faults[:5]

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            try:
                self.look()
            except Exception as error:  # a watcher that died silently would find nothing
                self.faults.append(f"the watcher itself failed: {type(error).__name__}: {error}")
                return

    def look(self) -> None:
        for hub_dir, store_dir in self._places:
            for path, etag in visible(hub_dir, store_dir):
                self._look_at(path, etag)
            for ref in _files(hub_dir, "*/refs/**/*"):
                self._look_at_ref(hub_dir, ref)
        self.looks += 1

    def _look_at(self, path: Path, etag: str) -> None:
        try:
            before = _identity(path)
            if (before, etag) in self._right:
                return
            actual = etag_of(path, etag)
            if before == _identity(path) and actual != etag:
                self.faults.append(f"{path} is visible with bytes of {actual}")
                return
        except FileNotFoundError:
            if path.is_symlink() and self._leads_nowhere(path):
                self.faults.append(f"{path} is visible and leads nowhere")
            return
        self.hashed += 1
        self._right[before, etag] = None

    def _leads_nowhere(self, link: Path) -> bool:
        for _ in range(DANGLING_LOOKS):
            time.sleep(LOOK_EVERY_S / 2)
            if link.exists() or not link.is_symlink():
                return False
        return True

    def _look_at_ref(self, hub_dir: Path, ref: Path) -> None:
        """Refs are written last and removed first: one that can be read leads to a snapshot."""
        for _ in range(DANGLING_LOOKS):
            try:
                commit = ref.read_text()
            except (FileNotFoundError, IsADirectoryError):
                return
            if (hub_dir / ref.relative_to(hub_dir).parts[0] / "snapshots" / commit).is_dir():
                return
            time.sleep(LOOK_EVERY_S / 2)
        self.faults.append(f"{ref} leads to no snapshot")


def visible(hub_dir: Path, store_dir: Path) -> Iterator[tuple[Path, str]]:
    """What a program may take for verified, with the hash that it is named by."""
    for link in _files(hub_dir, "*/snapshots/*/**/*"):
        try:
            yield link, os.readlink(link).rpartition("/")[2]
        except OSError:
            continue  # gone meanwhile
    for pattern, top in (("*/blobs/*", hub_dir), ("blobs/*", store_dir)):
        for blob in _files(top, pattern):
            yield blob, blob.name


def _files(top: Path, pattern: str) -> list[Path]:
    """Globbing walks directories that are removed meanwhile: what it found by then is what there was."""
    found = []
    try:
        for path in top.glob(pattern):
            if not path.is_dir():
                found.append(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    return found


def _identity(path: Path) -> Identity:
    stats = path.stat()
    return stats.st_ino, stats.st_size, stats.st_mtime_ns
