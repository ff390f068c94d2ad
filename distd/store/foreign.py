"""Another Hugging Face cache on this machine, looked at: which snapshots it has, where each file lies. Nothing in it is changed.

Its lists of files (`trees/<commit>.json`) are the Hub's word as the client noted it. Links are followed wherever they lead, two levels
for files that came through Xet (`snapshots/` to the repo's `blobs/` to the cache's shared `blobs/`): what counts is the content's hash.
Everything here blocks. Sizes in bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from distd.core.manifest import Manifest, ManifestFile, checked_files
from distd.core.refs import Repo, is_commit
from distd.errors import InvalidRequest, UnsafePath
from distd.store.manifests import FILE_BYTES_MAX, repo_of_folder
from distd.store.repodir import TREE_FORMAT_VERSION, RepoDir


@dataclass(frozen=True, slots=True)
class ForeignSnapshot:
    """`refs`: name and Unix time at which it was written."""

    directory: Path
    repo: Repo
    commit: str
    refs: dict[str, float]

    def manifest(self) -> Manifest | None:
        """As the cache's own list has it, every path and hash checked; None where it has none that holds together."""
        path = self.directory / "trees" / f"{self.commit}.json"
        try:
            if path.stat().st_size > FILE_BYTES_MAX:
                return None
            content = json.loads(path.read_bytes())
            if content["format_version"] != TREE_FORMAT_VERSION or not content["files"]:
                return None
            files = [_file(name, told) for name, told in content["files"].items()]
            return Manifest(self.repo, self.commit, checked_files(files))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, UnsafePath):
            return None

    def place(self, path: str) -> Path:
        """Where the snapshot has a file of the manifest, if it has it."""
        return self.directory / "snapshots" / self.commit / path


def snapshots(hub_dir: Path) -> Iterator[ForeignSnapshot]:
    """All of a cache, by repo. Raises InvalidRequest when it is none, or cannot be looked at."""
    try:
        names = sorted(os.listdir(hub_dir))
    except OSError as error:
        raise InvalidRequest(
            f"{hub_dir} cannot be looked at by the daemon: {error.strerror}. The service sees no home directories, and"
            " its user may read only what it is allowed to: docs/OPERATIONS.md says how to adopt such a cache"
        ) from error
    repos = [(name, repo) for name in names if (repo := repo_of_folder(name)) is not None]
    if not repos:
        raise InvalidRequest(
            f"{hub_dir} is no Hugging Face cache: it has no directory like models--org--name"
        )
    for name, repo in repos:
        directory = hub_dir / name
        found = RepoDir(directory, 0o755)
        refs = found.refs()
        for commit in found.snapshots():
            leading = [ref for ref, target in refs.items() if target == commit]
            yield ForeignSnapshot(
                directory, repo, commit, {ref: _written_at(directory / "refs" / ref) for ref in leading}
            )


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _file(path: str, told: dict[str, object]) -> ManifestFile:
    etag, size = told.get("lfs_sha256") or told["blob_id"], told["size"]
    xet_hash = told.get("xet_hash")
    if not (isinstance(etag, str) and type(size) is int and is_commit(str(told["blob_id"]))):
        raise ValueError(path)
    return ManifestFile(
        path, size, etag, str(told["blob_id"]), xet_hash if isinstance(xet_hash, str) else None
    )
