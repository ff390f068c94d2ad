"""One repo's directory in a Hugging Face cache, as steps that can each be done again.

The layout is that of huggingface_hub 2.4; other programs read it at every moment and some write it too.
So each step makes one thing appear complete or not at all, in an order in which what exists is always
usable: blobs, then the snapshot as a whole, then the list of its files, then the ref that leads to it.

What is being built lies in `.distd/` inside the repo's directory: the client looks only into the
directories it knows, and there new files inherit the group and the access list that readers rely on.
Everything here blocks and runs in threads, one call at a time per repo.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from distd.core.manifest import Manifest, ManifestFile
from distd.core.refs import is_commit
from distd.errors import StorageFailed
from distd.store.disk import fsync_dir, umask, write_durably
from distd.store.hashing import hash_open_file
from distd.store.use import open_unmarked
from distd.store.workers import StopFlag

TREE_FORMAT_VERSION = 1
"""`trees/<commit>.json` of huggingface_hub 2.4 (its _tree_cache.py)."""
SCRATCH_NAME = ".distd"
REF_BYTES = 40


class RepoDir:
    """`path` is `<hub_dir>/models--org--name`; `dir_mode` is subject to the umask."""

    def __init__(self, path: Path, dir_mode: int) -> None:
        self.path = path
        self._dir_mode = dir_mode
        self._blobs = path / "blobs"
        self._snapshots = path / "snapshots"
        self._trees = path / "trees"
        self._refs = path / "refs"
        self._scratch = path / SCRATCH_NAME

    def prepare(self) -> None:
        """Makes the directories; drops what a crash left in the scratch directory."""
        for directory in (self.path, self._blobs, self._snapshots, self._refs):
            directory.mkdir(mode=self._dir_mode, exist_ok=True)
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(mode=self._dir_mode, exist_ok=True)

    def tidy(self) -> None:
        """Removes the scratch directory."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def place_blob(self, stop: StopFlag, etag: str, stored: Path) -> None:
        """Makes `blobs/<etag>` lead to the right content: what is there and right stays, else ours replaces it.

        Nothing is ever written through what is there: it may be a link into the cache's store of Xet
        files, which other repos share.
        """
        place = self._blobs / etag
        _share_group(stored, self._blobs)
        try:
            os.link(stored, place, follow_symlinks=False)
        except FileExistsError:
            if not _is_content(stop, place, etag, stored):
                temporary = self._temporary()
                os.link(stored, temporary, follow_symlinks=False)
                os.rename(temporary, place)

    def place_snapshot(self, stop: StopFlag, commit: str, files: Sequence[ManifestFile]) -> None:
        """Makes every path of `files` lead to its blob in `snapshots/<commit>`, a new snapshot all at once."""
        fsync_dir(self._blobs)
        snapshot = self._snapshots / commit
        if not os.path.lexists(snapshot):
            building = self._temporary()
            building.mkdir(mode=self._dir_mode)
            for file in files:
                pointer = self._pointer(building, file.path)
                os.symlink(_target(file), pointer)
            for directory, _, _ in os.walk(building, topdown=False):
                fsync_dir(Path(directory))
            try:
                os.rename(building, snapshot)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise  # those two: another program made it meanwhile
        for file in files:
            self._place_pointer(stop, snapshot, file)
        fsync_dir(self._snapshots)

    def _place_pointer(self, stop: StopFlag, snapshot: Path, file: ManifestFile) -> None:
        pointer = self._pointer(snapshot, file.path)
        try:
            mode = pointer.lstat().st_mode
            if stat.S_ISLNK(mode) and os.readlink(pointer) == _target(file):
                return
            if stat.S_ISDIR(mode):
                raise StorageFailed(str(pointer), "is a directory where the repo has a file")
            # An absolute link, or the file itself as written where links are not possible.
            if _is_content(stop, pointer, file.etag, self._blobs / file.etag):
                return
        except FileNotFoundError:
            pass
        temporary = self._temporary()
        os.symlink(_target(file), temporary)
        os.rename(temporary, pointer)
        fsync_dir(pointer.parent)

    def _pointer(self, snapshot: Path, path: str) -> Path:
        """The place of `path`, the directories above it made; none of them may lead elsewhere."""
        directory = snapshot
        for part in (None, *path.split("/")[:-1]):
            if part is not None:
                directory = directory / part
                directory.mkdir(mode=self._dir_mode, exist_ok=True)
            if not stat.S_ISDIR(directory.lstat().st_mode):
                raise StorageFailed(str(directory), "is not a directory where the repo has one")
        return directory / path.rpartition("/")[2]

    def place_tree(self, manifest: Manifest) -> None:
        """Writes the list by which clients know, offline, that the snapshot is complete.

        Only for a snapshot with all files: with the list of a partial one, clients refuse it offline.
        """
        self._trees.mkdir(mode=self._dir_mode, exist_ok=True)
        place = self._trees / f"{manifest.commit}.json"
        content = json.dumps(
            {
                "format_version": TREE_FORMAT_VERSION,
                "files": {file.path: _tree_entry(file) for file in manifest.files},
            },
            indent=1,
        ).encode()
        # The client makes its own with mode 0600, which other users of the cache cannot read.
        readable = place.exists() and stat.S_IMODE(place.stat().st_mode) == 0o644 & ~umask()
        if not readable or _read(place, len(content) + 1) != content:
            write_durably(place, content, self._scratch)

    def place_ref(self, name: str, commit: str) -> None:
        """Points `refs/<name>` at the commit: 40 bytes, no newline. A stale ref in the way of a name goes."""
        place = self._refs / name
        if _read(place, REF_BYTES + 1) == commit.encode():
            return
        directory = self._refs
        for part in name.split("/")[:-1]:
            directory = directory / part
            if directory.is_file() or directory.is_symlink():
                directory.unlink()  # git has no branch `a` beside `a/b`: it was deleted upstream
            directory.mkdir(mode=self._dir_mode, exist_ok=True)
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        write_durably(place, commit.encode(), self._scratch)

    def refs(self) -> dict[str, str]:
        """Every ref with the commit it names; unreadable ones are left out."""
        found: dict[str, str] = {}
        for place in sorted(self._refs.glob("**/*")):
            content = (_read(place, REF_BYTES + 1) or b"").decode("ascii", "replace")
            if is_commit(content):
                found[place.relative_to(self._refs).as_posix()] = content
        return found

    def snapshots(self) -> list[str]:
        """Commits that have a snapshot directory, whole or partial."""
        try:
            return sorted(name for name in os.listdir(self._snapshots) if is_commit(name))
        except FileNotFoundError:
            return []

    def blob(self, etag: str) -> Path:
        return self._blobs / etag

    def pointer(self, commit: str, path: str) -> Path:
        return self._snapshots / commit / path

    def remove_snapshot(self, commit: str, ours: Path) -> int:
        """Takes a commit out: its refs, then the snapshot at once, then blobs no other snapshot links.

        Removes, besides the snapshot's own blobs, those that a removal cut short left behind: linked
        nowhere, and either of a snapshot in the scratch directory or one file with a blob in directory
        `ours`. Returns the bytes that come free. Idempotent.
        """
        if not self.path.is_dir():
            return 0
        candidates = _linked_blobs(self._snapshots / commit) | _linked_blobs(self._scratch)
        self.prepare()
        for name, target in self.refs().items():
            if target == commit:
                (self._refs / name).unlink(missing_ok=True)
                _remove_empty(self._refs / name, self._refs)
        (self._trees / f"{commit}.json").unlink(missing_ok=True)
        if (self._snapshots / commit).is_dir():
            os.rename(self._snapshots / commit, self._temporary())
        shutil.rmtree(self.path / ".no_exist" / commit, ignore_errors=True)
        used: set[str] = set()
        for other in self.snapshots():
            used |= _linked_blobs(self._snapshots / other)
        freed_bytes = 0
        for etag in os.listdir(self._blobs):
            place = self._blobs / etag
            if etag not in used and (etag in candidates or _same_file(place, ours / etag)):
                stats = place.lstat()
                place.unlink()
                freed_bytes += stats.st_size if stat.S_ISREG(stats.st_mode) and stats.st_nlink == 1 else 0
        self.tidy()
        self._remove_if_bare()
        return freed_bytes

    def _remove_if_bare(self) -> None:
        """Removes the repo's directory when nothing but empty directories is left in it."""
        if any(files for _, _, files in os.walk(self.path)) or self.snapshots():
            return
        for directory, _, _ in os.walk(self.path, topdown=False):
            try:
                os.rmdir(directory)
            except OSError:
                return  # another program is putting something there

    def _temporary(self) -> Path:
        return self._scratch / secrets.token_hex(8)


def content_of(stop: StopFlag, path: Path, etag: str) -> str | None:
    """What the file at `path` (through links) hashes to by `etag`'s kind; None if there is no such file."""
    try:
        fd = open_unmarked(path, os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise
    try:
        return hash_open_file(stop, fd, etag) if stat.S_ISREG(os.fstat(fd).st_mode) else None
    finally:
        os.close(fd)


def _is_content(stop: StopFlag, place: Path, etag: str, stored: Path) -> bool:
    """Whether `place` leads to the same file as `stored`, or else to content that hashes to `etag`."""
    try:
        return _same_file(place, stored) or content_of(stop, place, etag) == etag
    except OSError:
        return False  # what cannot be read serves nobody: it is replaced


def _same_file(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _share_group(stored: Path, directory: Path) -> None:
    """Gives the blob the group that new files in `directory` get: the store's own group may be another."""
    stats = directory.stat()
    if stats.st_mode & stat.S_ISGID and stored.stat().st_gid != stats.st_gid:
        os.chown(stored, -1, stats.st_gid)


def _target(file: ManifestFile) -> str:
    return "../" * (2 + file.path.count("/")) + f"blobs/{file.etag}"


def _tree_entry(file: ManifestFile) -> dict[str, object]:
    entry: dict[str, object] = {"size": file.size_bytes, "blob_id": file.git_oid or file.etag}
    if file.is_lfs:
        entry |= {"lfs_sha256": file.etag, "lfs_size": file.size_bytes}
    if file.xet_hash is not None:
        entry["xet_hash"] = file.xet_hash
    return entry


def _linked_blobs(snapshot: Path) -> set[str]:
    """Names in blobs/ that the snapshot's links name. A link elsewhere names none."""
    found: set[str] = set()
    for directory, _, names in os.walk(snapshot):
        for name in names:
            try:
                target = os.readlink(os.path.join(directory, name))
            except OSError:
                continue  # the file itself, or gone
            parent, _, etag = target.rpartition("/")
            if parent.endswith("blobs"):
                found.add(etag)
    return found


def _remove_empty(place: Path, top: Path) -> None:
    for directory in place.parents:
        if directory == top:
            return
        try:
            directory.rmdir()
        except OSError:
            return  # other refs live there


def _read(path: Path, limit_bytes: int) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(limit_bytes)
    except OSError:
        return None


def unique_etags(files: Iterable[ManifestFile]) -> dict[str, int]:
    """Each blob once, with its size: files of equal content share one."""
    return {file.etag: file.size_bytes for file in files}
