"""Manifests and refs on disk, so that a restart, a peer's question or a dead Hub needs no new API call.

```
<store_dir>/manifests/<folder>/<commit>.json    a resolved commit and its files
<store_dir>/manifests/<folder>/refs.json        where each branch or tag pointed when last asked, and when
```

Both are caches of the Hub's word: what cannot be read or does not hold together counts as absent.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distd.core.manifest import Manifest, ManifestFile, checked_files
from distd.core.refs import Repo, is_commit, parse_repo, parse_revision
from distd.errors import InvalidRequest, UnsafePath
from distd.store.disk import reported_for, write_durably
from distd.store.workers import Workers

FORMAT_VERSION = 1
REFS_NAME = "refs.json"
FILE_BYTES_MAX = 256 << 20
"""A manifest of 200,000 files with long paths has about 100 MB; more is not one of ours."""


@dataclass(frozen=True, slots=True)
class ResolvedRef:
    """What a revision pointed at. `resolved_at_s` is Unix time, because it outlives the process."""

    commit: str
    resolved_at_s: float


class ManifestStore:
    """`scratch_dir` lies on the same file system. Loading is done in place: the files are small and cached."""

    def __init__(self, store_dir: Path, workers: Workers, dir_mode: int = 0o755) -> None:
        self._dir = store_dir / "manifests"
        self._scratch_dir = store_dir / "scratch"
        self._workers = workers
        self._dir_mode = dir_mode
        self._saving_refs = asyncio.Lock()
        self.on_saved: Callable[[], None] = lambda: None
        """Called, on the event loop, after a manifest was kept."""

    async def save(self, manifest: Manifest) -> None:
        """Keeps the manifest; replaces one of the same commit. Raises NoSpace, StorageFailed."""
        await self._workers.run(
            self._write, self._path(manifest.repo, f"{manifest.commit}.json"), to_json(manifest)
        )
        self.on_saved()

    def load(self, repo: Repo, commit: str) -> Manifest | None:
        """The kept manifest, every path and hash in it checked anew, or None."""
        content = _read_json(self._path(repo, f"{commit}.json")) if is_commit(commit) else None
        return from_json(content, repo, commit)

    def has(self, repo: Repo, commit: str) -> bool:
        """Whether a manifest is kept; `load` may still find it to be garbage."""
        return is_commit(commit) and self._path(repo, f"{commit}.json").is_file()

    def list(self) -> Iterator[tuple[Repo, str]]:
        """All commits with a manifest, by their names only; `load` may still find one to be garbage."""
        for path in sorted(self._dir.glob("*/*.json")):
            repo = repo_of_folder(path.parent.name)
            if repo is not None and is_commit(path.stem):
                yield repo, path.stem

    def delete(self, repo: Repo, commit: str) -> None:
        """Removes the manifest and the refs that point at it. Idempotent. Raises StorageFailed."""
        path = self._path(repo, f"{commit}.json")
        with reported_for(path):
            path.unlink(missing_ok=True)
            refs = {name: ref for name, ref in self.refs(repo).items() if ref.commit != commit}
            if refs:
                self._write(self._path(repo, REFS_NAME), _refs_to_json(refs))
            elif not any(is_commit(other.stem) for other in path.parent.glob("*.json")):
                shutil.rmtree(path.parent, ignore_errors=True)

    async def save_ref(self, repo: Repo, revision: str, commit: str, resolved_at_s: float) -> None:
        """Remembers where a branch, tag or pull request points. Raises NoSpace, StorageFailed."""
        async with self._saving_refs:  # two at once would each write what it read and lose the other's
            refs = self.refs(repo) | {revision: ResolvedRef(commit, resolved_at_s)}
            await self._workers.run(self._write, self._path(repo, REFS_NAME), _refs_to_json(refs))

    def refs(self, repo: Repo) -> dict[str, ResolvedRef]:
        """Every revision of `repo` resolved so far; empty when unknown or unreadable."""
        content = _read_json(self._path(repo, REFS_NAME))
        refs: dict[str, ResolvedRef] = {}
        for name, value in content.items() if isinstance(content, dict) else ():
            try:
                commit, resolved_at_s = value["commit"], float(value["resolved_at_s"])
                if is_commit(commit):
                    refs[parse_revision(name)] = ResolvedRef(commit, resolved_at_s)
            except (KeyError, TypeError, ValueError, InvalidRequest):
                continue
        return refs

    def ref(self, repo: Repo, revision: str) -> ResolvedRef | None:
        """Where `revision` pointed when last resolved, or None."""
        return self.refs(repo).get(revision)

    def _path(self, repo: Repo, name: str) -> Path:
        return self._dir / repo.folder / name

    def _write(self, path: Path, content: Any) -> None:
        with reported_for(path):
            for directory in (self._dir, path.parent):
                directory.mkdir(mode=self._dir_mode, exist_ok=True)
            write_durably(path, json.dumps(content, separators=(",", ":")).encode(), self._scratch_dir)


def _read_json(path: Path) -> Any:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            return None
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def to_json(manifest: Manifest) -> dict[str, Any]:
    """The manifest as it is kept, and as members send it to each other."""
    return {
        "format_version": FORMAT_VERSION,
        "type": manifest.repo.type,
        "repo": manifest.repo.id,
        "commit": manifest.commit,
        "files": [[f.path, f.size_bytes, f.etag, f.git_oid, f.xet_hash] for f in manifest.files],
    }


def from_json(content: Any, repo: Repo, commit: str) -> Manifest | None:
    """The manifest of this repo and commit, every path and hash checked; None for anything else."""
    try:
        if (content["format_version"], content["type"], content["repo"], content["commit"]) != (
            FORMAT_VERSION,
            repo.type,
            repo.id,
            commit,
        ):
            return None
        return Manifest(repo, commit, checked_files(_file(entry) for entry in content["files"]))
    except (KeyError, TypeError, ValueError, UnsafePath):
        return None


def _file(entry: Any) -> ManifestFile:
    path, size_bytes, etag, git_oid, xet_hash = entry
    if not (
        isinstance(path, str)
        and type(size_bytes) is int
        and isinstance(etag, str)
        and isinstance(git_oid, str)
        and isinstance(xet_hash, str | None)
    ):
        raise ValueError(f"not a file entry: {entry!r}")
    return ManifestFile(path, size_bytes, etag, git_oid, xet_hash)


def _refs_to_json(refs: dict[str, ResolvedRef]) -> dict[str, Any]:
    return {name: {"commit": ref.commit, "resolved_at_s": ref.resolved_at_s} for name, ref in refs.items()}


def repo_of_folder(folder: str) -> Repo | None:
    """`models--org--name` -> its Repo. Unambiguous, because a repo id may not contain `--`."""
    kind, _, repo_id = folder.partition("--")
    try:
        return parse_repo(repo_id.replace("--", "/"), kind.removesuffix("s"))
    except InvalidRequest:
        return None
