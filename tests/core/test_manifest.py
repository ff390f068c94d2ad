"""Manifests: what of a Hub's file list is taken, and that no path of it leaves its directory."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from distd.core import manifest as module
from distd.core.manifest import Manifest, ManifestFile, checked_files, checked_path, is_etag
from distd.core.refs import Repo
from distd.errors import UnsafePath

SHA256 = "ab" * 32
SHA1 = "cd" * 20


def file(path: str, size_bytes: int = 1, etag: str = SHA256) -> ManifestFile:
    return ManifestFile(path, size_bytes, etag)


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "a/b/c.safetensors",
        ".gitattributes",
        "a b",
        "...",
        "a/..b",
        "~",
        "-x",
        "caf\u00e9",
        "a" * 255,
        "a:b",
    ],
)
def test_a_path_that_stays_inside_is_accepted(path: str) -> None:
    assert checked_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        *(
            "",
            "/",
            "/etc/passwd",
            "//x",
            "..",
            "../x",
            "a/..",
            "a/../b",
            "a/../../x",
            ".",
            "./a",
            "a/./b",
            "a//b",
        ),
        *("a/", "..\\x", "a\\b", "C:\\x", "a\0b", "a\nb", "a\rb", "\x1b[2J", "a\x7f", "\ud800"),
        *("a" * 256, "\u00e9" * 128, "/".join(["a" * 200] * 20)),
    ],
)
def test_a_path_that_could_leave_or_hurt_is_refused(path: str) -> None:
    with pytest.raises(UnsafePath) as refused:
        checked_path(path)
    assert refused.value.path == path
    assert refused.value.code == "hash_mismatch"


@given(st.text(alphabet="ab./\\\0\n~", max_size=15) | st.text(max_size=15))
@example("a/../../b")
def test_every_accepted_path_joined_below_a_directory_stays_inside(path: str) -> None:
    try:
        checked_path(path)
    except UnsafePath:
        return
    joined = posixpath.join("/hub/snapshots/c0ffee", path)
    assert posixpath.normpath(joined) == joined
    assert joined.startswith("/hub/snapshots/c0ffee/")
    assert len(path.encode()) <= module.PATH_LENGTH_MAX


@pytest.mark.parametrize(("etag", "expected"), [(SHA256, True), (SHA1, True), (SHA256.upper(), False)])
def test_an_etag_is_a_lower_case_sha256_or_git_sha1(etag: str, expected: bool) -> None:
    assert is_etag(etag) is expected


@pytest.mark.parametrize("etag", ["", "*" * 64, "ab" * 31, f"{SHA1}\n", "../" + "a" * 37, "g" * 40])
def test_one_malformed_hash_refuses_the_whole_list(etag: str) -> None:
    with pytest.raises(UnsafePath) as refused:
        checked_files([file("good"), file("bad", etag=etag)])
    assert refused.value.path == "bad"


def test_files_come_back_in_path_order() -> None:
    files = checked_files([file("b"), file("a/c", etag=SHA1), file("a/b")])
    assert [item.path for item in files] == ["a/b", "a/c", "b"]


def test_one_bad_path_refuses_the_whole_list() -> None:
    with pytest.raises(UnsafePath) as refused:
        checked_files([file("good"), file("../bad")])
    assert refused.value.path == "../bad"


def test_a_path_that_stands_there_twice_is_refused() -> None:
    with pytest.raises(UnsafePath, match="twice"):
        checked_files([file("a"), file("a")])


@pytest.mark.parametrize("paths", [("a", "a/b"), ("a/b/c/d", "a/b"), ("x/y", "x", "z")])
def test_a_file_below_a_file_is_refused(paths: tuple[str, ...]) -> None:
    with pytest.raises(UnsafePath, match="which is a file"):
        checked_files(file(path) for path in paths)


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(UnsafePath, match="size -1"):
        checked_files([file("a", size_bytes=-1)])


def test_one_hash_with_two_sizes_is_refused() -> None:
    with pytest.raises(UnsafePath) as refused:
        checked_files([file("a", size_bytes=1), file("b", size_bytes=2)])
    assert refused.value.path == "b"


def test_a_list_beyond_the_bound_is_refused_before_it_fills_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FILES_MAX", 3)
    seen = []

    def endless() -> object:
        for number in range(1000):
            seen.append(number)
            yield file(str(number))

    assert len(checked_files(file(str(number)) for number in range(3))) == 3
    with pytest.raises(UnsafePath, match="3 files"):
        checked_files(endless())  # type: ignore[arg-type]  # a generator of files
    assert len(seen) == 4


def test_a_manifest_knows_its_size_its_files_by_path_and_shows_itself() -> None:
    manifest = Manifest(Repo("model", "a/b"), SHA1, checked_files([file("x", 3), file("y", 4, SHA1)]))
    assert manifest.size_bytes == 7
    assert manifest.by_path["y"].size_bytes == 4
    assert repr(manifest) == "<Manifest a/b@cdcdcdc 2 files, 7 bytes>"
    assert [item.is_lfs for item in manifest.files] == [True, False]
