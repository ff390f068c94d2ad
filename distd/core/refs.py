"""Refs: which repo, at which revision. Everything a caller names passes through here before it is used.

A ref becomes part of URLs and of directory names, so its parts are checked against what the Hub
itself allows; what passes here cannot leave the cache directory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from distd.errors import InvalidRequest

RepoType = Literal["model", "dataset", "space"]
REPO_TYPES: tuple[str, ...] = get_args(RepoType)

REPO_PART_LENGTH_MAX = 96
"""The Hub's own limit for an organisation and for a name (huggingface_hub utils/_validators.py)."""
REVISION_LENGTH_MAX = 250
"""A revision becomes a path below refs/; file systems allow 255 bytes a name."""

REPO_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
_REPO_PART = re.compile(REPO_PART)
REVISION = r"[A-Za-z0-9_][A-Za-z0-9_./+@=-]*"
_REVISION = re.compile(REVISION)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, order=True)
class Repo:
    """A repository of the Hub. `id` is `org/name`, or `name` alone for the old ones like `gpt2`."""

    type: RepoType
    id: str

    @property
    def org(self) -> str:
        """The organisation, or `_` for a repo without one (as in the REST paths)."""
        return self.id.split("/")[0] if "/" in self.id else "_"

    @property
    def name(self) -> str:
        return self.id.split("/")[-1]

    @property
    def folder(self) -> str:
        """Directory name in a Hugging Face cache: `models--org--name`."""
        return "--".join([f"{self.type}s", *self.id.split("/")])

    def __str__(self) -> str:
        return self.id if self.type == "model" else f"{self.type}s/{self.id}"


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """What a caller asks for: a repo at a branch, a tag, `refs/pr/N` or a commit."""

    repo: Repo
    revision: str = "main"

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision}"


def is_commit(revision: str) -> bool:
    """Whether this names a commit in full, which never moves."""
    return _COMMIT.fullmatch(revision) is not None


def parse_repo(repo_id: str, repo_type: str = "model") -> Repo:
    """Raises InvalidRequest naming the rule that `repo_id` or `repo_type` breaks."""
    if repo_type not in REPO_TYPES:
        raise InvalidRequest(f"unknown repo type {repo_type!r}: one of {', '.join(REPO_TYPES)}")
    parts = repo_id.split("/")
    if (
        len(parts) > 2
        or "--" in repo_id
        or ".." in repo_id
        or repo_id.endswith(".git")
        or not all(_REPO_PART.fullmatch(part) and len(part) <= REPO_PART_LENGTH_MAX for part in parts)
    ):
        raise InvalidRequest(
            f"{repo_id!r} is not a repo name: write org/name (letters, digits, '-', '_' and '.', at most"
            f" {REPO_PART_LENGTH_MAX} characters each, no '--' or '..', not ending in .git)"
        )
    return Repo(repo_type, repo_id)  # type: ignore[arg-type]  # checked against REPO_TYPES above


def parse_revision(revision: str) -> str:
    """Returns the revision. Raises InvalidRequest where it could not be a git ref or a safe file name."""
    parts = revision.split("/")
    if (
        len(revision) > REVISION_LENGTH_MAX
        or not _REVISION.fullmatch(revision)
        or ".." in revision
        or any(not part or part.startswith(".") or part.endswith((".lock", ".")) for part in parts)
    ):
        raise InvalidRequest(f"{revision!r} is not a revision: name a branch, a tag, refs/pr/N or a commit")
    return revision


def parse_ref(text: str, repo_type: str = "model", revision: str | None = None) -> Ref:
    """`org/name[@revision]` with an optional separate revision; both at once must agree.

    Raises InvalidRequest.
    """
    repo_id, at, inline = text.partition("@")
    if at and not inline:
        raise InvalidRequest(f"{text!r} names no revision after '@'")
    if at and revision is not None and revision != inline:
        raise InvalidRequest(f"two revisions given: {inline!r} and {revision!r}")
    return Ref(parse_repo(repo_id, repo_type), parse_revision(inline or revision or "main"))
