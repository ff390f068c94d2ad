"""Whether anybody uses a stored file, as far as the kernel tells a daemon without privileges.

*Open now*: the kernel grants a write lease on a file only when nobody else has it open or mapped, whoever that is and in
whichever container on this machine; nothing of /proc is needed, which a hardened service does not see. It is given back at
once. Somebody who opens the file in these microseconds waits for them.

*Read lately*: a read sets the access time. With `relatime`, the usual mount option, only the first read after a change of
the inode, then one a day; `note_read` changes the inode, so that the next read leaves its mark again. The daemon's own
reads (`open_unmarked`) leave none. With `noatime`, and for readers on other machines of a network file system, nothing is
known. Times are epoch seconds.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from pathlib import Path

F_SETSIG = 10
"""linux/fcntl.h; which signal tells that somebody wants the file. The default, SIGIO, ends a process; SIGURG is ignored."""


def open_unmarked(path: str | os.PathLike[str], flags: int = 0) -> int:
    """Opens for reading; where the file is ours, reads leave no access time. Raises OSError."""
    flags |= os.O_RDONLY | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_NOATIME)
    except PermissionError:  # somebody else's file; or no right to read it, which is found again
        return os.open(path, flags)


def is_open(path: Path) -> bool:
    """Whether another descriptor or mapping of the file exists, one of this process included.

    False where the file system has no leases, as if nobody had it open; raises OSError for a file that is gone.
    """
    fd = open_unmarked(path)
    try:
        fcntl.fcntl(fd, F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EBUSY)
    finally:
        os.close(fd)
    return False


def last_read(stats: os.stat_result) -> float | None:
    """When the file was last read after its inode changed last; None when it was not, as far as can be told."""
    return stats.st_atime if stats.st_atime_ns > stats.st_ctime_ns else None


def note_read(path: Path, stats: os.stat_result) -> None:
    """To be called when `last_read` was noted: the next read will leave its mark under `relatime`, too."""
    os.utime(path, ns=(stats.st_atime_ns, stats.st_mtime_ns))


def reads_are_known(path: Path) -> bool:
    """Whether the file system that holds `path` keeps access times at all."""
    return not os.statvfs(path).f_flag & os.ST_NOATIME
