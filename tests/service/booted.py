"""systemd as the first process of a root, by systemd-nspawn: what no other test can show of a unit."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.daemon.daemon import until
from tests.service.fresh_root import FreshRoot

BOOT_S = 60.0
MACHINE = "distd-test"


def nspawn() -> str | None:
    """The program, where it is installed or `$NSPAWN` names it."""
    return os.environ.get("NSPAWN") or shutil.which("systemd-nspawn")


class Booted:
    """The root running, without a network. Leaving the context ends it at once."""

    def __init__(self, root: FreshRoot) -> None:
        self._root = root
        self._log = root.path.parent / "boot.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._first = ""

    def __enter__(self) -> Self:
        program = nspawn()
        assert program is not None
        words = [
            *(program, f"--directory={self._root.path}", f"--machine={MACHINE}", "--register=no"),
            *("--keep-unit", "--private-network", "--boot"),
            # It would ask for a password and a time zone.
            "--bind-ro=/dev/null:/etc/systemd/system/systemd-firstboot.service",
        ]
        self._root.unmount_kernel()
        namespace = self._root.inside()[: self._root.inside().index("chroot")]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*namespace, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._first = until(self._child, "systemd-nspawn to start something", BOOT_S)
        until(lambda: self._state() in ("running", "degraded"), "the system to boot", BOOT_S, 0.3)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        subprocess.run(["kill", "-KILL", self._first], check=False)
        self._process.wait()
        self._root.mount_kernel()

    @contextmanager
    def beside(self, *words: str) -> Iterator[None]:
        """A program of this machine's, for as long as the context: it sees this machine's files, and of networks only
        that of the booted system."""
        entering = ["nsenter", f"--target={self._first}", "--net", "--"]
        with self._log.open("ab") as log:
            process = subprocess.Popen([*entering, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.kill()
            process.wait()

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        entering = ["nsenter", f"--target={self._first}", "-m", "-u", "-i", "-n", "-p", "-C", "--"]
        done = subprocess.run([*entering, *words], capture_output=True, text=True, timeout=60, check=False)
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def show(self, name: str) -> str:
        """A property of the unit."""
        return self.run("systemctl", "show", f"--property={name}", "--value", "distd").stdout.strip()

    def _child(self) -> str | None:
        """The container's first process: nspawn's child, which nsenter became."""
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return children[0] if children else None

    def _state(self) -> str:
        return self.run("systemctl", "is-system-running", check=False).stdout.strip()
