"""Repos on the test Hub, and what of them may be seen in a cache. Sizes are bytes."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distd.store.use import open_unmarked
from tests.hub import HubProcess, ModelSpec, generate
from tests.hub.models import write_random

MIB = 1024 * 1024
BLOCK_BYTES = MIB


@dataclass(frozen=True, slots=True)
class HubRepo:
    """A repo on the Hub and the directory its first commit was made from."""

    hub: HubProcess
    id: str
    directory: Path
    commit: str
    type: str = "model"

    @property
    def folder(self) -> str:
        """Its directory in a Hugging Face cache."""
        return "--".join([f"{self.type}s", *self.id.split("/")])

    @property
    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.directory.rglob("*") if path.is_file())

    def sent_bytes(self, pattern: str = "") -> int:
        """File bytes that the Hub sent of this repo since its counters were reset."""
        by_path: dict[str, int] = self.hub.counters()["body_bytes_by_path"]
        prefix = f"{self.id}/{pattern}"
        return sum(count for path, count in by_path.items() if path.startswith(prefix))


class Repos:
    def __init__(self, hub: HubProcess, directory: Path) -> None:
        self._hub = hub
        self._directory = directory
        self._made = 0

    def make(
        self,
        name: str = "",
        *,
        weight_mib: float = 2,
        hub_options: dict[str, Any] | None = None,
        type: str = "model",
        **spec: Any,
    ) -> HubRepo:
        """A generated model repo; each call has other bytes. `hub_options` are those of `HubProcess.add_repo`."""
        self._made += 1
        spec.setdefault("seed", self._made)
        repo_id = name or f"acme/model-{self._made}"
        directory = self._directory / f"{type}-{repo_id.replace('/', '--')}"
        for path in generate(ModelSpec(weight_bytes=int(weight_mib * MIB), **spec), directory):
            # The generator writes the same configuration for every seed, and equal files are not fetched again.
            if path.suffix in (".json", ".md", "") and path.stat().st_size and "extra" not in path.parts:
                path.write_bytes(path.read_bytes() + b" " * self._made)
        return self.add(repo_id, directory, type=type, **(hub_options or {}))

    def add(self, repo_id: str, directory: Path, *, type: str = "model", **options: Any) -> HubRepo:
        commit = self._hub.add_repo(repo_id, directory, type=type, **options)
        return HubRepo(self._hub, repo_id, directory, commit, type)

    def file(self, name: str, size_bytes: int) -> Path:
        """A file of its own for a further commit."""
        path = self._directory / "files" / name
        write_random(path, size_bytes, name)
        return path


def etag_of(path: Path, like: str) -> str:
    """The Hub's name for a file's content: SHA-256 where `like` has 64 digits, else git's SHA-1. A look, not a use."""
    state = hashlib.sha256() if len(like) == 64 else hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with open(open_unmarked(path), "rb") as file:
        while block := file.read(BLOCK_BYTES):
            state.update(block)
    return state.hexdigest()


def files_below(directory: Path) -> dict[str, Path]:
    return {path.relative_to(directory).as_posix(): path for path in directory.rglob("*") if path.is_file()}


def assert_same_files(snapshot: Path, source: Path) -> None:
    """The snapshot has the paths of `source`, each with its bytes, and no others."""
    found, expected = files_below(snapshot), files_below(source)
    assert sorted(found) == sorted(expected)
    for path, file in found.items():
        assert same_bytes(file, expected[path]), f"{path} has other bytes"


def same_bytes(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as left, other.open("rb") as right:
        while block := left.read(BLOCK_BYTES):
            if block != right.read(BLOCK_BYTES):
                return False
    return True


def assert_all_visible_is_right(hub_dir: Path, store_dir: Path) -> int:
    """Hashes what a program could read as a model, and what the store calls verified; returns how many files.

    A link in a snapshot that leads nowhere is wrong too.
    """
    links = [path for path in hub_dir.glob("*/snapshots/*/**/*") if not path.is_dir()]
    blobs = list(store_dir.glob("blobs/*"))
    right: set[tuple[int, str]] = set()
    for path, etag in [(link, os.readlink(link).rpartition("/")[2]) for link in links] + [
        (blob, blob.name) for blob in blobs
    ]:
        key = (path.stat().st_ino, etag)
        if key not in right:
            assert etag_of(path, etag) == etag, f"{path} can be seen with other bytes than its name says"
            right.add(key)
    for ref in hub_dir.glob("*/refs/**/*"):
        if ref.is_file():
            repo_dir = hub_dir / ref.relative_to(hub_dir).parts[0]
            assert (repo_dir / "snapshots" / ref.read_text()).is_dir(), f"{ref} leads to no snapshot"
    return len(links) + len(blobs)


def assert_nothing_published(hub_dir: Path, repo: HubRepo) -> None:
    """No snapshot, no ref, no blob, no list of files under the repo's directory."""
    left = [path for path in (hub_dir / repo.folder).rglob("*") if not path.is_dir()]
    assert not left, f"published in spite of the failure: {left}"
    assert not list((hub_dir / repo.folder).glob("snapshots/*"))
