"""Failures of a blob's machine as the errors that people see."""

from __future__ import annotations

from distd.errors import AccessDenied, DistdError, HashMismatch, HubUnreachable, NoSpace, StorageFailed
from peers.member_actions import BlobFailure, FailBlob


def error_of(failure: FailBlob, path: str, endpoint: str) -> DistdError:
    """The error a pull fails with; `path` names the file."""
    match failure.failure:
        case BlobFailure.HASH_MISMATCH | BlobFailure.CONTENT_CHANGED:
            actual = failure.actual_hash or "another size or hash from the Hub"
            return HashMismatch(path, failure.expected_hash, actual)
        case BlobFailure.NO_SPACE:
            return NoSpace(0, 0, 0, failure.detail or path)
        case BlobFailure.ACCESS_DENIED:
            return AccessDenied(
                path,
                "the Hub refused this node and no member holds the content",
                "give a member a token that has access (hub.token_file)",
            )
        case BlobFailure.NO_FETCHER:
            return HubUnreachable(endpoint, "no live member can fetch it")
        case BlobFailure.DISK:
            return StorageFailed(path, failure.detail)
