"""The journal of an incoming blob: which pieces are on disk, from where, with which digest.

Idea: an append-only file of fixed records, each with its own checksum, after a header that names the
blob. What a power loss leaves at the end (a torn record, zeros, old blocks) fails its checksum and is
dropped with everything behind it, so loading any prefix of the file gives an earlier, true state. A
record's checksum starts from the header's, so a record of another blob never passes.

The journal is not synced: after a power loss it may claim pieces whose data never reached the disk.
`hashing.PrefixHasher` therefore checks each resumed piece against its digest.

Layout, little endian. Header: magic 8s, version u16, piece length u32, size u64, etag 64s, crc u32.
Record: kind u8, source u8, piece u32, xxh3-128 digest 16s, crc u32.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MAGIC = b"distdjnl"
VERSION = 1
SOURCES = ("hub", "peers", "reused")
"""Where a piece's bytes came from; a record holds the index."""
DIGEST_BYTES = 16

_HEADER = struct.Struct("<8sHIQ64s")
_RECORD = struct.Struct("<BBI16s")
_CRC = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _CRC.size
RECORD_BYTES = _RECORD.size + _CRC.size
STORED, FORGOTTEN = 1, 2

JOURNAL_BYTES_MAX = 256 << 20
"""Read at most this much: ten million records, a hundred repair passes over the largest blob."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a journal belongs to. A journal with other parameters says nothing about this blob."""

    etag: str
    size_bytes: int
    piece_length_bytes: int

    @property
    def piece_count(self) -> int:
        return -(-self.size_bytes // self.piece_length_bytes)

    def piece_size(self, index: int) -> int:
        """Bytes of piece `index`; the last one may be shorter."""
        return min(self.piece_length_bytes, self.size_bytes - index * self.piece_length_bytes)


@dataclass(frozen=True, slots=True)
class StoredPiece:
    source: str
    digest: bytes


@dataclass(slots=True)
class JournalState:
    """What the records add up to. `valid_bytes` is where the next record belongs."""

    parameters: Parameters
    pieces: dict[int, StoredPiece] = field(default_factory=dict)
    valid_bytes: int = HEADER_BYTES

    def bytes_by_source(self) -> dict[str, int]:
        totals = dict.fromkeys(SOURCES, 0)
        for index, piece in self.pieces.items():
            totals[piece.source] += self.parameters.piece_size(index)
        return totals


def encode_header(parameters: Parameters) -> bytes:
    fields = _HEADER.pack(
        MAGIC,
        VERSION,
        parameters.piece_length_bytes,
        parameters.size_bytes,
        parameters.etag.encode("ascii"),
    )
    return fields + _CRC.pack(zlib.crc32(fields))


def encode_record(parameters: Parameters, kind: int, index: int, source: str, digest: bytes) -> bytes:
    fields = _RECORD.pack(kind, SOURCES.index(source), index, digest)
    return fields + _CRC.pack(zlib.crc32(fields, _seed(encode_header(parameters))))


def encode_complete(parameters: Parameters, digests: Sequence[bytes]) -> bytes:
    """The journal of a blob that came as a whole, with a digest for each piece."""
    records = (
        encode_record(parameters, STORED, index, "reused", digest) for index, digest in enumerate(digests)
    )
    return encode_header(parameters) + b"".join(records)


def _seed(header: bytes) -> int:
    """Where a record's checksum starts. Without the header's own checksum: over both it is the same for all."""
    return zlib.crc32(header[: _HEADER.size])


def decode(content: bytes) -> JournalState | None:
    """The state that `content` records up to its first damaged record; None when the header is damaged."""
    if len(content) < HEADER_BYTES or _CRC.unpack_from(content, _HEADER.size)[0] != zlib.crc32(
        content[: _HEADER.size]
    ):
        return None
    magic, version, piece_length_bytes, size_bytes, etag = _HEADER.unpack_from(content)
    if magic != MAGIC or version != VERSION or piece_length_bytes < 1:
        return None
    parameters = Parameters(etag.rstrip(b"\0").decode("ascii", "replace"), size_bytes, piece_length_bytes)
    state = JournalState(parameters)
    seed = _seed(content)
    for start in range(HEADER_BYTES, len(content) - RECORD_BYTES + 1, RECORD_BYTES):
        fields = content[start : start + _RECORD.size]
        if _CRC.unpack_from(content, start + _RECORD.size)[0] != zlib.crc32(fields, seed):
            break
        kind, source, index, digest = _RECORD.unpack(fields)
        if source >= len(SOURCES) or index >= parameters.piece_count or kind not in (STORED, FORGOTTEN):
            break
        if kind == STORED:
            state.pieces[index] = StoredPiece(SOURCES[source], digest)
        else:
            state.pieces.pop(index, None)
        state.valid_bytes = start + RECORD_BYTES
    return state


def load(path: Path) -> JournalState | None:
    """The state recorded in file `path`; None when there is no such file or it is no journal. Raises OSError."""
    try:
        with open(path, "rb") as file:
            return decode(file.read(JOURNAL_BYTES_MAX))
    except FileNotFoundError:
        return None


class Journal:
    """The open journal of a blob; its methods may be called from any thread.

    Records are written at a remembered offset, not appended: after a short write (a full disk) the
    next record replaces the torn one instead of following it.
    """

    def __init__(self, path: Path, parameters: Parameters, *, keep: bool) -> None:
        """Opens the journal; with `keep` an existing one for the same parameters goes on, else it starts empty.

        `state` then says what was recorded. Raises OSError.
        """
        self._lock = threading.Lock()
        state = load(path) if keep else None
        if state is None or state.parameters != parameters:
            state = JournalState(parameters)
            fresh = True
        else:
            fresh = False
        self.state = state
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if fresh:
                os.ftruncate(self._fd, 0)
                _write_all(self._fd, encode_header(parameters), 0)
            else:
                os.ftruncate(self._fd, state.valid_bytes)
        except OSError:
            os.close(self._fd)
            raise
        self._end = state.valid_bytes

    def stored(self, index: int, source: str, digest: bytes) -> None:
        """Records a piece that is on disk. Raises OSError; then nothing was recorded."""
        self._write(encode_record(self.state.parameters, STORED, index, source, digest))

    def forgotten(self, indices: Iterable[int]) -> None:
        """Records that these pieces are no longer to be trusted. Raises OSError."""
        none = bytes(DIGEST_BYTES)
        parameters = self.state.parameters
        self._write(b"".join(encode_record(parameters, FORGOTTEN, i, SOURCES[0], none) for i in indices))

    def close(self) -> None:
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def _write(self, records: bytes) -> None:
        with self._lock:
            try:
                _write_all(self._fd, records, self._end)
            except OSError:
                os.ftruncate(self._fd, self._end)  # what was half written must not be read as recorded
                raise
            self._end += len(records)


def _write_all(fd: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(fd, view, offset)
        offset += written
        view = view[written:]
