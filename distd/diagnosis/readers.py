"""Readers of the cache: whether anybody but the daemon can read it, and whether the disk tells that somebody did."""

from __future__ import annotations

import grp
import os
import stat
from collections.abc import Callable
from pathlib import Path

from distd.api.schema import Finding
from distd.store.use import reads_are_known

READ_AND_ENTER = 0o5


def reader_findings(hub_dir: str) -> list[Finding]:
    """Looks at the disk: call it in a thread. A cache that only the daemon reads is a warning, not a failure."""
    path = os.path.abspath(hub_dir)
    try:
        found = os.stat(path)
        if found.st_mode & READ_AND_ENTER == READ_AND_ENTER and not _blocked_at(path, None):
            return [Finding("cache.readers", "ok", "every user can read the cache")]
        group = _group_name(found.st_gid)
        blocked_at = _blocked_at(path, found.st_gid)
    except OSError as error:
        return [Finding("cache.readers", "warn", f"{error.filename}: {error.strerror}", "check the mount")]
    if (found.st_mode >> 3) & READ_AND_ENTER != READ_AND_ENTER:
        detail = (
            f"{path} has mode {stat.S_IMODE(found.st_mode):04o}: only the daemon's user can read the cache"
        )
        fix = f"chgrp models {path}, chmod 2750 {path}, and run the daemon with umask 0027 (the unit does)"
        return [Finding("cache.readers", "warn", detail, fix)]
    if blocked_at:
        detail = f"the group {group} may read {path} and may not pass {blocked_at}"
        return [
            Finding(
                "cache.readers", "warn", detail, f"chmod o+x {blocked_at}, or move the cache (cache.hub_dir)"
            )
        ]
    return [
        Finding("cache.readers", "ok", f"the group {group} can read the cache (usermod -aG {group} USER)")
    ]


def reads_findings(hub_dir: str, known: Callable[[Path], bool] = reads_are_known) -> list[Finding]:
    """Whether reads leave access times, by which eviction tells what is used. `known` is asked of the disk."""
    path = Path(os.path.abspath(hub_dir))
    try:
        if known(path):
            return [
                Finding("cache.reads", "ok", "reads leave access times, so that what is read is not evicted")
            ]
    except OSError as error:
        return [Finding("cache.reads", "warn", f"{path}: {error.strerror}", "check the mount")]
    mount = next(each for each in (path, *path.parents) if os.path.ismount(each))
    detail = (
        f"{mount} is mounted noatime: reads leave no trace once a file is closed. When room is wanted, files that are open or"
        " mapped stay, and what `distctl path`, `wait` or `env` was asked for within the hour; the rest goes in the order in which"
        " it was published or asked for"
    )
    fix = f"mount -o remount,relatime {mount}, and the same in /etc/fstab; or pin what has to stay (distctl pin)"
    return [Finding("cache.reads", "warn", detail, fix)]


def _blocked_at(path: str, gid: int | None) -> str:
    """The directory above `path` that the group, or with None everybody, may not pass; empty when there is none."""
    while (path := os.path.dirname(path)) != "/":
        found = os.stat(path)
        passes = found.st_mode & stat.S_IXOTH or (found.st_gid == gid and found.st_mode & stat.S_IXGRP)
        if not passes:
            return path
    return ""


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
