"""The unix socket's file: never open to more than owner and group, and a stale one is replaced.

The socket is bound under a temporary name, given its mode, made to listen, and only then renamed into
place: there is no moment at which the name exists with other permissions or without an answer.
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager

SOCKET_MODE = 0o660
"""Whoever may write the file may write through the API: the owner and the group."""
BACKLOG = 128
FIRST_INHERITED_FD = 3
"""After standard input, output and error: sd_listen_fds(3)."""
INHERITED_MAX = 16
"""Our unit hands over one; more are somebody's drop-in, and the search ends somewhere."""
PATH_BYTES_MAX = 107
"""Linux: 108 bytes in `sockaddr_un.sun_path`, with a closing NUL."""


@contextmanager
def unix_listener(path: str) -> Iterator[socket.socket]:
    """A listening socket at `path`, removed on leaving unless another process has taken the name.

    One that the service manager opened there and handed over (sd_listen_fds(3)) is used as it is, and left in place.

    Raises OSError: EADDRINUSE where another process answers, EEXIST where `path` is no socket.
    """
    if (given := _inherited(path)) is not None:
        with given:
            yield given
        return
    _refuse_if_taken(path)
    temporary = f"{path}.{secrets.token_hex(4)}"
    if len(os.fsencode(temporary)) > PATH_BYTES_MAX:
        raise OSError(errno.ENAMETOOLONG, f"a socket path has at most {PATH_BYTES_MAX - 9} bytes")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(temporary)
        try:
            os.chmod(temporary, SOCKET_MODE)
            listener.listen(BACKLOG)
            ours = _identity(temporary)
            os.rename(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise
        try:
            yield listener
        finally:
            if _identity(path) == ours:
                os.unlink(path)
    finally:
        listener.close()


def _inherited(path: str) -> socket.socket | None:
    """Once: whoever asks again, or in a child, gets none."""
    told, pid = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "")
    if pid != str(os.getpid()) or not told.isdecimal():
        return None
    found = None
    for descriptor in range(FIRST_INHERITED_FD, FIRST_INHERITED_FD + min(int(told), INHERITED_MAX)):
        try:
            given = socket.socket(fileno=descriptor)
        except OSError:
            continue  # no socket
        os.set_inheritable(descriptor, False)
        is_ours = given.family == socket.AF_UNIX and given.getsockname() == path
        if is_ours and given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            found = given
        else:
            given.detach()
    return found


def _refuse_if_taken(path: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "a file that is not a socket is in the way")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return
    raise OSError(errno.EADDRINUSE, "another process answers there; is distd already running?")


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
