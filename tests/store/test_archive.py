from __future__ import annotations

import io
import json
import tarfile
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distd.core.manifest import Manifest, ManifestFile
from distd.core.refs import Repo
from distd.errors import InvalidRequest
from distd.store.archive import END, HEAD_NAME, ArchiveReader, Head, archive_bytes, entry, padding

MANIFEST = Manifest(
    Repo("model", "acme/tiny"),
    "c" * 40,
    (
        ManifestFile("a.safetensors", 700, "a" * 64),
        ManifestFile("b.json", 5, "b" * 40),
        ManifestFile("c.json", 5, "b" * 40),
    ),
)
HEAD = Head(MANIFEST, None, {"main": 12.5})


def written(head: Head = HEAD) -> bytes:
    raw = head.to_bytes()
    parts = [entry(HEAD_NAME, len(raw)), raw, padding(len(raw))]
    for etag, size in head.blobs.items():
        parts += [entry(f"blobs/{etag}", size), etag[:1].encode() * size, padding(size)]
    return b"".join([*parts, END])


async def chunks(raw: bytes, size_bytes: int) -> AsyncIterator[bytes]:
    for start in range(0, len(raw), size_bytes):
        yield raw[start : start + size_bytes]


async def read(raw: bytes, chunk_bytes: int = 4096) -> tuple[Head, dict[str, bytes]]:
    reader = ArchiveReader(chunks(raw, chunk_bytes))
    head = await reader.head()
    found = {}
    for _ in head.blobs:
        etag, size = await reader.blob()
        found[etag] = b"".join([bytes(part) async for part in reader.content(size)])
    return head, found


@given(st.integers(1, 3000))
async def test_what_was_written_is_read_in_whatever_parts_it_comes(chunk_bytes: int) -> None:
    head, found = await read(written(), chunk_bytes)
    assert head == HEAD
    assert found == {"a" * 64: b"a" * 700, "b" * 40: b"b" * 5}, "each blob once"


def test_the_length_is_known_before_and_any_tar_program_reads_it() -> None:
    raw = written()
    assert len(raw) == archive_bytes(len(HEAD.to_bytes()), list(HEAD.blobs.values()))
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        assert tar.getnames() == [HEAD_NAME, f"blobs/{'a' * 64}", f"blobs/{'b' * 40}"]
    assert tarfile.TarInfo.frombuf(entry("blobs/x", 700 << 30), "utf-8", "strict").size == 700 << 30


def test_a_selection_carries_its_files_alone() -> None:
    assert Head(MANIFEST, ("b.json",), {}).blobs == {"b" * 40: 5}


@given(st.data())
async def test_a_file_that_is_cut_anywhere_is_refused(data: st.DataObject) -> None:
    raw = written()
    last_blob_ends = len(raw) - len(END) - len(padding(5))
    with pytest.raises(InvalidRequest):
        await read(raw[: data.draw(st.integers(0, last_blob_ends - 1))])


def hostile(**changes: object) -> bytes:
    content = json.loads(HEAD.to_bytes())
    raw = json.dumps(content | changes).encode()
    return entry(HEAD_NAME, len(raw)) + raw + padding(len(raw)) + END


def linked(kind: bytes, name: str) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info.tobuf(tarfile.GNU_FORMAT)


MANIFEST_WITH_WAY_OUT = json.loads(HEAD.to_bytes())["manifest"] | {
    "files": [["../../etc/passwd", 5, "b" * 40, "", None]]
}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"PK\x03\x04" + bytes(2000),
        bytes(2048),
        written()[512:],
        hostile(format="other"),
        hostile(format_version=2),
        hostile(manifest=MANIFEST_WITH_WAY_OUT),
        hostile(paths=["../../etc/passwd"]),
        hostile(paths=[]),
        hostile(refs={"../../../x": 1.0}),
        hostile(refs=[]),
        entry(HEAD_NAME, 1 << 40),
        linked(tarfile.SYMTYPE, HEAD_NAME),
    ],
)
async def test_what_is_no_export_is_refused_before_anything_is_taken(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        await ArchiveReader(chunks(raw, 700)).head()


@pytest.mark.parametrize(
    "after",
    [
        entry("blobs/../../etc/passwd", 5),
        entry("/etc/passwd", 5),
        entry(f"blobs/{'a' * 63}", 5),
        linked(tarfile.SYMTYPE, f"blobs/{'a' * 64}"),
        linked(tarfile.LNKTYPE, f"blobs/{'a' * 64}"),
        linked(tarfile.GNUTYPE_SPARSE, f"blobs/{'a' * 64}"),
        linked(tarfile.DIRTYPE, "blobs"),
    ],
)
async def test_an_entry_that_is_no_blob_is_refused(after: bytes) -> None:
    raw = HEAD.to_bytes()
    reader = ArchiveReader(chunks(entry(HEAD_NAME, len(raw)) + raw + padding(len(raw)) + after, 4096))
    await reader.head()
    with pytest.raises(InvalidRequest):
        await reader.blob()
