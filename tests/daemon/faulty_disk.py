"""A disk that fails under a running daemon, for files whose path has a word in it, and is well again when told so."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Literal

import pytest

SOURCE = Path(__file__).with_suffix(".c")


class FaultyDisk:
    """Give `environment` to a `DaemonProcess`. Skips the test where there is no C compiler."""

    def __init__(self, directory: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("a faulty disk is a library that has to be compiled: no cc")
        library = directory / "faulty_disk.so"
        subprocess.run(
            [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"], check=True
        )
        self._rules = directory / "faulty_disk.rules"
        self.environment = {"LD_PRELOAD": str(library), "FAULTY_DISK": str(self._rules)}

    def fail(self, error: int, operation: Literal["r", "w"], word: str) -> None:
        """From now on, in place of what was told before."""
        self._tell(error, operation, word)

    def kill_at(self, operation: Literal["r", "w", "m"], word: str) -> None:
        """SIGKILL for the process that next reads or writes such a file, or the moment it has moved one (m) elsewhere."""
        self._tell(-signal.SIGKILL, operation, word)

    def _tell(self, number: int, operation: str, word: str) -> None:
        prepared = self._rules.with_suffix(".new")
        prepared.write_text(f"{number} {operation} {word}\n")
        os.replace(prepared, self._rules)

    def heal(self) -> None:
        self._rules.unlink(missing_ok=True)
