"""The names a Hub gives to content, and a cache of them beside a directory.

An LFS file is named by the SHA-256 of its content, a git file by the SHA-1 of its git blob; the tree also names the
pointer file that git stores for an LFS file. Sizes are bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

READ_BYTES = 4 * 1024 * 1024
"""One read while hashing: large enough that the calls cost nothing beside the hash, small enough to stay cached."""


@dataclass(frozen=True, slots=True)
class Digest:
    """What a commit says about one file's content, whichever of the two names it will use."""

    size_bytes: int
    sha256: str
    git_sha1: str


def git_blob_sha1(content: bytes) -> str:
    """Git's name for `content` stored as a blob: SHA-1 over `blob <length>\\0` and the content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def lfs_pointer(sha256: str, size_bytes: int) -> bytes:
    """The text git holds in place of an LFS file; `/raw/` answers it and the tree's `oid` is its git name."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size_bytes}\n".encode()


def digest_bytes(content: bytes) -> Digest:
    return Digest(len(content), hashlib.sha256(content).hexdigest(), git_blob_sha1(content))


def digest_file(path: Path) -> Digest:
    """Reads the file once, both hashes in the same pass."""
    size_bytes = path.stat().st_size
    sha256 = hashlib.sha256()
    git_sha1 = hashlib.sha1(b"blob %d\0" % size_bytes)
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            sha256.update(chunk)
            git_sha1.update(chunk)
    return Digest(size_bytes, sha256.hexdigest(), git_sha1.hexdigest())


class DigestCache:
    """Digests of the files below one directory, kept in `<directory>.hashes.json` beside it.

    Beside and not inside, so that the directory stays exactly what the repo contains. An entry holds while the file's
    size and modification time do. Call `save` once at the end; a directory whose parent is read-only stays uncached.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._cache = directory.with_name(directory.name + ".hashes.json")
        self._entries: dict[str, list[object]] = {}
        self._changed = False
        if self._cache.exists():
            self._entries = json.loads(self._cache.read_text())

    def digest(self, path: str) -> Digest:
        """The digest of the file at `path` (relative, `/` separated), computed when it is not known or changed."""
        state = self._state(path)
        entry = self._entries.get(path)
        if entry is not None and entry[:2] == state:
            return Digest(int(str(entry[0])), str(entry[2]), str(entry[3]))
        digest = digest_file(self._directory / path)
        self.remember(path, digest)
        return digest

    def remember(self, path: str, digest: Digest) -> None:
        """Records what a writer of the file already computed."""
        self._entries[path] = [*self._state(path), digest.sha256, digest.git_sha1]
        self._changed = True

    def save(self) -> None:
        if not self._changed or not os.access(self._cache.parent, os.W_OK):
            return
        temporary = self._cache.with_name(f"{self._cache.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(self._entries))
        temporary.replace(self._cache)
        self._changed = False

    def _state(self, path: str) -> list[object]:
        status = (self._directory / path).stat()
        return [status.st_size, status.st_mtime_ns]
