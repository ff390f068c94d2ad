"""Errors that reach a person: each carries its facts, its problem code and its exit code.

`DistdError` is the only type that crosses from the shell to the API and the CLI. The `code` is one
of the contract's problem codes; `retryable` answers the one question a caller has: would trying the
same again help? `hint` says what to do next.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from distd.units import format_size

# Exit codes of distctl, from the contract.
EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_DAEMON_UNREACHABLE = 3
EXIT_NOT_FOUND = 4
EXIT_ACCESS_DENIED = 5
EXIT_HASH_MISMATCH = 6
EXIT_NO_SPACE = 7
EXIT_HUB_UNREACHABLE = 8
EXIT_TIMED_OUT = 9
EXIT_INTERRUPTED = 130

EXIT_CODES: dict[str, int] = {
    "invalid_request": EXIT_USAGE,
    "not_found": EXIT_NOT_FOUND,
    "repo_not_found": EXIT_NOT_FOUND,
    "revision_not_found": EXIT_NOT_FOUND,
    "file_not_found": EXIT_NOT_FOUND,
    "access_denied": EXIT_ACCESS_DENIED,
    "hash_mismatch": EXIT_HASH_MISMATCH,
    "no_space": EXIT_NO_SPACE,
    "hub_unreachable": EXIT_HUB_UNREACHABLE,
    "rate_limited": EXIT_HUB_UNREACHABLE,
    "not_authenticated": EXIT_ACCESS_DENIED,
    "clock_skew": EXIT_FAILED,
    "conflict": EXIT_FAILED,
    "internal": EXIT_FAILED,
    "timed_out": EXIT_TIMED_OUT,
}
"""Problem code -> exit code of `distctl`. Codes are the contract's; a test holds the two equal."""

HTTP_STATUS: dict[str, int] = {
    "invalid_request": 422,
    "not_found": 404,
    "repo_not_found": 404,
    "revision_not_found": 404,
    "file_not_found": 404,
    "access_denied": 403,
    "hash_mismatch": 502,
    "no_space": 507,
    "hub_unreachable": 503,
    "rate_limited": 429,
    "not_authenticated": 401,
    "clock_skew": 401,
    "conflict": 409,
    "internal": 500,
    "timed_out": 408,
}
"""Problem code -> HTTP status of an answer that consists of this error."""


MISSING_TOLD_MAX = 20
"""Nodes named in an error; the list of a large fleet is somebody else's to print."""


@dataclass(frozen=True)
class Problem:
    """An error as data: what the API answers and the database keeps. `detail` names the facts and the fix."""

    code: str
    title: str
    detail: str
    retryable: bool


class DistdError(Exception):
    """Base of errors meant for a person. Subclasses are dataclasses whose fields are the facts."""

    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    retryable: ClassVar[bool] = False

    def problem(self) -> Problem:
        return Problem(self.code, self.title, str(self), self.retryable)

    def facts(self) -> dict[str, object]:
        """The error's fields by name, for logs and stories."""
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]  # subclasses are dataclasses


@dataclass
class InvalidRequest(DistdError):
    """The caller's words are wrong. `reason` says which and what is allowed."""

    reason: str
    code: ClassVar[str] = "invalid_request"
    title: ClassVar[str] = "Invalid request"

    def __str__(self) -> str:
        return self.reason


@dataclass
class NotFound(DistdError):
    """Something of this daemon (a pull, a held model) does not exist."""

    what: str
    code: ClassVar[str] = "not_found"
    title: ClassVar[str] = "Not found"

    def __str__(self) -> str:
        return self.what


@dataclass
class TimedOut(DistdError):
    """What was waited for is not there yet; nothing is wrong with that."""

    what: str
    timeout_s: float
    missing_on: tuple[str, ...]
    code: ClassVar[str] = "timed_out"
    title: ClassVar[str] = "Timed out waiting"
    retryable: ClassVar[bool] = True

    def __str__(self) -> str:
        shown = ", ".join(self.missing_on[:MISSING_TOLD_MAX])
        more = len(self.missing_on) - MISSING_TOLD_MAX
        return (
            f"{self.what} was not published within {self.timeout_s:.0f} s;"
            f" not yet on {shown}{f' and {more} more' if more > 0 else ''}"
        )


@dataclass
class Conflict(DistdError):
    """The thing exists but is in a state in which this cannot be done."""

    reason: str
    code: ClassVar[str] = "conflict"
    title: ClassVar[str] = "Conflict"

    def __str__(self) -> str:
        return self.reason


@dataclass
class ElsewhereRefused(DistdError):
    """Another node that was asked on behalf of this request said no, or nothing; its problem is handed on."""

    node: str
    there: Problem
    code: ClassVar[str] = "conflict"
    title: ClassVar[str] = "Not done there"

    def problem(self) -> Problem:
        return Problem(self.code, self.there.title, str(self), self.there.retryable)

    def __str__(self) -> str:
        return f"{self.node}: {self.there.detail}"


@dataclass
class RepoNotFound(DistdError):
    """The Hub knows no such repo, or hides it from this token (it answers both alike)."""

    repo: str
    endpoint: str
    authenticated: bool
    code: ClassVar[str] = "repo_not_found"
    title: ClassVar[str] = "Repository not found"

    def __str__(self) -> str:
        hint = (
            "check the spelling, and that the token may read it if it is private"
            if self.authenticated
            else "check the spelling; if it is private, give the daemon a token (hub.token_file)"
        )
        return f"{self.endpoint} has no repository {self.repo}: {hint}"


@dataclass
class RevisionNotFound(DistdError):
    """The repo exists, the branch, tag, pull request or commit does not."""

    repo: str
    revision: str
    code: ClassVar[str] = "revision_not_found"
    title: ClassVar[str] = "Revision not found"

    def __str__(self) -> str:
        return f"{self.repo} has no revision {self.revision!r}: name a branch, a tag, refs/pr/N or a commit"


@dataclass
class FileNotFound(DistdError):
    """No file of the revision matches, or the Hub lost one that its tree lists."""

    repo: str
    revision: str
    path: str
    code: ClassVar[str] = "file_not_found"
    title: ClassVar[str] = "File not found"

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision} has no file {self.path}"


@dataclass
class AccessDenied(DistdError):
    """The Hub knows the repo and refuses this token: gated, private, disabled or a bad token."""

    repo: str
    reason: str
    advice: str
    code: ClassVar[str] = "access_denied"
    title: ClassVar[str] = "Access denied"

    def __str__(self) -> str:
        return f"access to {self.repo} was refused: {self.reason.rstrip('.')}. {self.advice}"


@dataclass
class HubUnreachable(DistdError):
    """The Hub did not answer, or answered with server errors, for as long as we were willing to try."""

    endpoint: str
    reason: str
    code: ClassVar[str] = "hub_unreachable"
    title: ClassVar[str] = "Hub not reachable"
    retryable: ClassVar[bool] = True

    def __str__(self) -> str:
        return (
            f"{self.endpoint} is not reachable ({self.reason}) and no peer holds what is missing: "
            "check hub.endpoint, the network and the proxy (distctl doctor), then pull again; nothing fetched is lost"
        )


@dataclass
class RateLimited(DistdError):
    """The Hub's quota is used up for longer than we are willing to wait."""

    endpoint: str
    retry_after_s: float
    code: ClassVar[str] = "rate_limited"
    title: ClassVar[str] = "Rate limited by the Hub"
    retryable: ClassVar[bool] = True

    def __str__(self) -> str:
        return (
            f"{self.endpoint} limits this address or token; it allows the next request in {self.retry_after_s:.0f} s"
            " (a token, or one with a larger plan, raises the quota)"
        )


@dataclass
class HashMismatch(DistdError):
    """The Hub's bytes do not have the hash (or the length) that the Hub's manifest names."""

    path: str
    expected: str
    actual: str
    code: ClassVar[str] = "hash_mismatch"
    title: ClassVar[str] = "Content does not match its hash"
    retryable: ClassVar[bool] = True

    def __str__(self) -> str:
        return (
            f"{self.path}: expected {self.expected}, got {self.actual}, also after fetching it again;"
            " nothing of it was published"
        )


@dataclass
class UnsafePath(DistdError):
    """A manifest names a path that would leave the snapshot directory. Nothing of the repo is taken."""

    path: str
    reason: str
    code: ClassVar[str] = "hash_mismatch"
    title: ClassVar[str] = "Manifest refused"

    def __str__(self) -> str:
        return f"the Hub's file list names {self.path!r}, which {self.reason}: the manifest was refused as a whole"


@dataclass
class NoSpace(DistdError):
    """The pull does not fit, found before fetching or when the disk filled up under it."""

    needed_bytes: int
    free_bytes: int
    reserve_bytes: int
    path: str
    over_quota_bytes: int = 0
    evictable_bytes: int = 0
    """What could be evicted, and is not enough."""
    code: ClassVar[str] = "no_space"
    title: ClassVar[str] = "Not enough disk space"
    retryable: ClassVar[bool] = True

    def __str__(self) -> str:
        advice = "free space, remove models (distctl rm), or pull fewer files (--include, --weights)"
        if self.evictable_bytes:
            advice += f"; {format_size(self.evictable_bytes)} could be evicted, the rest is pinned or in use (distctl gc --dry-run)"
        needs = f"{self.path} needs {format_size(self.needed_bytes)} ({self.needed_bytes} bytes) more"
        if self.over_quota_bytes:
            return f"{needs}, which exceeds cache.max_bytes by {format_size(self.over_quota_bytes)}: {advice}"
        return (
            f"{needs} and has {format_size(self.free_bytes)} ({self.free_bytes} bytes) free, of which"
            f" {format_size(self.reserve_bytes)} stay reserved (cache.min_free_bytes): {advice}"
        )


@dataclass
class StorageFailed(DistdError):
    """Reading or writing the store failed for a reason other than space."""

    path: str
    reason: str
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Storage failed"
    retryable: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}; check the disk and the permissions of the directory (distctl doctor)"
