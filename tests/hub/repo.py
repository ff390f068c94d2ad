"""The repos a test Hub holds: files on disk, commits over them, refs onto commits, and who may read.

Plain data: no network, no clock. A commit is a mapping from path to file; its id depends only on its content and its
parent, so two Hubs given the same directory name the same commit. Sizes are bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from tests.hub.hashes import Digest, DigestCache, digest_bytes, digest_file, git_blob_sha1, lfs_pointer

RepoType = Literal["model", "dataset", "space"]
Gate = Literal[False, "auto", "manual"]
Source = Path | bytes

LFS_BYTES = 10 * 1024 * 1024
"""From this size on the Hub accepts a file only as LFS."""

LFS_PATTERNS = ("*.safetensors", "*.bin", "*.gguf", "*.pth", "*.pt")


class UnknownRepoError(LookupError):
    """No repo of that type and name; permanent. The test forgot `add_repo` or mistyped."""

    def __init__(self, repo_type: str, repo_id: str) -> None:
        super().__init__(repo_type, repo_id)
        self.repo_type = repo_type
        self.repo_id = repo_id

    def __str__(self) -> str:
        return f"the Hub has no {self.repo_type} {self.repo_id}"


class UnknownRevisionError(LookupError):
    """The repo has no such branch, tag, ref or commit; permanent."""

    def __init__(self, repo_id: str, revision: str) -> None:
        super().__init__(repo_id, revision)
        self.repo_id = repo_id
        self.revision = revision

    def __str__(self) -> str:
        return f"{self.repo_id} has no revision {self.revision}"


@dataclass(frozen=True, slots=True)
class RepoFile:
    """One path of a commit. `etag` is what the Hub names the content by; `oid` is git's name in the tree."""

    path: str
    source: Source
    size_bytes: int
    sha256: str
    oid: str
    lfs: bool

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid

    @property
    def pointer_bytes(self) -> int:
        return len(lfs_pointer(self.sha256, self.size_bytes))

    @property
    def xet_hash(self) -> str:
        """Stands in for the Xet file hash: 64 hex digits, one per content, and not its SHA-256."""
        return hashlib.sha256(b"xet:" + self.sha256.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Commit:
    """`number` counts commits of the repo from 0 and stands in for the date."""

    sha: str
    parent: str | None
    title: str
    number: int
    files: Mapping[str, RepoFile]


@dataclass(slots=True)
class Repo:
    """A repo. `readers` and `pending` hold tokens: who passes the gate or sees a private repo, and who waits."""

    type: RepoType
    id: str
    private: bool = False
    gated: Gate = False
    disabled: bool = False
    readers: set[str] = field(default_factory=set)
    pending: set[str] = field(default_factory=set)
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pull_requests: dict[int, str] = field(default_factory=dict)
    converts: dict[str, str] = field(default_factory=dict)

    @property
    def oid(self) -> str:
        """The repo's `_id`: 24 hex digits that stay when it is renamed."""
        return hashlib.sha1(f"{self.type}:{self.id}".encode()).hexdigest()[:24]

    @property
    def head(self) -> str:
        """The commit `main` points at."""
        return self.branches["main"]

    def find(self, revision: str) -> Commit | None:
        """The commit a branch, tag, `refs/pr/N`, `refs/convert/X`, `refs/heads/B`, `refs/tags/T` or id names."""
        sha = self.branches.get(revision) or self.tags.get(revision)
        match revision.split("/", 2):
            case ["refs", "pr", number] if number.isdecimal():
                sha = self.pull_requests.get(int(number))
            case ["refs", "convert", name]:
                sha = self.converts.get(name)
            case ["refs", "heads", name]:
                sha = self.branches.get(name)
            case ["refs", "tags", name]:
                sha = self.tags.get(name)
        return self.commits.get(sha or revision)

    def set_ref(self, ref: str, sha: str) -> None:
        """Points `ref` (a branch name, or `refs/...` as in `find`) at a commit the repo has."""
        if sha not in self.commits:
            raise UnknownRevisionError(self.id, sha)
        match ref.split("/", 2):
            case ["refs", "pr", number]:
                self.pull_requests[int(number)] = sha
            case ["refs", "convert", name]:
                self.converts[name] = sha
            case ["refs", "tags", name]:
                self.tags[name] = sha
            case ["refs", "heads", name]:
                self.branches[name] = sha
            case _:
                self.branches[ref] = sha

    def tag(self, name: str, revision: str = "main") -> None:
        commit = self.find(revision)
        if commit is None:
            raise UnknownRevisionError(self.id, revision)
        self.tags[name] = commit.sha

    def commit(
        self,
        changes: Mapping[str, Source | None],
        *,
        ref: str = "main",
        title: str = "",
        base: str | None = None,
    ) -> str:
        """Adds a commit on `base` (default: where `ref` points, else `main`) and moves `ref` to it; returns its id.

        `changes` maps a path to a file on disk, to bytes, or to None, which deletes the path.
        """
        files: dict[str, RepoFile | None] = {}
        for path, source in changes.items():
            if source is None:
                files[path] = None
                continue
            digest = digest_bytes(source) if isinstance(source, bytes) else digest_file(source)
            files[path] = repo_file(path, source, digest)
        return self.commit_files(files, ref=ref, title=title, base=base)

    def commit_files(
        self,
        changes: Mapping[str, RepoFile | None],
        *,
        ref: str = "main",
        title: str = "",
        base: str | None = None,
    ) -> str:
        """As `commit`, for files whose digests are known."""
        parent = self.find(base or ref) or self.find("main")
        files = dict(parent.files) if parent else {}
        for path, file in changes.items():
            if file is None:
                files.pop(path, None)
            else:
                files[path] = file
        listing = "".join(f"{path}\0{files[path].oid}\n" for path in sorted(files))
        identity = f"{self.type}:{self.id}\n{parent.sha if parent else ''}\n{title}\n{listing}"
        sha = hashlib.sha1(identity.encode()).hexdigest()
        number = len(self.commits)
        self.commits.setdefault(
            sha, Commit(sha, parent.sha if parent else None, title or f"Commit {number}", number, files)
        )
        self.set_ref(ref, sha)
        return sha


def repo_file(path: str, source: Source, digest: Digest) -> RepoFile:
    """Decides as the Hub does whether a file is LFS, and names it accordingly."""
    name = path.rsplit("/", 1)[-1]
    lfs = digest.size_bytes >= LFS_BYTES or any(fnmatchcase(name, pattern) for pattern in LFS_PATTERNS)
    oid = git_blob_sha1(lfs_pointer(digest.sha256, digest.size_bytes)) if lfs else digest.git_sha1
    return RepoFile(path, source, digest.size_bytes, digest.sha256, oid, lfs)


def files_of(directory: Path) -> dict[str, RepoFile]:
    """Every regular file below `directory` as files of a commit; digests come from the cache beside it."""
    digests = DigestCache(directory)
    files = {}
    for source in sorted(path for path in directory.rglob("*") if path.is_file()):
        path = source.relative_to(directory).as_posix()
        files[path] = repo_file(path, source, digests.digest(path))
    digests.save()
    return files


class Registry:
    """All repos by type and name, the names they had before, and the tokens the Hub knows."""

    def __init__(self) -> None:
        self._repos: dict[tuple[str, str], Repo] = {}
        self._renamed: dict[tuple[str, str], str] = {}
        self._by_oid: dict[str, Repo] = {}
        self.users: dict[str, str] = {}

    def __iter__(self) -> Iterator[Repo]:
        return iter(list(self._repos.values()))

    def add(self, repo: Repo) -> None:
        self._repos[repo.type, repo.id] = repo
        self._by_oid[repo.oid] = repo

    def get(self, repo_type: str, repo_id: str) -> Repo | None:
        """The repo of that name, or the one that had it before a rename."""
        new_id = self.new_name(repo_type, repo_id)
        return self._repos.get((repo_type, new_id or repo_id))

    def user(self, token: str | None) -> str | None:
        """Whose token it is; None for an anonymous caller and for a token nobody gave out."""
        if token is None:
            return None
        listed = any(token in repo.readers or token in repo.pending for repo in self._repos.values())
        return self.users.get(token, f"user of {token}" if listed else None)

    def has(self, repo_type: str, repo_id: str) -> bool:
        return self.get(repo_type, repo_id) is not None

    def require(self, repo_type: str, repo_id: str) -> Repo:
        repo = self.get(repo_type, repo_id)
        if repo is None:
            raise UnknownRepoError(repo_type, repo_id)
        return repo

    def by_oid(self, oid: str) -> Repo | None:
        return self._by_oid.get(oid)

    def new_name(self, repo_type: str, repo_id: str) -> str | None:
        """What a renamed repo is called now; None for a name that is current or unknown."""
        return self._renamed.get((repo_type, repo_id))

    def rename(self, repo_type: RepoType, old_id: str, new_id: str) -> None:
        repo = self.require(repo_type, old_id)
        del self._repos[repo_type, repo.id]
        repo.id = new_id
        self._repos[repo_type, new_id] = repo
        self._by_oid[repo.oid] = repo
        self._renamed[repo_type, old_id] = new_id
