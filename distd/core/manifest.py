"""Manifests: a resolved commit and its files, as the Hub names them and as we trust them.

A manifest comes over TLS from the Hub (or from a member that has it) and is the only authority on
hashes. Nothing in it is used before `checked_path` and `parse_etag` accepted it: a path becomes a
symlink below `snapshots/<commit>/`, an etag becomes a file name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from distd.core.refs import Repo
from distd.errors import UnsafePath

FILES_MAX = 200_000
"""Largest manifest taken. The Hub advises under 100,000 files a repo; more is a hostile answer."""
PATH_LENGTH_MAX = 4000
"""Linux limits a path to 4,096 bytes; the snapshot directory needs the rest."""
PATH_PART_LENGTH_MAX = 255
"""Linux limits a file name to 255 bytes."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_GIT_SHA1 = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file of a commit.

    `etag` names the blob: SHA-256 of the content for LFS and Xet files (64 hex digits), git's SHA-1 of
    `blob <size>\\0<content>` for the others (40). `git_oid` is the tree's own id of the entry (for an LFS
    file that of its pointer); it and `xet_hash` are kept because the cache's `trees/` file names them.
    """

    path: str
    size_bytes: int
    etag: str
    git_oid: str = ""
    xet_hash: str | None = None

    @property
    def is_lfs(self) -> bool:
        return len(self.etag) == 64


@dataclass(frozen=True)
class Manifest:
    """A commit's complete file list, sorted by path. `repo` is the name that was asked for."""

    repo: Repo
    commit: str
    files: tuple[ManifestFile, ...]

    @cached_property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @cached_property
    def by_path(self) -> dict[str, ManifestFile]:
        return {file.path: file for file in self.files}

    def __repr__(self) -> str:
        return f"<Manifest {self.repo}@{self.commit[:7]} {len(self.files)} files, {self.size_bytes} bytes>"


def checked_path(path: str) -> str:
    """Returns `path` if it stays inside the directory it is joined to. Raises UnsafePath."""
    reason = _path_fault(path)
    if reason:
        raise UnsafePath(path, reason)
    return path


def checked_files(files: Iterable[ManifestFile]) -> tuple[ManifestFile, ...]:
    """Files in path order, each path and etag safe, none twice, none inside another, one size a hash.

    Raises UnsafePath.

    One bad entry refuses the whole manifest: a Hub that sends one is broken or hostile, and a
    snapshot with holes would look complete to a model server.
    """
    result: dict[str, ManifestFile] = {}
    sizes: dict[str, int] = {}
    for file in files:
        checked_path(file.path)
        if not is_etag(file.etag):
            raise UnsafePath(file.path, f"has the malformed hash {file.etag[:80]!r}")
        if file.size_bytes < 0:
            raise UnsafePath(file.path, f"has the size {file.size_bytes}")
        if file.path in result:
            raise UnsafePath(file.path, "stands there twice")
        if sizes.setdefault(file.etag, file.size_bytes) != file.size_bytes:
            raise UnsafePath(file.path, f"has the hash of another file and not its size: {file.etag}")
        result[file.path] = file
        if len(result) > FILES_MAX:
            raise UnsafePath(file.path, f"is beyond the {FILES_MAX} files that a repo may have")
    for path in result:
        parent = path.rpartition("/")[0]
        while parent:
            if parent in result:
                raise UnsafePath(path, f"lies below {parent!r}, which is a file")
            parent = parent.rpartition("/")[0]
    return tuple(result[path] for path in sorted(result))


def is_etag(etag: str) -> bool:
    """Whether this is a SHA-256 or a git SHA-1 in lower-case hex: safe as a file name, usable as a hash.

    A gated repo's tree shows `*` instead of digits to those without access; that is no etag.
    """
    return _SHA256.fullmatch(etag) is not None or _GIT_SHA1.fullmatch(etag) is not None


def _path_fault(path: str) -> str | None:
    if not path or path.startswith("/"):
        return "is not relative"
    if "\\" in path or any(ord(char) < 32 or ord(char) == 127 for char in path):
        return "has a backslash or a control character"
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if len(encoded) > PATH_LENGTH_MAX:
        return f"is longer than {PATH_LENGTH_MAX} bytes"
    for part in path.split("/"):
        if part in ("", ".", ".."):
            return "has an empty part, '.' or '..'"
        if len(part.encode()) > PATH_PART_LENGTH_MAX:
            return f"has a part longer than {PATH_PART_LENGTH_MAX} bytes"
    return None
