"""Makes the cluster's secret file: the one thing that has to be the same on every member."""

from __future__ import annotations

import os

from peers import secret


def write_new(path: str, *, replace: bool = False) -> None:
    """A new secret at `path`, readable by its owner alone, complete or not there at all.

    Raises OSError: FileExistsError when there is a file already, unless `replace`.
    """
    aside = f"{path}.{os.getpid()}.new"
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secret.generate() + "\n")
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(aside, path)
        else:
            os.link(aside, path)  # unlike a rename it never replaces
    finally:
        if os.path.lexists(aside):
            os.unlink(aside)
