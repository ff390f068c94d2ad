"""The node's blobs: verified content by its Hub hash, one copy however many repos and revisions name it.

```
<store_dir>/blobs/<etag>       verified, read-only
<store_dir>/incoming/<etag>    being filled, its journal beside it
<store_dir>/ledgers/<etag>     who claimed which digest of a blob's pieces, as long as there is the blob
<store_dir>/pieces/<etag>      a verified blob's last journal, or one made when it came as a whole: the digests of its pieces
<store_dir>/scratch/           what is being built or removed; emptied at start
```

Nothing reaches `blobs/` whose hash was not computed from the very bytes that lie there. Names appear and
vanish by rename and link only, so a crash leaves a blob either there or not. Sizes in bytes.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from distd.core.manifest import is_etag
from distd.errors import HashMismatch
from distd.store.adopting import take_over
from distd.store.disk import free_bytes, fsync_dir, reported_for, umask
from distd.store.fingerprint import Fingerprint
from distd.store.incoming import JOURNAL_SUFFIX, IncomingBlob, open_incoming, release
from distd.store.journal import JournalState, Parameters, load
from distd.store.workers import StopFlag, Workers, finished

FILE_MODE = 0o444
DIR_MODE = 0o755


class BlobStore:
    """Call `open` first and `close` last. All methods belong to the event loop; long work goes to `workers`."""

    def __init__(
        self,
        store_dir: Path,
        *,
        file_mode: int = FILE_MODE,
        dir_mode: int = DIR_MODE,
        workers: Workers | None = None,
        cut: Callable[[int], int] = lambda size_bytes: size_bytes,
    ) -> None:
        """`file_mode` and `dir_mode` are subject to the umask. `workers` given are the caller's to close. `cut` says how long
        the pieces of a blob are whose digests are kept although it came as a whole: none of one piece."""
        self._cut = cut
        self.store_dir = store_dir
        self.scratch_dir = store_dir / "scratch"
        self.ledgers_dir = store_dir / "ledgers"
        self._pieces_dir = store_dir / "pieces"
        self.workers = workers or Workers()
        self.dir_mode = dir_mode
        self._owns_workers = workers is None
        self._file_mode = file_mode
        self._blobs_dir = store_dir / "blobs"
        self._incoming_dir = store_dir / "incoming"
        self._open: dict[str, IncomingBlob] = {}

    @property
    def file_mode(self) -> int:
        """Mode of a verified blob, the umask applied."""
        return self._file_mode & ~umask()

    def open(self) -> None:
        """Creates the directories and removes what a crash left half done. Raises StorageFailed."""
        with reported_for(self.store_dir):
            beside = (self.ledgers_dir, self._pieces_dir)
            for directory in (self._blobs_dir, self._incoming_dir, self.scratch_dir, *beside):
                directory.parent.mkdir(mode=self.dir_mode, parents=True, exist_ok=True)
                directory.mkdir(mode=self.dir_mode, exist_ok=True)
            for leftover in self.scratch_dir.iterdir():
                self._unlink_later(leftover)
            for entry in self._incoming_dir.iterdir():
                if is_etag(entry.name):
                    self.release(entry.name)
            names = {entry.name for entry in self._incoming_dir.iterdir()}
            for name in names:
                if name.endswith(JOURNAL_SUFFIX) and name.removesuffix(JOURNAL_SUFFIX) not in names:
                    (self._incoming_dir / name).unlink()
            names.update(os.listdir(self._blobs_dir))
            for directory in beside:
                for entry in directory.iterdir():
                    if entry.name not in names:
                        entry.unlink()

    async def close(self) -> None:
        """Closes what is still incoming (it can be gone on with after the next start) and ends the threads."""
        for incoming in tuple(self._open.values()):
            await incoming.close()
        self._open.clear()
        if self._owns_workers:
            self.workers.close()

    def path(self, etag: str) -> Path:
        """Where the verified blob lies, or would. Raises ValueError for what is no etag."""
        return self._blobs_dir / _checked(etag)

    def incoming_path(self, etag: str) -> Path:
        """Where the blob lies while it is being filled."""
        return self._incoming_dir / _checked(etag)

    def has(self, etag: str, size_bytes: int) -> bool:
        """Whether the verified blob is here. One of another length is no such blob."""
        try:
            stats = self.path(etag).lstat()
        except OSError:
            return False
        return stats.st_size == size_bytes

    async def incoming(self, etag: str, size_bytes: int, piece_length_bytes: int) -> IncomingBlob:
        """Opens the blob for filling, where an earlier run left off if its journal says so.

        Raises NoSpace before anything is written, StorageFailed, RuntimeError while it is open already.
        """
        if piece_length_bytes < 1 or size_bytes < 0:
            raise ValueError(f"size {size_bytes}, piece length {piece_length_bytes}")
        path = self.incoming_path(etag)
        current = self._open.get(etag)
        if current is not None and not current.closed:
            raise RuntimeError(f"{etag} is being filled already")
        parameters = Parameters(etag, size_bytes, piece_length_bytes)
        opening = self.workers.disk.submit(open_incoming, path, parameters, self.workers)
        try:
            incoming = await finished(opening)
        except asyncio.CancelledError:
            if opening.done() and opening.exception() is None:
                await opening.result().close()
            raise
        if self._open.get(etag) not in (None, current):
            await incoming.close()
            raise RuntimeError(f"{etag} is being filled already")
        self._open[etag] = incoming
        return incoming

    def incoming_bytes(self, etag: str) -> dict[str, int] | None:
        """Stored bytes by source of a blob being filled, open or left by an earlier run; None if there is none."""
        current = self._open.get(etag)
        if current is not None and not current.closed:
            return current.bytes_by_source()
        path = self.incoming_path(etag)
        try:
            state = load(path.with_name(path.name + JOURNAL_SUFFIX))
            if state is None or state.parameters.etag != etag:
                return None
            if path.lstat().st_size != state.parameters.size_bytes:
                return None
        except OSError:
            return None
        return state.bytes_by_source()

    async def accept(self, incoming: IncomingBlob, actual: str, *, keep_name: bool = False) -> Path:
        """Makes a filled blob a verified one and returns its path; `actual` is what its bytes hash to.

        `keep_name`: something still reads the file by its incoming path; call `release` when it does no more.
        Raises HashMismatch (everything stays as it is, for a repair), StorageFailed, RuntimeError while
        pieces are missing or being written. Closes `incoming` on success.
        """
        etag = incoming.etag
        if not incoming.complete or incoming.being_written:
            raise RuntimeError(f"{etag} has {len(incoming.have)} of {incoming.piece_count} pieces")
        if actual != etag:
            raise HashMismatch(path=str(incoming.path), expected=etag, actual=actual)
        incoming.sealed = True
        try:
            return await self.workers.run(self._accept, incoming, keep_name)
        finally:
            incoming.sealed = False
            if self.path(etag).exists():  # accepted, also when the caller was cancelled meanwhile
                await incoming.close()
                self._open.pop(etag, None)

    def _accept(self, incoming: IncomingBlob, keep_name: bool) -> Path:
        path = self.path(incoming.etag)
        with reported_for(incoming.path):
            os.fdatasync(incoming.fd)
            os.fchmod(incoming.fd, self.file_mode)
            if keep_name:
                os.link(incoming.path, path)
            else:
                os.rename(incoming.path, path)
            fsync_dir(self._blobs_dir)
            journal = incoming.path.with_name(incoming.path.name + JOURNAL_SUFFIX)
            with suppress(FileNotFoundError):
                os.rename(journal, self._pieces_dir / incoming.etag)
        return path

    def release(self, etag: str) -> None:
        """Takes the name away that `accept` kept, the last one if the blob was removed since. Idempotent; a blob that is
        being filled keeps its only one."""
        path = self.incoming_path(etag)
        with reported_for(path):
            release(path)

    async def adopt(self, etag: str, size_bytes: int, path: Path, *, may_copy: bool = True) -> bool:
        """Takes over an existing file as the blob if its bytes have the right hash; True when the blob is here then.

        A file of ours is hard-linked and made read-only, another's is cloned or copied. Raises WouldCopy, NoSpace,
        StorageFailed. Idempotent.
        """
        if self.has(etag, size_bytes):
            return True
        target = self.path(etag)
        return await self.workers.run_long(self._adopt, etag, size_bytes, path, target, may_copy)

    def _adopt(
        self, stop: StopFlag, etag: str, size_bytes: int, path: Path, target: Path, may_copy: bool
    ) -> bool:
        wanted = self.fingerprint(etag, size_bytes)
        taken = take_over(stop, path, self.scratch_dir, wanted, self.file_mode, may_copy=may_copy)
        if taken is None:
            return False
        with reported_for(target):
            os.rename(taken, target)
            taken.unlink(missing_ok=True)  # rename leaves the old name when both are one file
            self.keep_pieces(wanted)
            fsync_dir(self._blobs_dir)
        return True

    def discard(self, etag: str) -> None:
        """Drops what arrived of a blob. Close the IncomingBlob first. Idempotent. Raises RuntimeError, StorageFailed."""
        current = self._open.get(etag)
        if current is not None and not current.closed:
            raise RuntimeError(f"{etag} is being filled")
        self._open.pop(etag, None)
        path = self.incoming_path(etag)
        with reported_for(path):
            path.with_name(path.name + JOURNAL_SUFFIX).unlink(missing_ok=True)
            self._remove(path)

    def left_incoming(self) -> dict[str, int]:
        """Blobs, with their lengths, of which an earlier run left a part and that nobody has opened since. Raises StorageFailed."""
        return {etag: size for etag, size in self.parts().items() if etag not in self._open}

    def remove(self, etag: str) -> int:
        """Removes a verified blob; returns the bytes that come free: 0 while a cache still links it. Idempotent."""
        path = self.path(etag)
        with reported_for(path):
            for directory in (self.ledgers_dir, self._pieces_dir):
                (directory / etag).unlink(missing_ok=True)
            return self._remove(path)

    def known_pieces(self, etag: str) -> JournalState | None:
        """The digests of a verified blob's pieces; None where they are not kept. Raises OSError."""
        state = load(self._pieces_dir / _checked(etag))
        return state if state is not None and state.parameters.etag == etag else None

    def fingerprint(self, etag: str, size_bytes: int) -> Fingerprint:
        """For a blob that is read as a whole; `keep_pieces` of it once it is right and in the store."""
        return Fingerprint(_checked(etag), size_bytes, self._cut)

    def keep_pieces(self, read: Fingerprint) -> None:
        """Keeps the digests of a verified blob's pieces; without room for them, rot costs the whole file. Blocks."""
        journal = read.journal()
        if journal is None:
            return
        building = self.scratch_dir / secrets.token_hex(8)
        with suppress(OSError):
            building.write_bytes(journal)
            os.rename(building, self._pieces_dir / read.etag)

    def quarantine(self, etag: str) -> int:
        """Removes a blob that was found bad, so that it is fetched anew; returns the bytes that come free.

        Caches that link it keep the bad bytes until `HubCache.publish` replaces them.
        """
        return self.remove(etag)

    def blobs(self) -> dict[str, int]:
        """All verified blobs with their sizes."""
        with reported_for(self._blobs_dir), os.scandir(self._blobs_dir) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if is_etag(entry.name)}

    def usage_bytes(self) -> int:
        """Bytes of all blobs, verified and incoming (those have their full length from the start)."""
        return sum(self.parts().values()) + sum(self.blobs().values())

    def parts(self) -> dict[str, int]:
        """All incoming blobs with their full lengths, which they have on the disk from the start."""
        with reported_for(self._incoming_dir), os.scandir(self._incoming_dir) as entries:
            return {
                entry.name: entry.stat().st_size
                for entry in entries
                if is_etag(entry.name) and not _has_other_names(entry)
            }

    def free_bytes(self) -> int:
        """What the file system can still take. Room for incoming blobs is already taken out of it."""
        return free_bytes(self.store_dir)

    def _remove(self, path: Path) -> int:
        """Takes the name away at once; blocks of a large file take seconds to free and are left to a thread."""
        try:
            stats = path.lstat()
            doomed = self.scratch_dir / secrets.token_hex(8)
            os.rename(path, doomed)
        except FileNotFoundError:
            return 0
        self._unlink_later(doomed)
        return stats.st_size if stats.st_nlink == 1 else 0

    def _unlink_later(self, path: Path) -> None:
        self.workers.tidying.submit(_remove_tree, path)


def _remove_tree(path: Path) -> None:
    """Removes a file or directory of the scratch directory; what fails is tried again at the next start."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        try:
            path.unlink(missing_ok=True)
        except OSError:
            return


def _has_other_names(path: os.PathLike[str]) -> bool:
    """Whether an incoming file is a verified blob by now: nothing else links it."""
    try:
        return os.stat(path, follow_symlinks=False).st_nlink > 1
    except FileNotFoundError:
        return False


def _checked(etag: str) -> str:
    if not is_etag(etag):
        raise ValueError(f"{etag!r} is no etag")
    return etag
