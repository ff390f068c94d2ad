"""A root of its own for the Debian package: nothing of this machine but `/usr`, below which it may write freely.

In a mount namespace of its own, so that nothing is left mounted. Needs root.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

TIMEOUT_S = 120.0


class FreshRoot:
    """`run` runs a command in it. Leave the context to unmount everything and end what still runs there."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "root"
        for name in (
            "usr",
            "etc/ssl",
            "var/lib/dpkg/info",
            "var/lib/dpkg/updates",
            "run",
            "tmp",
            "opt",
            "proc",
        ):
            (self.path / name).mkdir(parents=True)
        for name in ("dev", "sys", "root"):
            (self.path / name).mkdir()
        for name in ("bin", "sbin", "lib", "lib64"):
            (self.path / name).symlink_to(f"usr/{name}")
        (self.path / "tmp").chmod(0o1777)
        (self.path / "var/lib/dpkg/status").touch()
        (self.path / "etc/machine-id").touch()
        (self.path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (self.path / "etc/group").write_text("root:x:0:\n")
        shutil.copy("/etc/ld.so.cache", self.path / "etc")
        shutil.copytree("/etc/ssl/certs", self.path / "etc/ssl/certs", symlinks=True)
        self._layers = [directory / "upper", directory / "work"]
        self._namespace: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        for layer in self._layers:
            layer.mkdir()
        upper, work = self._layers
        self._namespace = subprocess.Popen(
            ["unshare", "--mount", "--propagation=private", "sleep", "infinity"]
        )
        time.sleep(0.2)  # until it has its namespace
        options = f"lowerdir=/usr,upperdir={upper},workdir={work}"
        self.beside("mount", "-t", "overlay", "overlay", "-o", options, str(self.path / "usr"))
        self.mount_kernel()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._namespace is not None
        self._namespace.kill()
        self._namespace.wait()

    def mount_kernel(self) -> None:
        """`/proc` and `/dev`, which a system that boots here brings itself."""
        for name in ("proc", "dev"):
            self.beside("mount", "--rbind", f"/{name}", str(self.path / name))

    def unmount_kernel(self) -> None:
        for name in ("proc", "dev"):
            self.beside("umount", "--lazy", str(self.path / name))

    def inside(self, *words: str) -> list[str]:
        """The command line that runs `words` with this as its root."""
        return [*self._entering(), "chroot", str(self.path), *words]

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return _run(self.inside(*words), check)

    def beside(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs it where the mounts are seen, and this machine's root too."""
        return _run([*self._entering(), *words], check)

    def install(self, package: Path) -> subprocess.CompletedProcess[str]:
        """As `dpkg -i`. What it depends on is there in `/usr`, though this root's dpkg has not heard of it."""
        shutil.copy(package, self.path / "tmp/distd.deb")
        return self.run("dpkg", "--force-depends", "-i", "/tmp/distd.deb")

    def _entering(self) -> list[str]:
        assert self._namespace is not None
        return ["nsenter", f"--target={self._namespace.pid}", "--mount"]


def _run(words: list[str], check: bool) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert not check or done.returncode == 0, (
        f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    )
    return done
