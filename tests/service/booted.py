"""systemd as the first process of a root: what no other test can show of a unit. By systemd-nspawn, else by namespaces of our own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.daemon.daemon import until
from tests.service.fresh_root import FreshRoot

BOOT_S = 60.0
MACHINE = "distd-test"
BY_HAND = """
set -e
root=$1
mount --rbind "$root" "$root"
cd "$root"
mkdir -p proc sys dev run tmp outside
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t tmpfs tmpfs sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
# Nodes of its own: what is inside gives its console another owner and mode.
while read -r device major minor; do
    mknod -m 666 "dev/$device" c "$major" "$minor"
done <<END
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
console 1 3
END
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
mount -t tmpfs tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for unit in systemd-firstboot console-getty; do
    ln -sf /dev/null etc/systemd/system/$unit.service
done
pivot_root . outside
umount -l outside
# As a container manager leaves it: what the system mounts for a service is seen by all.
mount --make-rshared /
exec env -i PATH=/usr/bin:/usr/sbin container=other setpriv \\
    --bounding-set=-sys_module,-sys_rawio,-sys_time,-syslog,-mac_admin,-mac_override,-sys_boot \\
    /usr/lib/systemd/systemd --show-status=false
"""
"""In namespaces of mounts, processes and the like: what a container manager prepares, and no more. Clock, modules and kernel
settings of this machine are out of its reach."""
CGROUPS = Path("/sys/fs/cgroup/unified")
"""Where a machine has control groups of both versions."""


def _cgroup() -> Path | None:
    """The control group to run it in, not made yet; None where none can be."""
    for top in (Path("/sys/fs/cgroup"), CGROUPS):
        if (top / "cgroup.procs").exists() and os.access(top, os.W_OK):
            return top / MACHINE
    return None


def can_boot() -> bool:
    """With nspawn, or as root where this machine's systemd can be the first process of a namespace."""
    own = os.geteuid() == 0 and Path("/usr/lib/systemd/systemd").exists() and _cgroup() is not None
    return nspawn() is not None or own


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
        self._root.unmount_kernel()
        namespace = self._root.inside()[: self._root.inside().index("chroot")]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*namespace, *self._words()], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._first = until(self._child, "something to be started", BOOT_S)
        until(lambda: self._state() in ("running", "degraded"), "the system to boot", BOOT_S, 0.3)
        return self

    def _words(self) -> list[str]:
        program = nspawn()
        if program is None:
            cgroup = _cgroup()
            assert cgroup is not None
            cgroup.mkdir(exist_ok=True)
            enter = f'echo $$ > {cgroup}/cgroup.procs && exec "$@"'
            namespaces = ["--mount", "--propagation=private", "--pid", "--cgroup", "--ipc", "--uts", "--net"]
            return [
                *("sh", "-c", enter, "sh", "unshare", *namespaces, "--fork", "--kill-child"),
                *("sh", "-c", BY_HAND, "sh", str(self._root.path)),
            ]
        return [
            *(program, f"--directory={self._root.path}", f"--machine={MACHINE}", "--register=no"),
            *("--keep-unit", "--private-network", "--boot"),
            # It would ask for a password and a time zone.
            "--bind-ro=/dev/null:/etc/systemd/system/systemd-firstboot.service",
        ]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        subprocess.run(["kill", "-KILL", self._first], check=False)
        self._process.wait()
        self._root.mount_kernel()
        if cgroup := _cgroup():
            for directory, _, _ in os.walk(cgroup, topdown=False):
                with suppress(OSError):  # somebody still ends in it
                    os.rmdir(directory)

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
