"""A snapshot as one file: a tar whose first entry is the manifest, followed by each blob once.

```
distd-snapshot.json    what it is: the manifest, which of its files, which refs
blobs/<etag>           content, in the manifest's order
```

Nothing else is accepted, and no name of it becomes a path: a blob's place is its hash, which the manifest names and the
content has to have. Any tar program can list and unpack it. Sizes in bytes.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distd.core.manifest import Manifest, ManifestFile, is_etag
from distd.core.refs import parse_repo, parse_revision
from distd.errors import InvalidRequest
from distd.store.manifests import FILE_BYTES_MAX, from_json, to_json
from distd.store.repodir import unique_etags

HEAD_NAME = "distd-snapshot.json"
FORMAT = "distd-snapshot"
FORMAT_VERSION = 1
REFS_MAX = 1000
"""More than anybody points at one commit."""
RECORD_BYTES = tarfile.BLOCKSIZE
END = bytes(2 * RECORD_BYTES)


@dataclass(frozen=True, slots=True)
class Head:
    """`paths` None: every file of the manifest. `refs`: where each led when last asked, Unix time."""

    manifest: Manifest
    paths: tuple[str, ...] | None
    refs: Mapping[str, float]

    @property
    def files(self) -> tuple[ManifestFile, ...]:
        if self.paths is None:
            return self.manifest.files
        return tuple(self.manifest.by_path[path] for path in self.paths)

    @property
    def blobs(self) -> dict[str, int]:
        """Each blob once with its size, in the order in which they follow."""
        return unique_etags(self.files)

    def to_bytes(self) -> bytes:
        content = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "manifest": to_json(self.manifest),
            "paths": self.paths,
            "refs": dict(self.refs),
        }
        return json.dumps(content, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, raw: bytes) -> Head:
        """Every name and hash in it checked. Raises InvalidRequest."""
        try:
            content = json.loads(raw)
            if content["format"] != FORMAT or content["format_version"] != FORMAT_VERSION:
                raise InvalidRequest(
                    f"the file has format version {content['format_version']}, this distd reads {FORMAT_VERSION}"
                )
            told = content["manifest"]
            manifest = from_json(told, parse_repo(told["repo"], told["type"]), told["commit"])
            if manifest is None:
                raise ValueError("its manifest does not hold together")
            paths = content["paths"]
            if paths is not None and (not paths or not set(paths) <= set(manifest.by_path)):
                raise ValueError("it names files that its manifest does not have")
            refs = {parse_revision(name): float(at) for name, at in list(content["refs"].items())[:REFS_MAX]}
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise InvalidRequest(f"the file is not an export of distd: {error}") from None
        return cls(manifest, None if paths is None else tuple(sorted(set(paths))), refs)


def entry(name: str, size_bytes: int) -> bytes:
    """The header that goes before the content of an entry."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size_bytes, 0o444
    return info.tobuf(tarfile.GNU_FORMAT)  # has sizes beyond 8 GiB without a further entry


def padding(size_bytes: int) -> bytes:
    """What follows the content of an entry."""
    return bytes(-size_bytes % RECORD_BYTES)


def archive_bytes(head_bytes: int, blobs: Sequence[int]) -> int:
    """Length of the whole file."""
    return sum(RECORD_BYTES + size + -size % RECORD_BYTES for size in (head_bytes, *blobs)) + len(END)


class ArchiveReader:
    """Takes an archive from a stream of chunks, with no more of it in memory than a chunk and the head."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    async def head(self) -> Head:
        """The first entry. Raises InvalidRequest for a file that is no export."""
        name, size_bytes = await self._entry()
        if name != HEAD_NAME or size_bytes > FILE_BYTES_MAX:
            raise InvalidRequest(f"the file is not an export of distd: {HEAD_NAME} has to be its first entry")
        raw = b"".join([bytes(part) async for part in self.content(size_bytes)])
        return Head.from_bytes(raw)

    async def blob(self) -> tuple[str, int]:
        """Etag and size of the next blob; take its `content` next. Raises InvalidRequest."""
        name, size_bytes = await self._entry()
        folder, _, etag = name.partition("/")
        if folder != "blobs" or not is_etag(etag):
            raise InvalidRequest(f"the file has an entry {name[:100]!r}, which no export has")
        return etag, size_bytes

    async def content(self, size_bytes: int) -> AsyncIterator[memoryview]:
        """The content of the entry, part by part, and the padding behind it. Raises InvalidRequest when it ends early."""
        async for part in self._take(size_bytes):
            yield part
        async for _ in self._take(-size_bytes % RECORD_BYTES):
            pass

    async def _entry(self) -> tuple[str, int]:
        raw = b"".join([bytes(part) async for part in self._take(RECORD_BYTES)])
        try:
            info: Any = tarfile.TarInfo.frombuf(raw, "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"the file is not a tar as distd writes it: {error}") from None
        if info.type != tarfile.REGTYPE:  # no link, no directory, no sparse file
            raise InvalidRequest(f"the file has an entry {info.name[:100]!r} that is no plain file")
        return info.name, info.size

    async def _take(self, size_bytes: int) -> AsyncIterator[memoryview]:
        while size_bytes:
            if not self._rest:
                chunk = await anext(self._chunks, None)
                if chunk is None:
                    raise InvalidRequest("the file ends in the middle: it was cut off")
                self._rest = memoryview(chunk)
            part, self._rest = self._rest[:size_bytes], self._rest[size_bytes:]
            size_bytes -= len(part)
            yield part
